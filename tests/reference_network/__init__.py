"""The official PDS and PLC directory on loopback, and the drivers of its sign-in."""
