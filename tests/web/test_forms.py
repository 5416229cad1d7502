"""Bodies and queries of our own routes: small, flat, and each field once."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from atproto_oauth_asgi.web import forms
from atproto_oauth_asgi.web.forms import BadForm, parse_query, read_form, unique
from tests.web.driving import Message, http_scope

FORM = "application/x-www-form-urlencoded"
JSON = "application/json"


def chunks(*parts: bytes) -> list[Message]:
    messages: list[Message] = [
        {"type": "http.request", "body": part, "more_body": True} for part in parts
    ]
    return [*messages, {"type": "http.request", "body": b"", "more_body": False}]


async def read(messages: Iterable[Message], media_type: str | None) -> dict[str, str]:
    queue = list(messages)
    headers = [("content-type", media_type)] if media_type else []

    async def receive() -> Any:
        if not queue:
            await anyio.sleep_forever()
        return queue.pop(0)

    return await read_form(Request(http_scope(headers=headers), receive))


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("body", "media_type", "fields"),
    [
        (
            b"identifier=alice.test&x=%C3%9F+1",
            FORM,
            {"identifier": "alice.test", "x": "ß 1"},
        ),
        (b"a=&b", FORM, {"a": "", "b": ""}),
        (b"a=1", f"{FORM.upper()}; charset=utf-8", {"a": "1"}),
        (b"", None, {}),
        (b"", FORM, {}),
        (b'{"a": "1", "b": null}', JSON, {"a": "1"}),
        (b'{"a": "1"}', "application/json;charset=utf-8", {"a": "1"}),
    ],
)
async def test_form_when_it_is_well_formed_then_gives_its_fields(
    body: bytes, media_type: str | None, fields: dict[str, str]
) -> None:
    """Forms and flat JSON objects mean the same."""
    assert await read(chunks(body), media_type) == fields
    split = [body[index : index + 1] for index in range(len(body))]
    assert await read(chunks(*split), media_type) == fields


@pytest.mark.anyio
@pytest.mark.covers("LOGIN-02", "DOS-A11", "RET-12")
@pytest.mark.parametrize(
    ("body", "media_type", "status"),
    [
        (b"a=1", "multipart/form-data; boundary=x", 415),
        (b"a=1", "text/plain", 415),
        (b"a=1", None, 415),
        (b"a=1", "application/jsonp", 415),
        (b"a=1&a=1", FORM, 400),
        (b"a=1&%61=2", FORM, 400),
        (b"a=%ff", FORM, 400),
        (b"a=\xc3\x9f", FORM, 400),
        (b"&".join(b"f%d=1" % number for number in range(21)), FORM, 400),
        (b"a=" + b"x" * 8192, FORM, 413),
        (b"", JSON, 400),
        (b"[]", JSON, 400),
        (b'"text"', JSON, 400),
        (b'{"a": 1}', JSON, 400),
        (b'{"a": true}', JSON, 400),
        (b'{"a": ["x"]}', JSON, 400),
        (b'{"a": {"b": "x"}}', JSON, 400),
        (b'{"a": "1", "a": "2"}', JSON, 400),
        (b'{"a": "1"', JSON, 400),
        (b'{"a": NaN}', JSON, 400),
        (b'{"a": ' + b"9" * 8000 + b"}", JSON, 400),
        (b"[" * 8000, JSON, 400),
        (b'{"a": "\xff"}', JSON, 400),
        (json.dumps({f"f{n}": "1" for n in range(21)}).encode(), JSON, 400),
    ],
)
async def test_form_when_it_is_not_one_then_refused_with_its_status(
    body: bytes, media_type: str | None, status: int
) -> None:
    """Other types are 415, too much is 413, and everything else that is wrong 400."""
    with pytest.raises(BadForm) as caught:
        await read(chunks(body), media_type)
    assert caught.value.status_hint == status
    assert (caught.value.code == "unsupported_media_type") is (status == 415)


@pytest.mark.anyio
@pytest.mark.covers("DOS-A11", "LOGIN-02")
async def test_form_when_the_body_never_ends_then_reading_stops_at_the_limit() -> None:
    """Not a byte more is read once there are too many, whatever was announced."""
    messages = chunks(*[b"x" * 1000] * 100)
    given_out = iter(messages)
    seen = 0

    async def receive() -> Any:
        nonlocal seen
        seen += 1
        return next(given_out)

    scope = http_scope(headers=[("content-type", FORM), ("content-length", "3")])
    with pytest.raises(BadForm) as caught:
        await read_form(Request(scope, receive))
    assert (caught.value.status_hint, seen) == (413, 9)


@pytest.mark.anyio
@pytest.mark.covers("DOS-12", "DOS-A11")
async def test_form_when_the_body_is_slow_then_408(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody keeps a login waiting for a body that does not come."""
    monkeypatch.setattr(forms, "_READ_BUDGET_S", 0.01)
    with pytest.raises(BadForm) as caught:
        await read(chunks(b"a=1")[:1], FORM)
    assert caught.value.status_hint == 408


@pytest.mark.anyio
async def test_form_when_the_browser_leaves_then_refused() -> None:
    """Half a form is none."""
    messages: list[Message] = [*chunks(b"a=1")[:1], {"type": "http.disconnect"}]
    with pytest.raises(BadForm):
        await read(messages, FORM)


@pytest.mark.covers("HTTP-14", "CB-17", "LGN-09")
@pytest.mark.parametrize(
    ("query", "status"),
    [
        (b"x" * 8193, 414),
        (b"a=%ff", 400),
        (b"a=\xff", 400),
        (b"&".join([b"a=1"] * 21), 400),
    ],
)
def test_query_when_it_is_too_long_or_malformed_then_refused(
    query: bytes, status: int
) -> None:
    """A query is checked before anybody looks for a parameter in it."""
    with pytest.raises(BadForm) as caught:
        parse_query(query)
    assert caught.value.status_hint == status


def test_query_when_a_parameter_comes_twice_then_both_are_given() -> None:
    """Whether that is allowed is for others to say; ``unique`` says no."""
    pairs = parse_query(b"a=1&%61=2")
    assert pairs == [("a", "1"), ("a", "2")]
    with pytest.raises(BadForm):
        unique(pairs)


@pytest.mark.covers("CB-17")
@given(st.binary(max_size=200))
def test_query_when_it_is_anything_then_parsed_or_refused(query: bytes) -> None:
    """No query raises anything else."""
    try:
        pairs = parse_query(query)
    except BadForm:
        return
    assert all(isinstance(part, str) for pair in pairs for part in pair)
