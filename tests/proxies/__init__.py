"""Proxies as programs, configured as the documentation says."""
