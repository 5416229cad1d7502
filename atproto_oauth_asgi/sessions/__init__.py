"""The life of a session: load, save, refresh, end."""
