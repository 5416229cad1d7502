"""All that opens a socket. Everything that leaves the process goes through here."""
