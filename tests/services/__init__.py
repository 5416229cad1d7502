"""Redis and PostgreSQL, as private processes of the tests."""
