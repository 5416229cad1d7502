"""What opens sockets, against small real servers on this machine."""
