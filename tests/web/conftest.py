from __future__ import annotations

import pytest

from tests.network.atproto import Servers
from tests.web.browsing import WebSite


@pytest.fixture
def site(servers: Servers) -> WebSite:
    """An application that people log in to."""
    return WebSite(servers)
