"""``python -m atproto_oauth_asgi``: the command line."""

import sys

from atproto_oauth_asgi.cli.main import main

if __name__ == "__main__":  # pragma: no branch - nobody imports it
    sys.exit(main())
