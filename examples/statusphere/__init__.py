"""Statusphere: a status in one emoji, kept in your own repository."""
