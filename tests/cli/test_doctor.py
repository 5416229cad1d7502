"""``doctor``: finds nothing wrong where nothing is, and each fault by its check."""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any

import pytest
from starlette.responses import JSONResponse

from atproto_oauth_asgi.cli.doctor.command import CHECKS
from atproto_oauth_asgi.cli.main import main
from atproto_oauth_asgi.crypto.keys import generate_private_key, private_jwk
from atproto_oauth_asgi.stores.locks import unix_now
from atproto_oauth_asgi.testing import AtprotoNetwork, internet
from atproto_oauth_asgi.testing.certificates import TlsFault, authority
from atproto_oauth_asgi.testing.wire import HangUp
from tests.cli.deployment import (
    CALLBACK,
    HOST,
    JWKS,
    LOGIN,
    LOGOUT,
    METADATA,
    SESSION,
    URL,
    Broken,
    Change,
    Deployment,
    Reply,
    make_app,
)

Output = pytest.CaptureFixture[str]


@dataclass(frozen=True)
class Fault:
    """A way to be broken.

    ``also`` are other checks that it cannot but fail. A ``hint`` fails nothing.
    """

    check: str
    change: Change
    path: str | None = METADATA
    method: str | None = None
    also: frozenset[str] = frozenset()
    verdict: str = "failed"


def edit(**members: Any) -> Change:
    return lambda reply: reply.edit(**members)


def header(name: str, value: str | None) -> Change:
    return lambda reply: reply.set(name, value)


def answer(
    status: int, body: bytes | None = None, *, location: str | None = None
) -> Change:
    def change(reply: Reply) -> None:
        reply.status = status
        reply.body = reply.body if body is None else body
        reply.set("location", location)

    return change


def if_asked(name: str, value: str | None, change: Change) -> Change:
    """Break the answers to certain requests only."""

    def change_some(reply: Reply) -> None:
        if reply.asked.get(name) == value:
            change(reply)

    return change_some


def cookies(change: Callable[[str], str]) -> Change:
    return lambda reply: reply.edit_cookies(change)


def without(text: str) -> Change:
    return cookies(lambda line: line.replace(text, ""))


def keys(change: Callable[[dict[str, Any]], object]) -> Change:
    """Change each key of a set."""

    def change_all(reply: Reply) -> None:
        found = json.loads(reply.body)
        for key in found["keys"]:
            change(key)
        reply.edit(**found)

    return change_all


def key_twice(reply: Reply) -> None:
    (key,) = json.loads(reply.body)["keys"]
    reply.edit(keys=[key, key])


def private_key(reply: Reply) -> None:
    reply.edit(keys=[private_jwk(generate_private_key(), "k") | _USE])


def forged_into_the_document(reply: Reply) -> None:
    if "x-forwarded-host" in reply.asked:
        reply.body = reply.body.replace(HOST.encode(), b"elsewhere.internal")


def forged_comes_back(reply: Reply) -> None:
    if host := reply.asked.get("x-forwarded-host"):
        reply.set("link", f"<https://{host}/>")


def off_by(seconds: float) -> Change:
    return lambda reply: reply.set("date", formatdate(unix_now() + seconds))


def form_goes_elsewhere(reply: Reply) -> None:
    reply.body = reply.body.replace(b'action="', b'action="http://notes.internal')


def tells_everybody(reply: Reply) -> None:
    reply.status, reply.body = 200, b'{"authenticated": false}'
    reply.set("content-type", "application/json")
    reply.set("cache-control", "no-store")
    reply.set("access-control-allow-origin", "*")


_USE = {"alg": "ES256", "use": "sig"}
_CSP = "content-security-policy"
_SITE = "sec-fetch-site"
_OTHER_URI = "https://other.example.com/callback"

FAULTS = [
    Fault("hsts", header("strict-transport-security", None), LOGIN, verdict="hint"),
    Fault("clock", off_by(-100), LOGIN),
    Fault("forwarded-headers", forged_into_the_document),
    Fault("forged-host", forged_comes_back),
    Fault(
        "plain-links",
        edit(policy_uri=f"http://{HOST}/p"),
        also=frozenset({"addresses"}),
    ),
    Fault("ports", edit(tos_uri=f"{URL}:8000/terms")),
    Fault(
        "redirects",
        if_asked(_SITE, "same-origin", answer(303, location=f"http://{HOST}/")),
        LOGOUT,
        "POST",
    ),
    Fault("metadata-status", answer(302, location="/login")),
    Fault("metadata-type", header("content-type", "text/html")),
    Fault("metadata-json", answer(200, b"<title>Just a moment</title>")),
    Fault("metadata-size", edit(client_name="N" * 70_000)),
    Fault("metadata-caching", header("cache-control", "max-age=86400")),
    Fault("metadata-cors", header("access-control-allow-origin", None), verdict="hint"),
    Fault("metadata-cookies", header("set-cookie", "lb=1"), verdict="hint"),
    Fault("jwks-status", answer(404, b"{}"), JWKS, also=frozenset({"jwks-keys"})),
    Fault("jwks-type", header("content-type", "text/plain"), JWKS),
    Fault("jwks-keys", edit(keys=[]), JWKS),
    Fault("jwks-private", private_key, JWKS),
    Fault("jwks-kid", key_twice, JWKS),
    Fault("jwks-curve", keys(lambda key: key.update(crv="P-384")), JWKS),
    Fault("jwks-use", keys(lambda key: key.pop("use")), JWKS),
    Fault("jwks-caching", header("cache-control", None), JWKS),
    Fault("jwks-cors", header("access-control-allow-credentials", "true"), JWKS),
    Fault("client-id", edit(client_id=f"{URL}/")),
    Fault("application-type", edit(application_type="native")),
    Fault("grant-types", edit(grant_types=["authorization_code", "implicit"])),
    Fault("response-types", edit(response_types=["code", "token"])),
    Fault("redirect-uris", edit(redirect_uris=[f"{URL}{CALLBACK}", f"{URL}/#x"])),
    Fault(
        "redirect-origin",
        edit(redirect_uris=[f"{URL}{CALLBACK}", _OTHER_URI]),
        verdict="hint",
    ),
    Fault("scope", edit(scope="repo:com.example.note")),
    Fault("scope-values", edit(scope="atproto transition:mail"), verdict="hint"),
    Fault("dpop", edit(dpop_bound_access_tokens="true")),
    Fault(
        "auth-method",
        edit(token_endpoint_auth_method=...),
        also=frozenset({"auth-parts"}),
    ),
    Fault("auth-parts", edit(token_endpoint_auth_signing_alg=...)),
    Fault("addresses", edit(client_uri="https://www.example.com")),
    Fault("members", edit(contacts=None, default_max_age=60)),
    Fault("login-page", answer(502), LOGIN, "GET"),
    Fault("login-csp", header(_CSP, "frame-ancestors 'none'"), LOGIN),
    Fault("login-framing", header(_CSP, "default-src 'none'"), LOGIN),
    Fault("login-form", form_goes_elsewhere, LOGIN),
    Fault("login-nosniff", header("x-content-type-options", None), LOGIN),
    Fault("login-referrer", header("referrer-policy", "no-referrer"), LOGIN, "GET"),
    Fault("login-caching", header("cache-control", "public, max-age=60"), LOGIN),
    Fault("callback", answer(404), CALLBACK),
    Fault("callback-stale", header("set-cookie", "x=1"), CALLBACK),
    Fault("callback-headers", header("referrer-policy", "same-origin"), CALLBACK),
    Fault("own-origin", if_asked(_SITE, "same-origin", answer(403)), LOGIN, "POST"),
    Fault("csrf-headers", if_asked(_SITE, None, answer(200)), LOGIN, "POST"),
    Fault("csrf-login", if_asked(_SITE, "cross-site", answer(200)), LOGIN, "POST"),
    Fault("csrf-logout", if_asked(_SITE, "cross-site", answer(200)), LOGOUT, "POST"),
    Fault("session-route", tells_everybody, SESSION),
    Fault("cookie-secure", without("; Secure"), LOGOUT, also=frozenset()),
    Fault("cookie-httponly", without("; HttpOnly"), LOGOUT),
    Fault("cookie-samesite", without("; SameSite=Lax"), LOGOUT),
    Fault("cookie-prefix", without("__Host-"), LOGOUT),
    Fault("cookie-domain", cookies(lambda line: f"{line}; Domain={HOST}"), LOGOUT),
    Fault("cookie-path", cookies(lambda line: line.replace("/", "/app")), LOGOUT),
]
_INLINE = {"keys": [{"kty": "EC"}]}
_NAMELESS = keys(lambda key: key.pop("kid"))
_JSON = '{"authenticated": false}'


def told(status: int = 200, **headers: str) -> Change:
    """Answer as a session route, with something wrong."""

    def change(reply: Reply) -> None:
        reply.status, reply.body = status, _JSON.encode()
        reply.set("content-type", "application/json")
        for name, value in headers.items():
            reply.set(name.replace("_", "-"), value)

    return change


MORE_FAULTS = [
    Fault("clock", off_by(-12), LOGIN, verdict="hint"),
    Fault("clock", header("date", None), LOGIN, verdict="hint"),
    Fault("clock", off_by(900), LOGIN),
    Fault(
        "forwarded-headers",
        if_asked("x-forwarded-host", "doctor.invalid", answer(500)),
    ),
    Fault(
        "forwarded-headers",
        if_asked("x-forwarded-host", "doctor.invalid", answer(403)),
        verdict="ok",
    ),
    Fault("metadata-caching", header("cache-control", "no-store"), verdict="ok"),
    Fault("metadata-cors", header("access-control-allow-credentials", "true")),
    Fault("jwks-keys", edit(keys=...), JWKS),
    Fault("jwks-private", edit(keys=...), JWKS, verdict="skipped"),
    Fault("jwks-kid", _NAMELESS, JWKS),
    Fault("client-id", edit(client_id=...)),
    Fault("redirect-uris", edit(redirect_uris=[])),
    Fault("redirect-uris", edit(redirect_uris=["https://["])),
    Fault("redirect-origin", edit(redirect_uris=["https://["]), verdict="hint"),
    Fault("scope", edit(scope="atproto atproto")),
    Fault("auth-parts", edit(jwks=_INLINE)),
    Fault("auth-parts", edit(token_endpoint_auth_method="none")),
    Fault("addresses", edit(client_uri="https://[")),
    Fault("login-csp", header(_CSP, None), LOGIN),
    Fault("login-csp", header(_CSP, "script-src 'self' 'unsafe-inline'"), LOGIN),
    Fault("login-framing", header("x-frame-options", "DENY"), LOGIN, verdict="ok"),
    Fault("login-form", header(_CSP, "form-action 'none'"), LOGIN),
    Fault("login-referrer", header("referrer-policy", None), LOGIN),
    Fault("callback-headers", header("cache-control", None), CALLBACK),
    Fault("callback-stale", answer(500), CALLBACK),
    Fault("own-origin", if_asked(_SITE, "same-origin", answer(500)), LOGIN),
    Fault("session-route", told(500), SESSION),
    Fault("session-route", told(cache_control="max-age=60"), SESSION),
    Fault("session-route", told(cache_control="no-store"), SESSION, verdict="ok"),
    Fault("session-route", answer(404), SESSION, verdict="skipped"),
]
"""Other ways to be broken, and what looks so and is not."""

ELSEWHERE = {"certificate", "certificate-end", "client-id-form", "login-begins"}
"""Checks whose faults lie outside the answers; each has a test of its own."""


def findings(output: Output) -> dict[str, dict[str, str]]:
    """What was printed by ``--json``, by the name of the check."""
    printed = json.loads(output.readouterr().out)
    return {each["name"]: each for each in printed["checks"]}


def wrong(found: dict[str, dict[str, str]]) -> set[str]:
    return {
        name for name, each in found.items() if each["verdict"] in {"failed", "hint"}
    }


@pytest.mark.parametrize("is_confidential", [True, False])
def test_doctor_when_nothing_is_wrong_then_finds_nothing(
    deployment: Deployment, capsys: Output, *, is_confidential: bool
) -> None:
    """A deployment of ours passes every check that applies, down to a begun login."""
    keys = [generate_private_key()] if is_confidential else []
    deployment.serve(client_keys=keys)
    code = deployment.doctor("--json", "--strict", "--identifier", "alice.test")
    found = findings(capsys)
    assert (code, wrong(found)) == (0, set())
    skipped = {name for name, each in found.items() if each["verdict"] == "skipped"}
    of_keys = {check.name for check in CHECKS if check.name.startswith("jwks")}
    assert skipped - {"session-route"} == (set() if is_confidential else of_keys)


def test_doctor_when_counted_then_has_many_checks_and_each_can_fail() -> None:
    """There are at least 25 checks, each with its own name and its own fault."""
    names = [check.name for check in CHECKS]
    assert len(names) == len(set(names)) >= 25
    assert sorted([fault.check for fault in FAULTS] + sorted(ELSEWHERE)) == sorted(
        names
    )


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.check)
def test_doctor_when_one_thing_is_broken_then_its_check_says_so(
    deployment: Deployment, capsys: Output, fault: Fault
) -> None:
    """The check of the fault finds it, tells a remedy, and no other check fails."""
    deployment.break_it(fault.change, path=fault.path, method=fault.method)
    code = deployment.doctor("--json")
    found = findings(capsys)
    assert wrong(found) == {fault.check} | fault.also
    assert found[fault.check]["verdict"] == fault.verdict
    assert found[fault.check]["remedy"]
    assert code == (fault.verdict == "failed")
    assert deployment.doctor("--strict") == 1


@pytest.mark.parametrize("fault", MORE_FAULTS, ids=lambda fault: fault.check)
def test_doctor_when_broken_in_another_way_then_the_same_check_says_so(
    deployment: Deployment, capsys: Output, fault: Fault
) -> None:
    """A check knows more than one way to be wrong, and what is not wrong."""
    deployment.break_it(fault.change, path=fault.path, method=fault.method)
    deployment.doctor("--json")
    found = findings(capsys)[fault.check]
    assert found["verdict"] == fault.verdict
    assert bool(found["remedy"]) is (fault.verdict in {"failed", "hint"})


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("expired", "expired"),
        ("wrong name", "name"),
        ("unknown authority", "issuer"),
    ],
)
def test_doctor_when_certificate_is_wrong_then_says_what_of_it(
    deployment: Deployment, capsys: Output, fault: TlsFault, reason: str
) -> None:
    """No browser would go on, so nothing else is asked for; the reason is told."""
    deployment.serve()
    deployment.network.break_tls(HOST, fault)
    assert deployment.doctor("--json") == 1
    found = findings(capsys)
    assert reason in found["certificate"]["text"].lower()
    assert {name for name in found if found[name]["verdict"] != "skipped"} == {
        "certificate"
    }
    assert {each.path for each in deployment.network.traffic} == set()


def test_doctor_when_certificate_ends_soon_then_says_so(
    deployment: Deployment, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A certificate is to be renewed before it ends, not afterwards."""

    def old(host: str, fault: TlsFault | None = None) -> ssl.SSLContext:
        return authority().server_context(host, age_days=26)

    monkeypatch.setattr(internet, "server_context", old)
    deployment.serve()
    assert deployment.doctor("--json") == 1
    assert wrong(findings(capsys)) == {"certificate-end"}


def test_doctor_when_address_has_a_port_then_says_so(
    deployment: Deployment, capsys: Output
) -> None:
    """No client id has a port; the application is asked all the same."""
    deployment.serve()
    assert deployment.doctor("--json", url=f"{URL}:8443") == 1
    # The server of the test knows no such host.
    assert "status 421" in findings(capsys)["metadata-status"]["text"]


def test_doctor_when_host_is_no_public_name_then_says_so(
    deployment: Deployment, capsys: Output
) -> None:
    """No server takes a client at a name that the Internet does not know."""
    url = "https://notes.test"
    app = Broken(
        make_app(deployment.network),
        edit(client_id=f"{url}{METADATA}"),
        path=METADATA,
        method=None,
    )
    deployment.network.add_host("notes.test", app)
    assert deployment.doctor("--json", "--private", "notes.test", url=url) == 1
    found = findings(capsys)
    assert found["client-id"]["verdict"] == "ok"
    assert found["client-id-form"]["verdict"] == "failed"


@pytest.mark.parametrize("path", ["/", "/client/"])
def test_doctor_when_client_id_is_no_file_then_says_so(
    deployment: Deployment, capsys: Output, path: str
) -> None:
    """A client id has a path, and no slash at its end: no server takes another."""
    document = JSONResponse({"client_id": f"{URL}{path}"})
    deployment.serve(document)
    assert deployment.doctor("--json", f"--metadata-path={path}") == 1
    found = findings(capsys)
    assert found["client-id"]["verdict"] == "ok"
    assert "a path that does not end in /" in found["client-id-form"]["text"]


def test_doctor_when_one_page_does_not_answer_then_tells_why_and_goes_on(
    deployment: Deployment, capsys: Output
) -> None:
    """A server that hangs up is a finding like any other; the rest is looked at."""

    def hang_up(reply: Reply) -> None:
        raise HangUp

    deployment.break_it(hang_up, path=LOGIN, method="GET")
    assert deployment.doctor("--json") == 1
    found = findings(capsys)
    assert found["login-page"]["verdict"] == "failed"
    assert found["login-page"]["text"].startswith(f"{URL}{LOGIN}: no answer: ")
    assert found["login-csp"]["verdict"] == "skipped"
    assert found["metadata-status"]["verdict"] == "ok"


def test_doctor_when_login_returns_elsewhere_then_hints(
    deployment: Deployment, capsys: Output
) -> None:
    """An application may leave the callback to another host, if it knows."""
    deployment.break_it(edit(redirect_uris=[_OTHER_URI]), path=METADATA)
    assert deployment.doctor("--json") == 0
    assert wrong(findings(capsys)) == {"callback", "redirect-origin"}


def test_doctor_when_server_refuses_the_client_then_says_so(
    deployment: Deployment, capsys: Output
) -> None:
    """A login is begun on demand, so that a real server looks at the metadata."""
    deployment.serve()
    refusal = JSONResponse({"error": "invalid_client"}, status_code=400)
    deployment.network.on("pds.test", "/oauth/par", refusal)
    assert deployment.doctor("--json", "--identifier", "alice.test") == 1
    assert wrong(findings(capsys)) == {"login-begins"}


def test_doctor_when_given_the_client_id_then_looks_at_the_same(
    deployment: Deployment, capsys: Output
) -> None:
    """The URL may be the one that stands in server logs."""
    deployment.serve()
    assert deployment.doctor("--json", url=f"{URL}{METADATA}") == 0
    assert json.loads(capsys.readouterr().out)["url"] == URL


def test_doctor_when_below_a_path_with_paths_of_its_own_then_finds_them(
    deployment: Deployment, capsys: Output
) -> None:
    """Where the routes are can be said, and the public URL may have a path."""
    deployment.serve(
        public_url=f"{URL}/notes",
        login_path="/in",
        logout_path="/out",
        metadata_path="/client.json",
        cookie_name="crumb",
    )
    names = ["--login-path=/in", "--logout-path=/out", "--metadata-path=/client.json"]
    code = deployment.doctor(
        "--json", "--strict", "--cookie-name=crumb", *names, url=f"{URL}/notes/"
    )
    found = findings(capsys)
    assert (code, wrong(found)) == (0, set())
    assert "crumb" in found["cookie-secure"]["text"]


def test_doctor_when_keys_are_inside_the_document_then_reads_them(
    deployment: Deployment, capsys: Output
) -> None:
    """A private key is seen wherever it is published, and never printed."""
    secret = private_jwk(generate_private_key(), "k")
    inline = edit(jwks={"keys": [secret | _USE]}, jwks_uri=...)
    deployment.break_it(inline, path=METADATA)
    assert deployment.doctor("--json", "--all") == 1
    printed = capsys.readouterr().out
    assert secret["d"] not in printed
    verdicts = {each["name"]: each["verdict"] for each in json.loads(printed)["checks"]}
    assert verdicts["jwks-private"] == "failed"
    assert verdicts["jwks-status"] == "skipped"


def test_doctor_when_shown_to_people_then_is_a_table_with_remedies(
    deployment: Deployment, capsys: Output
) -> None:
    """What is wrong stands beside what to do, skipped checks only on demand."""
    deployment.break_it(header("content-type", "text/html"), path=METADATA)
    assert deployment.doctor() == 1
    printed = capsys.readouterr().out
    assert "failed  metadata-type" in printed
    assert "-> send application/json" in printed
    assert printed.splitlines()[-1].endswith("skipped")
    assert "login-begins" not in printed
    deployment.doctor("--all")
    assert "--identifier HANDLE begins one" in capsys.readouterr().out


def test_doctor_when_answer_holds_terminal_codes_then_they_are_written_out(
    deployment: Deployment, capsys: Output
) -> None:
    """What a stranger's server says cannot steer the terminal of who looks."""
    deployment.break_it(edit(scope="atproto \x1b]0;x\x07"), path=METADATA)
    deployment.doctor()
    assert "\x1b" not in capsys.readouterr().out


def test_doctor_when_host_is_private_then_asks_for_leave(
    deployment: Deployment, capsys: Output
) -> None:
    """A name or address inside a network is looked at on demand only."""
    deployment.serve()
    reaching = deployment.reaching
    at = reaching.index("--private")
    assert main(["doctor", URL, *reaching[:at], *reaching[at + 2 :]]) == 1
    assert "[blocked]" in capsys.readouterr().err


@pytest.mark.parametrize(
    "url", ["http://app.example.com", "app", "https://a.b?c", "https://[", ""]
)
def test_doctor_when_url_is_none_then_says_what_it_wants(
    url: str, capsys: Output
) -> None:
    """Only https is deployed."""
    assert main(["doctor", url]) == 2
    assert "https://app.example.com" in capsys.readouterr().err


def test_doctor_when_run_then_starts_no_login_and_ends_no_session(
    deployment: Deployment, capsys: Output
) -> None:
    """A look changes nothing: no server is asked for anything."""
    deployment.serve()
    network: AtprotoNetwork = deployment.network
    network.clear_traffic()
    deployment.doctor()
    assert {each.host for each in network.traffic} == {HOST}
    assert network.sessions() == []
