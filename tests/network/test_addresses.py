from __future__ import annotations

import pytest

from atproto_oauth_asgi.exceptions import Blocked, ConfigurationError
from atproto_oauth_asgi.network.addresses import check_address, parse_networks

PUBLIC = ["8.8.8.8", "93.184.216.34", "2606:4700::1111", "2a00:1450::1", "2400:cb00::1"]

IPV4 = [
    "0.0.0.0",  # noqa: S104
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "168.63.129.16",
]
IPV6 = [
    "::",
    "::1",
    "::127.0.0.1",
    "::8.8.8.8",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:8.8.8.8",
    "::ffff:0:127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::808:808",
    "64:ff9b:1::1",
    "64:ff9b:1::7f00:1",
    "100::1",
    "2001::1",
    "2001:0:4136:e378:8000:63bf:80ff:fffe",
    "2001:2::1",
    "2001:10::1",
    "2001:20::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:a00:1::1",
    "2002:808:808::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "2606:4700::1111%eth0",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
]
NOT_ADDRESSES = [
    "",
    "localhost",
    "127.1",
    "2130706433",
    "0x7f000001",
    "8.8.8.8/32",
    "8.8.8.8 ",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_check_address_when_public_then_passes(address: str) -> None:
    """Ordinary addresses of the Internet are connected to."""
    check_address(address)


@pytest.mark.covers("NET-04", "NET-05", "NET-06", "SRF-01", "SRF-02", "SRF-10")
@pytest.mark.parametrize("address", IPV4 + IPV6 + NOT_ADDRESSES)
def test_check_address_when_not_public_then_refuses(address: str) -> None:
    """No private, special or disguised address is connected to."""
    with pytest.raises(Blocked) as caught:
        check_address(address)
    assert not address or address not in str(caught.value)


@pytest.mark.covers("NET-06")
def test_check_address_when_operator_denies_then_refuses() -> None:
    """Networks of the operator's own list are refused as well, even private ones."""
    denied = parse_networks(["93.184.216.0/24", "2606:4700::/32", "10.1.0.0/16"])
    for address in ("93.184.216.34", "2606:4700::1111", "10.1.2.3"):
        with pytest.raises(Blocked):
            check_address(address, denied=denied, allow_private=True)
    check_address("8.8.8.8", denied=denied)


@pytest.mark.parametrize("text", ["x", "10.0.0.1/8", "10.0.0.0/33", ""])
def test_parse_networks_when_malformed_then_refuses(text: str) -> None:
    """A deny list with a slip in it is not silently shorter."""
    with pytest.raises(ConfigurationError):
        parse_networks([text])


@pytest.mark.covers("NET-20")
def test_check_address_when_private_is_allowed_then_only_private_is_added() -> None:
    """The switch opens loopback and private networks, not cloud metadata."""
    for address in ("127.0.0.1", "::1", "10.0.0.1", "192.168.0.1", "fd00::1"):
        check_address(address, allow_private=True)
    for address in (
        "169.254.169.254",
        "fe80::1",
        "0.0.0.0",  # noqa: S104
        "::",
        "224.0.0.1",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
    ):
        with pytest.raises(Blocked):
            check_address(address, allow_private=True)
