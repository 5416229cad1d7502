"""Keys, signatures, seals."""
