"""The protocol without I/O, clock or randomness: values in, values out."""
