"""Each network in turn, behind one face."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.contract.hosted import HOST, Hosted, Site
from tests.contract.peers import Login, Peer, Teller, in_process, reference
from tests.reference_network.process import ReferenceNetwork
from tests.serving import served_in_thread

_NETWORKS = ["in-process", pytest.param("reference", marks=pytest.mark.network)]


@pytest.fixture(params=_NETWORKS)
def peer(request: pytest.FixtureRequest) -> Iterator[Peer]:
    """Each network in turn."""
    if request.param == "in-process":
        yield in_process(request.getfixturevalue("atproto_network"))
        return
    with httpx.Client(trust_env=False, timeout=30) as http:
        yield reference(request.getfixturevalue("fresh_network"), http)


@pytest.fixture
def teller(peer: Peer) -> Teller:
    return Teller(peer)


@pytest.fixture
def login(teller: Teller) -> Login:
    return Login(teller)


@pytest.fixture(scope="session")
def site() -> Site:
    """What stands behind the client's host name, in both networks."""
    return Site()


@pytest.fixture(scope="session")
def site_port(site: Site) -> Iterator[int]:
    """Where the official servers find the same."""
    with served_in_thread(site) as origin:
        yield httpx.URL(origin).port or 0


@pytest.fixture(params=_NETWORKS)
def hosted(request: pytest.FixtureRequest, site: Site) -> Iterator[Hosted]:
    """A confidential client at a host of its own, of each network in turn."""
    if request.param == "in-process":
        network = request.getfixturevalue("atproto_network")
        network.serve_client(HOST, site)
        yield Hosted(in_process(network), site)
        return
    official: ReferenceNetwork = request.getfixturevalue("tls_network")
    official.route(HOST, port=request.getfixturevalue("site_port"))
    with official.open_http() as http:
        yield Hosted(reference(official, http), site)
    official.route(HOST, port=None)
