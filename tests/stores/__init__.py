"""Stores, each held to the one contract."""
