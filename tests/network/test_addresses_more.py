"""The edges of every network that is refused, or opened by a switch."""

from __future__ import annotations

import pytest

from atproto_oauth_asgi.exceptions import Blocked
from atproto_oauth_asgi.network.addresses import check_address

F3 = "ffff:ffff:ffff"
F6 = f"{F3}:{F3}"

# First and last address; then the neighbours outside, if they are public.
REFUSED = [
    ("0.0.0.0", "0.255.255.255", "1.0.0.0"),  # noqa: S104
    ("10.0.0.0", "10.255.255.255", "9.255.255.255", "11.0.0.0"),
    ("100.64.0.0", "100.127.255.255", "100.63.255.255", "100.128.0.0"),
    ("127.0.0.0", "127.255.255.255", "126.255.255.255", "128.0.0.0"),
    ("168.63.129.16", "168.63.129.16", "168.63.129.15", "168.63.129.17"),
    ("169.254.0.0", "169.254.255.255", "169.253.255.255", "169.255.0.0"),
    ("172.16.0.0", "172.31.255.255", "172.15.255.255", "172.32.0.0"),
    ("192.0.0.0", "192.0.0.255", "191.255.255.255", "192.0.1.0"),
    ("192.0.2.0", "192.0.2.255", "192.0.1.255", "192.0.3.0"),
    ("192.88.99.0", "192.88.99.255", "192.88.98.255", "192.88.100.0"),
    ("192.168.0.0", "192.168.255.255", "192.167.255.255", "192.169.0.0"),
    ("198.18.0.0", "198.19.255.255", "198.17.255.255", "198.20.0.0"),
    ("198.51.100.0", "198.51.100.255", "198.51.99.255", "198.51.101.0"),
    ("203.0.113.0", "203.0.113.255", "203.0.112.255", "203.0.114.0"),
    ("224.0.0.0", "239.255.255.255", "223.255.255.255"),
    ("240.0.0.0", "255.255.255.255"),
    ("::", f"1fff:{F6}:ffff", "2000::"),
    ("2001::", f"2001:1ff:{F6}", f"2000:{F6}:ffff", "2001:200::"),
    ("2001:db8::", f"2001:db8:{F6}", f"2001:db7:{F6}", "2001:db9::"),
    ("2002::", f"2002:{F6}:ffff", f"2001:{F6}:ffff", "2003::"),
    ("3fff::", f"3fff:fff:{F6}", f"3ffe:{F6}:ffff", "3fff:1000::"),
    ("4000::", f"ffff:{F6}:ffff", f"3fff:{F6}:ffff"),
]
PRIVATE = [
    ("10.0.0.0", "10.255.255.255"),
    ("100.64.0.0", "100.127.255.255"),
    ("127.0.0.0", "127.255.255.255"),
    ("172.16.0.0", "172.31.255.255"),
    ("192.168.0.0", "192.168.255.255"),
    ("::1", "::1", "::", "::2"),
    ("fc00::", f"fdff:{F6}:ffff", f"fbff:{F6}:ffff", "fe00::"),
]


@pytest.mark.covers("NET-04", "NET-05", "SRF-02")
@pytest.mark.parametrize(
    ("first", "last", "outside"), [(*r[:2], r[2:]) for r in REFUSED]
)
def test_check_address_when_at_an_edge_then_refuses_exactly_the_network(
    first: str, last: str, outside: tuple[str, ...]
) -> None:
    """The whole of a special network is refused, and nothing beside it."""
    for address in (first, last):
        with pytest.raises(Blocked):
            check_address(address)
    for address in outside:
        check_address(address)


@pytest.mark.covers("NET-20")
@pytest.mark.parametrize(
    ("first", "last", "outside"), [(*r[:2], r[2:]) for r in PRIVATE]
)
def test_check_address_when_private_is_allowed_then_opens_exactly_the_network(
    first: str, last: str, outside: tuple[str, ...]
) -> None:
    """The whole of a private network is opened by the switch, and nothing beside it."""
    for address in (first, last):
        check_address(address, allow_private=True)
    for address in outside:
        with pytest.raises(Blocked):
            check_address(address, allow_private=True)
