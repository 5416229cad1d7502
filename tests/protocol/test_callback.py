from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atproto_oauth_asgi.exceptions import CallbackError, IssuerMismatch, LoginDenied
from atproto_oauth_asgi.protocol.callback import (
    CallbackAnswer,
    check_issuer,
    check_not_denied,
    parse_callback,
)

STATE = "s" * 43
ISSUER = "https://as.example.com"


def parse(*parameters: tuple[str, str], **named: str) -> CallbackAnswer:
    return parse_callback([*parameters, *named.items()])


def test_callback_when_right_then_gives_its_parameters() -> None:
    """State, code and issuer come out; what is not known is ignored."""
    answer = parse(state=STATE, code="c", iss=ISSUER, session_state="x")
    assert (answer.state, answer.code, answer.iss) == (STATE, "c", ISSUER)
    assert check_not_denied(answer) == "c"


@pytest.mark.parametrize("state", ["aZ09_-" * 4, "s" * 22, "s" * 128])
@pytest.mark.parametrize("code", [" ", "~", "!" * 4096])
def test_callback_when_parameters_are_unusual_then_are_taken(
    state: str, code: str
) -> None:
    """A state is base64url of 22 to 128 characters, a code up to 4096 of ASCII."""
    answer = parse(("x", "1"), ("x", "1"), state=state, code=code, iss=ISSUER)
    assert (answer.state, answer.code) == (state, code)


@pytest.mark.covers("LOG-01")
def test_answer_when_shown_then_hides_state_and_code() -> None:
    """Code and state are in no repr."""
    shown = repr(parse(state=STATE, code="secret-code", iss=ISSUER))
    assert STATE not in shown
    assert "secret-code" not in shown


@pytest.mark.covers("CB-02", "LGN-09", "SES-08")
@pytest.mark.parametrize(
    "state",
    [
        "",
        "s" * 21,
        "s" * 129,
        "s" * 2_000_000,
        f"{STATE}\x00",
        f"{STATE}\n",
        f"{STATE}*",
        "é" * 43,
        f"../{STATE}",
    ],
)
def test_callback_when_state_is_odd_then_is_refused(state: str) -> None:
    """What cannot be one of our states never reaches a store."""
    with pytest.raises(CallbackError):
        parse(state=state, code="c", iss=ISSUER)


@pytest.mark.covers("CB-02")
def test_callback_when_state_is_missing_then_is_refused() -> None:
    """An answer without state is an answer to nothing."""
    with pytest.raises(CallbackError):
        parse(code="c", iss=ISSUER)


@pytest.mark.covers("CB-03", "LGN-06")
@pytest.mark.parametrize("name", ["state", "code", "iss", "error", "error_description"])
@pytest.mark.parametrize("second", ["other", "same"])
def test_callback_when_parameter_comes_twice_then_is_refused(
    name: str, second: str
) -> None:
    """Neither first nor last wins, not even if they are equal."""
    values = {"state": STATE, "code": "c", "iss": ISSUER, name: "same"}
    for order in ([*values.items(), (name, second)], [(name, second), *values.items()]):
        with pytest.raises(CallbackError):
            parse(*order)


@pytest.mark.covers("CB-14")
def test_callback_when_jarm_then_is_refused() -> None:
    """A JWT answer was not asked for."""
    with pytest.raises(CallbackError):
        parse(state=STATE, code="c", iss=ISSUER, response="eyJ")


@pytest.mark.covers("CB-11")
def test_callback_when_neither_code_nor_error_then_is_refused() -> None:
    """There must be an answer in the answer."""
    with pytest.raises(CallbackError):
        parse(state=STATE, iss=ISSUER)


@pytest.mark.covers("CB-15", "LGN-09")
@pytest.mark.parametrize("code", ["", "c" * 4097, "c" * 1_000_000, "é", "c\x00", "c\n"])
def test_callback_when_code_is_odd_then_is_refused(code: str) -> None:
    """A code is some visible ASCII, of a length that makes sense."""
    with pytest.raises(CallbackError):
        parse(state=STATE, code=code, iss=ISSUER)


@pytest.mark.covers("CB-10", "LGN-07")
@pytest.mark.parametrize("error", ["access_denied", ""])
def test_callback_when_error_and_code_then_code_is_dropped(error: str) -> None:
    """With an error there is no code to send anywhere, in either order."""
    for order in ([("code", "c"), ("error", error)], [("error", error), ("code", "c")]):
        answer = parse(("state", STATE), ("iss", ISSUER), *order)
        assert answer.code is None
        with pytest.raises(LoginDenied):
            check_not_denied(answer)


@pytest.mark.covers("CB-12")
def test_denied_when_error_is_known_then_carries_it() -> None:
    """The code of the error is there for the application."""
    for error in ("access_denied", "e", "! #[]~A9", "x" * 64):
        answer = parse(state=STATE, iss=ISSUER, error=error)
        with pytest.raises(LoginDenied) as caught:
            check_not_denied(answer)
        assert caught.value.error == error


@pytest.mark.covers("CB-12", "CB-13", "WEB-04")
@pytest.mark.parametrize(
    "error", ["<script>\n", "", "x" * 65, 'a"b', "bücher", "a\r\nb"]
)
def test_denied_when_error_is_odd_then_is_unknown(error: str) -> None:
    """Foreign text gets neither into the message nor into the code."""
    answer = parse(state=STATE, iss=ISSUER, error=error, error_description="<b>" * 999)
    with pytest.raises(LoginDenied) as caught:
        check_not_denied(answer)
    assert caught.value.error == "unknown"
    assert str(caught.value) == "the authorization server answered unknown"
    assert len(caught.value.error_description or "") == 500


def test_issuer_when_equal_then_passes() -> None:
    """The server that was asked may answer."""
    answer = parse(state=STATE, code="c", iss=ISSUER)
    check_issuer(answer, ISSUER)
    with pytest.raises(IssuerMismatch):
        check_issuer(answer, f"{ISSUER}.evil.example")


@pytest.mark.covers("CB-08", "MIX-02", "MIX-03")
@pytest.mark.parametrize(
    "iss",
    [
        None,
        "",
        "https://evil.example",
        f"{ISSUER}/",
        "HTTPS://AS.EXAMPLE.COM",
        f"{ISSUER}:443",
        f"{ISSUER}.",
        "https://as%2Eexample.com",
        f" {ISSUER}",
    ],
)
@pytest.mark.parametrize("kind", ["code", "error"])
def test_issuer_when_spelt_differently_then_is_refused(
    iss: str | None, kind: str
) -> None:
    """Strings are compared, for answers of both kinds; absence is no match."""
    parameters = {"state": STATE, kind: "access_denied"}
    if iss is not None:
        parameters["iss"] = iss
    with pytest.raises(IssuerMismatch):
        check_issuer(parse(**parameters), ISSUER)


NAMES = st.sampled_from(["state", "code", "iss", "error", "response", "x"])


@pytest.mark.covers("CB-17")
@given(st.lists(st.tuples(NAMES, st.text() | st.just(STATE)), max_size=6))
def test_callback_when_anything_then_raises_our_error_only(
    parameters: list[tuple[str, str]],
) -> None:
    """Whatever a browser brings is an answer of ours or a CallbackError."""
    try:
        answer = parse_callback(parameters)
    except CallbackError:
        return
    assert answer.state == STATE
    assert (answer.code is None) != (answer.error is None)
