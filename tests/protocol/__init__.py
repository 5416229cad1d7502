"""The pure core, without any network."""
