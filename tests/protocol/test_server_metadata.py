from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atproto_oauth_asgi.exceptions import DiscoveryError, UnsupportedAuthServerError
from atproto_oauth_asgi.models import AuthServerMetadata
from atproto_oauth_asgi.protocol.server_metadata import (
    check_protected_resource,
    parse_protected_resource,
    parse_server_metadata,
)
from atproto_oauth_asgi.protocol.urls import UrlPolicy

PDS = "https://pds.example.com"
ISSUER = "https://as.example.com"
STRICT = UrlPolicy(allowed_ports=(443, 8443))
DEVELOPMENT = UrlPolicy(http_hosts=("localhost",), private_hosts=("localhost",))


def resource(**changes: Any) -> dict[str, Any]:
    return {
        "resource": PDS,
        "authorization_servers": [ISSUER],
        "scopes_supported": [],
        "bearer_methods_supported": ["header"],
        **changes,
    }


def server(issuer: str = ISSUER, **changes: Any) -> dict[str, Any]:
    return {
        "issuer": issuer,
        "authorization_endpoint": f"{issuer}/oauth/authorize",
        "token_endpoint": f"{issuer}/oauth/token",
        "pushed_authorization_request_endpoint": f"{issuer}/oauth/par",
        "revocation_endpoint": f"{issuer}/oauth/revoke",
        "jwks_uri": f"{issuer}/oauth/jwks",
        "scopes_supported": ["atproto", "transition:generic"],
        "response_types_supported": ["code"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": ["none", "private_key_jwt"],
        "token_endpoint_auth_signing_alg_values_supported": ["RS256", "ES256"],
        "dpop_signing_alg_values_supported": ["ES256K", "ES256"],
        "authorization_response_iss_parameter_supported": True,
        "require_pushed_authorization_requests": True,
        "require_request_uri_registration": True,
        "client_id_metadata_document_supported": True,
        "prompt_values_supported": ["none", "login"],
        "protected_resources": [PDS],
        **changes,
    }


def without(members: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in members.items() if key != name}


def issuer_of(members: Any, policy: UrlPolicy = STRICT) -> str:
    return parse_protected_resource(json.dumps(members).encode(), PDS, policy=policy)


def metadata_of(members: Any, **options: Any) -> AuthServerMetadata:
    issuer = options.pop("issuer", ISSUER)
    policy = options.pop("policy", STRICT)
    body = json.dumps(members).encode()
    return parse_server_metadata(body, issuer, policy=policy, **options)


def test_parse_protected_resource_when_right_then_gives_the_issuer() -> None:
    """The one authorization server that the PDS names is the issuer."""
    assert issuer_of(resource()) == ISSUER
    with_port = resource(authorization_servers=[f"{ISSUER}:8443"])
    assert issuer_of(with_port) == f"{ISSUER}:8443"


@pytest.mark.covers("DISC-02")
@pytest.mark.parametrize(
    "other", [f"{PDS}/", "https://evil.com", PDS.upper(), None, [PDS]]
)
def test_parse_protected_resource_when_for_another_host_then_refuses(
    other: Any,
) -> None:
    """The document must speak for exactly the host it was asked from."""
    with pytest.raises(DiscoveryError):
        issuer_of(resource(resource=other))


@pytest.mark.covers("DISC-03")
@pytest.mark.parametrize(
    "servers", [[], [ISSUER, "https://b.com"], [ISSUER, ISSUER], [1], ISSUER, None, {}]
)
def test_parse_protected_resource_when_not_one_server_then_refuses(
    servers: Any,
) -> None:
    """There is one authorization server, or none is taken."""
    with pytest.raises(DiscoveryError):
        issuer_of(resource(authorization_servers=servers))


def test_parse_server_metadata_when_it_lacks_several_then_names_them() -> None:
    """Who runs a server learns what to add, all at once."""
    wanted = "grant_types_supported lacks authorization_code, refresh_token$"
    with pytest.raises(UnsupportedAuthServerError, match=wanted):
        metadata_of(server(grant_types_supported=["implicit"]))


@pytest.mark.covers("DISC-04", "DISC-13")
@pytest.mark.parametrize(
    "issuer",
    [
        f"{ISSUER}/",
        f"{ISSUER}/x",
        f"{ISSUER}:443",
        f"{ISSUER}?x",
        f"{ISSUER}#x",
        "https://AS.example.com",
        "https://u@as.example.com",
        "http://as.example.com",
        "https://127.0.0.1",
        "https://as.internal",
        "https://bücher.com",
        "",
    ],
)
def test_parse_protected_resource_when_issuer_is_no_origin_then_refuses(
    issuer: str,
) -> None:
    """An issuer is a bare https origin on the Internet."""
    with pytest.raises(DiscoveryError):
        issuer_of(resource(authorization_servers=[issuer]))


def test_parse_server_metadata_when_right_then_gives_it_all() -> None:
    """What the client needs later is in the value."""
    assert metadata_of(server()) == AuthServerMetadata(
        issuer=ISSUER,
        authorization_endpoint=f"{ISSUER}/oauth/authorize",
        token_endpoint=f"{ISSUER}/oauth/token",
        pushed_authorization_request_endpoint=f"{ISSUER}/oauth/par",
        revocation_endpoint=f"{ISSUER}/oauth/revoke",
        scopes_supported=("atproto", "transition:generic"),
        token_endpoint_auth_methods_supported=("none", "private_key_jwt"),
        token_endpoint_auth_signing_alg_values_supported=("RS256", "ES256"),
        dpop_signing_alg_values_supported=("ES256K", "ES256"),
        prompt_values_supported=("none", "login"),
        protected_resources=(PDS,),
    )


@pytest.mark.parametrize(
    "name",
    [
        "revocation_endpoint",
        "prompt_values_supported",
        "protected_resources",
        "require_request_uri_registration",
    ],
)
def test_parse_server_metadata_when_optional_is_missing_then_accepts(name: str) -> None:
    """What a server may leave out, it may leave out."""
    found = metadata_of(without(server(), name))
    assert found.issuer == ISSUER
    prompts = () if name == "prompt_values_supported" else ("none", "login")
    assert found.prompt_values_supported == prompts


def test_parse_server_metadata_when_local_server_then_development_accepts() -> None:
    """The official PDS on this machine is accepted by the development network."""
    local = "http://localhost:2583"
    found = metadata_of(server(local), issuer=local, policy=DEVELOPMENT)
    assert found.token_endpoint == f"{local}/oauth/token"
    with pytest.raises(UnsupportedAuthServerError):
        metadata_of(server(local), issuer=local)


@pytest.mark.covers("DISC-06")
@pytest.mark.parametrize(
    "other",
    ["https://evil.com", "https://AS.example.com", f"{ISSUER}/", None, [ISSUER]],
)
def test_parse_server_metadata_when_of_another_issuer_then_refuses(other: Any) -> None:
    """The document names, letter by letter, the issuer that was asked."""
    with pytest.raises(DiscoveryError):
        metadata_of(server() | {"issuer": other})


@pytest.mark.covers("DISC-07", "DISC-08", "DISC-09", "DISC-10", "DISC-11")
@pytest.mark.parametrize(
    "name",
    [
        "authorization_endpoint",
        "token_endpoint",
        "pushed_authorization_request_endpoint",
        "response_types_supported",
        "grant_types_supported",
        "code_challenge_methods_supported",
        "token_endpoint_auth_methods_supported",
        "token_endpoint_auth_signing_alg_values_supported",
        "scopes_supported",
        "dpop_signing_alg_values_supported",
        "authorization_response_iss_parameter_supported",
        "require_pushed_authorization_requests",
        "client_id_metadata_document_supported",
    ],
)
def test_parse_server_metadata_when_required_is_missing_then_refuses(name: str) -> None:
    """Every member that the profile demands is demanded."""
    with pytest.raises(UnsupportedAuthServerError, match=name):
        metadata_of(without(server(), name))


@pytest.mark.covers("DISC-08", "DISC-09", "DISC-10", "DISC-11", "DISC-12", "DISC-21")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("response_types_supported", ["token"]),
        ("grant_types_supported", ["authorization_code"]),
        ("grant_types_supported", ["refresh_token"]),
        ("code_challenge_methods_supported", ["plain"]),
        ("code_challenge_methods_supported", "S256"),
        ("token_endpoint_auth_methods_supported", ["none"]),
        ("token_endpoint_auth_methods_supported", ["private_key_jwt"]),
        ("token_endpoint_auth_signing_alg_values_supported", ["RS256"]),
        ("token_endpoint_auth_signing_alg_values_supported", ["ES256", "none"]),
        ("dpop_signing_alg_values_supported", ["none", "HS256"]),
        ("dpop_signing_alg_values_supported", ["ES256K"]),
        ("scopes_supported", ["openid"]),
        ("scopes_supported", "atproto"),
        ("scopes_supported", ["atproto", 1]),
        ("authorization_response_iss_parameter_supported", False),
        ("require_pushed_authorization_requests", "true"),
        ("client_id_metadata_document_supported", 1),
        ("require_request_uri_registration", False),
        ("require_request_uri_registration", None),
        ("protected_resources", PDS),
        ("prompt_values_supported", {"none": 1}),
        ("revocation_endpoint", 1),
        ("token_endpoint", ["https://as.example.com/t"]),
    ],
)
def test_parse_server_metadata_when_ability_is_missing_then_refuses(
    name: str, value: Any
) -> None:
    """A server that cannot do what atproto asks is not used."""
    with pytest.raises(UnsupportedAuthServerError):
        metadata_of(server(**{name: value}))


ENDPOINTS = [
    "authorization_endpoint",
    "token_endpoint",
    "pushed_authorization_request_endpoint",
    "revocation_endpoint",
]


@pytest.mark.covers("DISC-13", "DISC-15", "LOGIN-11")
@pytest.mark.parametrize("name", ENDPOINTS)
@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:6379/",
        "http://as.example.com/x",
        "https://u@as.example.com/x",
        "https://as.example.com/x#y",
        "https://169.254.169.254/",
        "https://as.example.com:6379/",
        "https://as.example.com:8443/x",
        "https://evil.com/x",
        "https://sub.as.example.com/x",
        "javascript:alert(1)",
        "/oauth/token",
        "",
    ],
)
def test_parse_server_metadata_when_endpoint_is_elsewhere_then_refuses(
    name: str, url: str
) -> None:
    """Endpoints lie on the issuer's own origin."""
    with pytest.raises(UnsupportedAuthServerError):
        metadata_of(server(**{name: url}))


@pytest.mark.covers("DISC-15")
def test_parse_server_metadata_when_origin_is_allowed_then_accepts_it() -> None:
    """The operator may name further origins for endpoints."""
    token_endpoint = "https://token.example.com/x"
    found = metadata_of(
        server(token_endpoint=token_endpoint),
        allowed_endpoint_origins=("https://token.example.com",),
    )
    assert found.token_endpoint == token_endpoint


@pytest.mark.covers("DISC-14")
def test_parse_server_metadata_when_endpoint_has_query_then_keeps_it() -> None:
    """A query of the server's own stays where it is."""
    url = f"{ISSUER}/authorize?tenant=1"
    assert metadata_of(server(authorization_endpoint=url)).authorization_endpoint == url


@pytest.mark.covers("DISC-14")
@pytest.mark.parametrize(
    "query",
    [
        "client_id=evil",
        "a=1&%63lient_id=evil",
        "state=x&a=?",
        "code_challenge=x",
        "code_challenge_method=plain",
        "dpop_jkt=x",
        "login_hint=x",
        "nonce=x",
        "prompt=none",
        "redirect_uri=https://evil.com/",
        "request=x",
        "request_uri",
        "response_mode=fragment",
        "response_type=token",
        "scope=x",
        "state=",
    ],
)
def test_parse_server_metadata_when_query_holds_our_names_then_refuses(
    query: str,
) -> None:
    """No parameter of ours can be there twice."""
    url = f"{ISSUER}/authorize?{query}"
    with pytest.raises(UnsupportedAuthServerError):
        metadata_of(server(authorization_endpoint=url))


@pytest.mark.covers("DISC-22")
def test_parse_server_metadata_when_extensions_are_offered_then_ignores_them() -> None:
    """What this client does not do cannot redirect it."""
    extra: dict[str, Any] = {
        "mtls_endpoint_aliases": {"token_endpoint": "https://evil.com/t"},
        "signed_metadata": "x.y.z",
        "registration_endpoint": "https://evil.com/r",
    }
    assert metadata_of(server(**extra)) == metadata_of(server())


@pytest.mark.covers("DISC-16")
def test_check_protected_resource_when_listed_or_no_list_then_passes() -> None:
    """A server that lists whom it serves must list the PDS."""
    check_protected_resource(metadata_of(server()), PDS)
    check_protected_resource(metadata_of(without(server(), "protected_resources")), PDS)
    for served in ([], ["https://other.example.com"], [f"{PDS}/"]):
        with pytest.raises(DiscoveryError):
            check_protected_resource(
                metadata_of(server(protected_resources=served)), PDS
            )


@given(
    st.sampled_from(sorted(server())),
    st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.lists(st.text() | st.integers())
    | st.dictionaries(st.text(), st.text()),
)
def test_parse_server_metadata_when_a_member_is_anything_then_raises_only_ours(
    name: str, value: Any
) -> None:
    """Whatever a member is, there is metadata of this issuer or our error."""
    try:
        assert metadata_of(server() | {name: value}).issuer == ISSUER
    except DiscoveryError:
        return


@given(st.binary())
def test_parsers_when_given_bytes_then_raise_only_ours(body: bytes) -> None:
    """Bytes that are no metadata are refused by both parsers."""
    with pytest.raises(DiscoveryError):
        parse_protected_resource(body, PDS, policy=STRICT)
    with pytest.raises(DiscoveryError):
        parse_server_metadata(body, ISSUER, policy=STRICT)
