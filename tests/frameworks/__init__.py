"""One contract for the middleware in every framework, under real servers."""
