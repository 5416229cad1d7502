"""One uvicorn process on a socket that it was given: ``python -m tests.soak.worker FD``."""

from __future__ import annotations

import socket
import sys

import uvicorn


def main() -> None:
    """Serve until a signal comes."""
    listener = socket.socket(fileno=int(sys.argv[1]))
    config = uvicorn.Config(
        "tests.soak.app:app", log_level="warning", access_log=False, lifespan="on"
    )
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
