"""A login to try by hand on the official PDS: `python -m tests.reference_network.demo`.

It takes the options of `python -m atproto_oauth_asgi demo`, which does the rest.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from atproto_oauth_asgi.cli import demo
from atproto_oauth_asgi.cli.terminal import Terminal
from tests.reference_network.process import (
    NetworkNotInstalledError,
    NetworkStartError,
    ReferenceNetwork,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo until it is stopped; return its exit code."""
    parser = demo.build_parser("python -m tests.reference_network.demo")
    options = parser.parse_args(arguments)
    terminal = Terminal(sys.stdout, sys.stderr, environment=os.environ)
    terminal.line("Starting the official PDS and PLC directory ...")
    try:
        with demo.stopping(), ReferenceNetwork() as network:
            accounts = {name: each.password for name, each in network.accounts.items()}
            around = demo.surround(network.plc_url, network.pds_url, accounts)
            return demo.serve(options, around, terminal)
    except (NetworkNotInstalledError, NetworkStartError) as error:
        terminal.error(str(error))
        return 1
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    sys.exit(main())
