"""Which rules and attacks the tests show: ``python -m tests.conformance``."""
