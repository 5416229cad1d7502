"""What is published, and how it does elsewhere: `make package`, `make lowest`."""
