"""The middleware as ASGI has it: under servers, behind proxies, among others."""
