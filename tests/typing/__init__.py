"""What only type checkers read: how the package looks at a user's desk.

Nothing here runs. `make check` reads it with mypy, `make types` with pyright, both
strict. A line that must be an error says which one it expects, of either; an error that
does not come is itself reported, as an ignore that is not needed.
"""
