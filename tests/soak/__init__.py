"""The soak: real workers, real servers, a hundred browsers, and everything that fails.

``python -m tests.soak`` runs all cases and tells in figures what became of the promise
that nobody is logged out by a race.
"""
