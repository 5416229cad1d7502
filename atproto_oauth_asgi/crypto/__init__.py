"""Keys and sealing: the only users of cryptography, joserfc and itsdangerous."""
