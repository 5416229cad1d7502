"""The same small application, once in each framework."""
