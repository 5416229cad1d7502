"""Handles, DIDs and NSIDs: long lists of our own, and what the official code says."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterable, Iterator
from itertools import product
from pathlib import Path

import pytest

from atproto_oauth_asgi.exceptions import InvalidIdentifier
from atproto_oauth_asgi.protocol.identifiers import (
    find_handle,
    is_nsid,
    normalize_identifier,
    parse_did,
    parse_handle,
)
from atproto_oauth_asgi.protocol.urls import UrlPolicy
from tests.reference_network.process import (
    NetworkNotInstalledError,
    check_node_modules,
    find_node,
)

TESTS = Path(__file__).parents[1]
TEST_NAMES = UrlPolicy(test_names=True)


def vectors(name: str) -> list[tuple[str, str]]:
    """The verdict and the text of every line of a file."""
    found = []
    for line in (TESTS / "vectors" / name).read_text(encoding="ascii").splitlines():
        if line and not line.startswith("#"):
            verdict, _, quoted = line.partition(" ")
            found.append((verdict, expanded(json.loads(quoted))))
    return found


def expanded(text: str) -> str:
    return re.sub(r"\{(.+?)\*(\d+)\}", lambda m: m[1] * int(m[2]), text)


HANDLES = vectors("handles.txt")
DIDS = vectors("dids.txt")
NSIDS = vectors("nsids.txt")


# --- What we say ---------------------------------------------------------------------


def handle_verdict(text: str) -> str:
    try:
        parse_handle(text, policy=TEST_NAMES)
    except InvalidIdentifier:
        return "no" if find_handle(text) is None else "reserved"
    return "yes"


def did_verdict(text: str) -> str:
    try:
        parse_did(text)
    except InvalidIdentifier as error:
        return "no" if "not a DID" in str(error) else "other"
    return "yes"


def short(texts: Iterable[tuple[str, str]]) -> list[object]:
    """Parameters with names that fit into a line."""
    return [pytest.param(*each, id=ascii(each[1])[:40]) for each in texts]


@pytest.mark.covers("ID-03", "ID-04", "ID-05", "IDN-12", "IDN-13", "IDN-14")
@pytest.mark.parametrize(("verdict", "text"), short(HANDLES))
def test_handle_when_in_the_list_then_counts_as_it_says(
    verdict: str, text: str
) -> None:
    """Nothing is repaired or folded into a handle; reserved names are not resolved."""
    assert handle_verdict(text) == verdict
    assert find_handle(text) == (None if verdict == "no" else text.lower())


@pytest.mark.covers("ID-08", "ID-09", "ID-10", "IDN-11")
@pytest.mark.parametrize(("verdict", "text"), short(DIDS))
def test_did_when_in_the_list_then_counts_as_it_says(verdict: str, text: str) -> None:
    """A DID that we cannot use is told apart from what is no DID at all."""
    assert did_verdict(text) == verdict


@pytest.mark.parametrize(("verdict", "text"), short(NSIDS))
def test_nsid_when_in_the_list_then_counts_as_it_says(verdict: str, text: str) -> None:
    """Names of methods and records are exactly those of the specification."""
    assert is_nsid(text) is (verdict == "yes")


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("https://", "server"),
        ("https://pds.example.com/path", "server"),
        ("http://pds.example.com", "server"),
        ("https://10.0.0.1", "server"),
        ("HTTPS://pds_1.example.com", "server"),
        ("ftp://pds.example.com", "server"),
        ("pds.example.com/", "server"),
        ("alice", "account"),
        ("alice.", "account"),
        ("did:web:example.com/", "account"),
        ("alice@example.com", "account"),
        ("x" * 5000, "account"),
    ],
)
def test_identifier_when_malformed_then_tells_what_it_was_meant_to_be(
    text: str, meant: str
) -> None:
    """With a slash in it, it is taken for the address of a server."""
    with pytest.raises(InvalidIdentifier) as caught:
        normalize_identifier(text, policy=TEST_NAMES)
    assert caught.value.meant == meant


# --- What the official code says -----------------------------------------------------


def all_texts(parts: str | list[str], *, longest: int) -> Iterator[str]:
    """Every text of so many parts, from none on."""
    for length in range(longest + 1):
        yield from map("".join, product(parts, repeat=length))


ODD = [*map(chr, range(128)), *"\u00fc\u00df\u0130\u0131\u017f\u0660\u200b\u202e"]
ODD += [*"\u212a\u3002\ufeff\uff0e\uff21", "\U0001f600"]


def with_one_change(text: str) -> Iterator[str]:
    """The text with one character more, or another one, in every place."""
    for place in range(len(text) + 1):
        for odd in ODD:
            yield text[:place] + odd + text[place:]
            yield text[:place] + odd + text[place + 1 :]
        yield text[:place] + text[place + 1 :]


def near_limits(*, head: str, tail: str, total: int) -> Iterator[str]:
    """Texts that are as long as allowed, or one less or more, in one label or all."""
    for length in (61, 62, 63, 64, 65):
        for label in ("a" * length, "1" * length, "a" + "-" * (length - 2) + "a"):
            yield f"{head}{label}.{tail}"
            yield f"{head}{tail}.{label}"
    for length in range(total - 2, total + 3):
        labels = "a" * 31 + "."
        filled = head + labels * 30
        yield filled[: length - len(tail) - 1].rstrip(".") + "." + tail
        yield filled[: length - len(tail)] + tail


HANDLE_TEXTS = sorted(
    {
        *(text for _, text in HANDLES),
        *all_texts("aZ0-._", longest=6),
        *with_one_change("a1-b.cd"),
        *with_one_change("xn--p1ai.name.onion"),
        *near_limits(head="", tail="com", total=253),
    }
)
DID_TEXTS = sorted(
    {
        *(text for _, text in DIDS),
        *all_texts(["did", ":", "plc", "a", "A", "%3A", "-"], longest=5),
        *map("did:web:".__add__, all_texts("aA0-._:%", longest=4)),
        *map("did:web:a.b".__add__, all_texts(["%3A", "1", ":", ".c", "%"], longest=4)),
        *map("did:web:localhost%3A".__add__, all_texts("0165", longest=5)),
        *with_one_change("did:plc:234567abcdefghijklmnopyz"),
        *with_one_change("did:web:a1-b.cd"),
        *with_one_change("did:web:localhost%3A80"),
        *near_limits(head="did:web:", tail="com", total=261),
        *near_limits(head="did:x:", tail="com", total=2048),
    }
)
NSID_TEXTS = sorted(
    {
        *(text for _, text in NSIDS),
        *all_texts("aZ0-.", longest=7),
        *with_one_change("a1-b.cd.eF2"),
        *near_limits(head="a.", tail="com", total=317),
    }
)


@pytest.fixture(scope="module")
def official() -> dict[str, dict[str, bool]]:
    """What the official libraries say of every text, by the name of the check."""
    try:
        check_node_modules()
        node = find_node()
    except NetworkNotInstalledError as error:
        pytest.skip(str(error))
    asked = {
        "handle": HANDLE_TEXTS,
        "handleThatMayResolve": HANDLE_TEXTS,
        "did": DID_TEXTS,
        "atprotoDid": DID_TEXTS,
        "nsid": NSID_TEXTS,
    }
    done = subprocess.run(
        [str(node), str(TESTS / "reference_network/syntax.mjs")],
        input=json.dumps(asked),
        capture_output=True,
        check=True,
        text=True,
        timeout=60,
    )
    answers: dict[str, list[bool]] = json.loads(done.stdout)
    return {
        name: dict(zip(texts, answers[name], strict=True))
        for name, texts in asked.items()
    }


def differing(theirs: dict[str, bool], ours: Callable[[str], bool]) -> list[str]:
    """What we answer otherwise; both answers must be among theirs."""
    assert set(theirs.values()) == {True, False}
    return [text for text, answer in theirs.items() if ours(text) is not answer]


@pytest.mark.network
@pytest.mark.covers("ID-03", "ID-04", "IDN-13", "IDN-14")
def test_handles_when_the_official_code_is_asked_then_no_answer_differs(
    official: dict[str, dict[str, bool]],
) -> None:
    """Tens of thousands of texts: what is a handle there is one here."""

    def is_handle(text: str) -> bool:
        return find_handle(text) is not None

    assert differing(official["handle"], is_handle) == []


@pytest.mark.network
@pytest.mark.covers("ID-05")
def test_reserved_names_when_the_official_code_is_asked_then_no_answer_differs(
    official: dict[str, dict[str, bool]],
) -> None:
    """The names that can never be resolved are the same."""
    theirs = official["handleThatMayResolve"]
    assert differing(theirs, lambda text: handle_verdict(text) == "yes") == []


@pytest.mark.network
@pytest.mark.covers("ID-08")
def test_dids_when_the_official_code_is_asked_then_no_answer_differs(
    official: dict[str, dict[str, bool]],
) -> None:
    """What is a DID there is one here, supported or not."""
    assert differing(official["did"], lambda text: did_verdict(text) != "no") == []


# What the official code takes for the DID of an account and we do not, and why.
NARROWER = {
    "a host is written in lower case, so that one account has one DID": "(?<!%3)[A-Z]",
    "localhost needs its port": r":localhost\Z",
    "a port is a number from 1 on, without a zero in front": r"%3A(0[0-9]*)?\Z",
    "an address or a number is no host name": r"[.:][0-9][^.:]*\Z",
    "a single label is no host name of the Internet": r":[^.:]*\Z",
    "no label is empty, begins or ends with a hyphen": r"[:.][.-]|[.-]\.|[.-]\Z",
    "there is no underscore in host names": "_",
    "a label has 63 characters, and a name 253": r"[^.:]{64}|.{262}",
    "nothing in a host name is percent-encoded": "%(?!3A)",
}


@pytest.mark.network
@pytest.mark.covers("ID-08", "ID-09", "ID-10", "IDN-11")
def test_accounts_when_the_official_code_is_asked_then_ours_are_among_theirs(
    official: dict[str, dict[str, bool]],
) -> None:
    """Nothing is an account here alone; where we are narrower there is a reason."""
    theirs = official["atprotoDid"]
    different = differing(theirs, lambda text: did_verdict(text) == "yes")
    assert [text for text in different if not theirs[text]] == []
    excused = {
        reason: {text for text in different if re.search(pattern, text)}
        for reason, pattern in NARROWER.items()
    }
    assert set(different) - set[str]().union(*excused.values()) == set()
    assert [reason for reason, texts in excused.items() if not texts] == []


@pytest.mark.network
def test_nsids_when_the_official_code_is_asked_then_no_answer_differs(
    official: dict[str, dict[str, bool]],
) -> None:
    """What names a method or a record there does so here."""
    assert differing(official["nsid"], is_nsid) == []
