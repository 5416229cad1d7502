from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atproto_oauth_asgi.exceptions import DidNotResolved
from atproto_oauth_asgi.protocol.did_document import DidDocument, parse_did_document
from atproto_oauth_asgi.protocol.identifiers import Did
from atproto_oauth_asgi.protocol.urls import UrlPolicy

DID = Did("did:plc:ewvi7nxzyoun6zhxrhs64oiz")
STRICT = UrlPolicy()


def service(**changes: Any) -> dict[str, Any]:
    return {
        "id": "#atproto_pds",
        "type": "AtprotoPersonalDataServer",
        "serviceEndpoint": "https://pds.example.com",
        **changes,
    }


def document(**changes: Any) -> dict[str, Any]:
    return {
        "@context": ["https://www.w3.org/ns/did/v1"],
        "id": DID,
        "alsoKnownAs": ["at://alice.example.com"],
        "verificationMethod": [],
        "service": [service()],
        **changes,
    }


def parse(members: Any, policy: UrlPolicy = STRICT) -> DidDocument:
    return parse_did_document(json.dumps(members).encode(), DID, policy=policy)


@pytest.mark.parametrize("service_id", ["#atproto_pds", f"{DID}#atproto_pds"])
def test_parse_did_document_when_ordinary_then_names_handle_and_pds(
    service_id: str,
) -> None:
    """Relative and absolute ids of the service are both understood."""
    assert parse(document(service=[service(id=service_id)])) == DidDocument(
        did=DID,
        claimed_handle=parse(document()).claimed_handle,
        pds_url="https://pds.example.com",
    )


@pytest.mark.parametrize("changes", [{}, {"service": []}])
def test_parse_did_document_when_no_pds_is_named_then_says_so(
    changes: dict[str, Any],
) -> None:
    """Somebody without a server hears that, whether the list is empty or missing."""
    members = {name: each for name, each in document().items() if name != "service"}
    with pytest.raises(DidNotResolved, match="the account has no PDS"):
        parse({**members, **changes})


@pytest.mark.covers("ID-26", "IDN-06")
@pytest.mark.parametrize(
    "other", ["did:plc:aaaaaaaaaaaaaaaaaaaaaaaa", DID.upper(), 1, None]
)
def test_parse_did_document_when_of_another_did_then_refuses(other: Any) -> None:
    """Somebody else's document is nobody's proof."""
    with pytest.raises(DidNotResolved):
        parse(document(id=other))


@pytest.mark.covers("ID-28", "IDN-07", "IDN-08")
@pytest.mark.parametrize(
    ("names", "claimed"),
    [
        (["at://alice.example.com"], "alice.example.com"),
        (["at://Alice.Example.com"], "alice.example.com"),
        (
            [
                "https://x",
                "at://bad_handle!",
                "at://alice.test/",
                "at://alice.test/x",
                "at://alice.test:443",
                "at://u@alice.test",
                "at://alice.test?x",
                "at://alice.test#x",
                "AT://eve.test",
                "at://x://eve.test",
                "dns://eve.test",
                "eve.test",
                "at:alice.test",
                "at://",
                f"at://{DID}",
                "",
                "at://alice.test",
                "at://bob.test",
            ],
            "alice.test",
        ),
        (["at://x.invalid", "at://alice.test"], "x.invalid"),
        (["https://x"], None),
        ([], None),
    ],
)
def test_parse_did_document_when_several_names_then_first_handle_is_claimed(
    names: list[str], claimed: str | None
) -> None:
    """The claimed handle is the first that is one, whether it resolves or not."""
    assert parse(document(alsoKnownAs=names)).claimed_handle == claimed


def test_parse_did_document_when_no_names_then_claims_none() -> None:
    """An account need not claim a handle."""
    members = document()
    del members["alsoKnownAs"]
    assert parse(members).claimed_handle is None


@pytest.mark.covers("ID-29", "IDN-09")
def test_parse_did_document_when_several_services_then_finds_the_pds() -> None:
    """Only the entry with the right id and the right type is the PDS."""
    evil = "https://evil.example.com"
    services = [
        service(
            id="did:plc:aaaaaaaaaaaaaaaaaaaaaaaa#atproto_pds", serviceEndpoint=evil
        ),
        service(id="x#atproto_pds", serviceEndpoint=evil),
        service(id="#atproto_pds_x", serviceEndpoint=evil),
        service(id="atproto_pds", serviceEndpoint=evil),
        service(id=["#atproto_pds"], serviceEndpoint=evil),
        service(type="Other", serviceEndpoint=evil),
        service(type=["AtprotoPersonalDataServer"], serviceEndpoint=evil),
        service(),
        service(serviceEndpoint=evil),
    ]
    assert parse(document(service=services)).pds_url == "https://pds.example.com"


@pytest.mark.covers("ID-30", "ID-31", "IDN-10")
@pytest.mark.parametrize(
    "endpoint",
    [
        None,
        1,
        ["https://pds.example.com"],
        {"uri": "https://pds.example.com"},
        "",
        "http://pds.example.com",
        "https://u:p@pds.example.com",
        "https://pds.example.com@evil.com",
        "https://pds.example.com\\@evil.com",
        "https://pds.example.com/path",
        "https://pds.example.com//",
        "https://pds.example.com/..//evil",
        "https://pds.example.com?x",
        "https://pds.example.com#@evil.com",
        "https://pds.example.com:443",
        "https://pds.example.com:6379",
        "https://10.0.0.5",
        "https://pds.internal",
        "https://localhost",
        "javascript:alert(1)",
    ],
)
def test_parse_did_document_when_endpoint_is_bad_then_refuses(endpoint: Any) -> None:
    """The PDS is a bare https origin on the Internet, or there is none."""
    services = [service(serviceEndpoint=endpoint), service()]
    with pytest.raises(DidNotResolved):
        parse(document(service=services))


def test_parse_did_document_when_endpoint_ends_in_slash_then_gives_the_origin() -> None:
    """A lone slash at the end is no path."""
    members = document(service=[service(serviceEndpoint="https://pds.example.com/")])
    assert parse(members).pds_url == "https://pds.example.com"


@pytest.mark.covers("ID-27", "IDN-19")
@pytest.mark.parametrize(
    "changes",
    [
        {"service": {}},
        {"service": None},
        {"service": "x"},
        {"service": [None]},
        {"service": [[]]},
        {"service": []},
        {"service": [service(id="#x")] * 1000},
        {"alsoKnownAs": "at://alice.test"},
        {"alsoKnownAs": [1]},
        {"alsoKnownAs": [None, "at://alice.test"]},
        {"alsoKnownAs": {"at://alice.test": 1}},
        {"alsoKnownAs": ["at://\ud800"]},
    ],
)
def test_parse_did_document_when_misshapen_then_refuses(
    changes: dict[str, Any],
) -> None:
    """Wrong types give one controlled error."""
    with pytest.raises(DidNotResolved):
        parse(document(**changes))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(sorted(service())), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from(sorted(document())), JSON))
def test_parse_did_document_when_given_anything_then_raises_only_ours(
    changes: dict[str, Any],
) -> None:
    """Whatever stands in the members, there is a document or our error."""
    try:
        parse(document(**changes))
    except DidNotResolved:
        return


@given(st.binary())
def test_parse_did_document_when_given_bytes_then_raises_only_ours(
    body: bytes,
) -> None:
    """Bytes that are no document are refused."""
    with pytest.raises(DidNotResolved):
        parse_did_document(body, DID, policy=STRICT)
