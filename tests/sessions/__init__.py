"""Sessions: cookies, and the life of a session."""
