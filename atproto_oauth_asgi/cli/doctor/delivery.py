"""Checks over how the two public documents are served, and over the keys.

Spec: atproto OAuth, "Client ID Metadata Document"; RFC 7517; RFC 9111.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from atproto_oauth_asgi.cli.doctor.finding import (
    NO_CONNECTION,
    Check,
    Finding,
    bad,
    good,
    hint,
    over_answer,
    over_keys,
    over_seen,
    skipped,
)
from atproto_oauth_asgi.cli.doctor.seen import Answer, KeySet, Seen

_OK = 200
_MOST_BYTES = 64 * 1024
_LONGEST_S = 600
_MAX_AGE = re.compile(r"(?:^|[\s,])(?:s-maxage|max-age)=\"?([0-9]{1,9})")
_PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_LET_THROUGH = "let everybody fetch it: no login wall, no bot check, no redirect"
_AT_MOST = f"let caches keep it for {_LONGEST_S} s at most: a leaked key must go away"


def _metadata_status(seen: Seen) -> Finding:
    if isinstance(seen.certificate, str):
        return skipped(NO_CONNECTION)
    return _status(seen.metadata)


def _status(answer: Answer) -> Finding:
    if answer.status == _OK and not answer.problem:
        return good(answer.url)
    return bad(f"{answer.url}: {answer.told}", _LET_THROUGH)


def _media_type(answer: Answer) -> Finding:
    if answer.media_type == "application/json":
        return good("application/json")
    return bad(f"it is {answer.media_type or 'missing'}", "send application/json")


def _metadata_json(seen: Seen) -> Finding:
    if seen.metadata.status != _OK:
        return skipped("there is no metadata document to look at")
    if seen.document is None:
        return bad("it is not one JSON object", "find out what stands in between")
    return good("one JSON object")


def _size(answer: Answer) -> Finding:
    size = len(answer.body)
    if size <= _MOST_BYTES:
        return good(f"{size} bytes")
    return bad(f"{size} bytes", f"servers may refuse more than {_MOST_BYTES} bytes")


def _caching(answer: Answer) -> Finding:
    found = answer.header("cache-control")
    ages = [int(age) for age in _MAX_AGE.findall(found.lower())]
    if {"no-store", "no-cache"} & set(re.split(r"[\s,]+", found.lower())):
        return good(found)
    if not ages:
        remedy = "send Cache-Control: public, max-age=600"
        return bad("nothing says how long it may be kept", remedy)
    if max(ages) > _LONGEST_S:
        return bad(f"caches may keep it for {max(ages)} s", _AT_MOST)
    return good(found)


def _cors(answer: Answer) -> Finding:
    credentials = answer.header("access-control-allow-credentials")
    if credentials:
        remedy = "take Access-Control-Allow-Credentials away"
        return bad("pages of others may ask with cookies", remedy)
    if answer.header("access-control-allow-origin") == "*":
        return good("every page may read it")
    remedy = "send Access-Control-Allow-Origin: * with it"
    return hint("pages of other sites cannot read it", remedy)


def _cookieless(answer: Answer) -> Finding:
    if not answer.cookies:
        return good("it sets no cookie")
    names = ", ".join(cookie.name for cookie in answer.cookies)
    remedy = "nothing may set a cookie here: caches would hand it to others"
    return hint(f"it sets {names}", remedy)


def _keys_status(seen: Seen) -> Finding:
    if seen.keys is None or seen.keys.answer is None:
        return skipped("the client has no jwks_uri")
    return _status(seen.keys.answer)


def _keys_readable(seen: Seen) -> Finding:
    if seen.keys is None:
        return skipped("the client publishes no keys")
    if not seen.keys.entries:
        remedy = 'publish an object {"keys": [...]} with the public keys'
        return bad("there is no key in it that can be read", remedy)
    return good(f"{len(seen.keys.entries)} of them")


def _keys_private(keys: KeySet) -> Finding:
    found = set().union(*map(_find_private_members, keys.entries or ()))
    if found:
        remedy = "this key is lost: take it out at once, and make a new one (keygen)"
        return bad(f"PRIVATE members are published: {', '.join(sorted(found))}", remedy)
    return good("public members only")


def _find_private_members(entry: Mapping[str, Any]) -> set[str]:
    return {name for name in entry if name in _PRIVATE_MEMBERS}


def _keys_kid(keys: KeySet) -> Finding:
    kids = [entry.get("kid") for entry in keys.entries or ()]
    doubles = [kid for kid, count in Counter(map(repr, kids)).items() if count > 1]
    if not all(isinstance(kid, str) and kid for kid in kids):
        return bad("a key has no kid", "give each key a kid (keygen does)")
    if doubles:
        return bad(f"there twice: {', '.join(doubles)}", "give each key its own kid")
    return good(", ".join(map(str, kids)))


def _keys_curve(keys: KeySet) -> Finding:
    if _all_have(keys.entries, {"kty": "EC", "crv": "P-256"}):
        return good("P-256")
    return bad("a key is not on the curve P-256", "atproto wants ES256 (keygen)")


def _keys_use(keys: KeySet) -> Finding:
    if _all_have(keys.entries, {"alg": "ES256", "use": "sig"}):
        return good("ES256, for signatures")
    return bad("a key does not say alg ES256 and use sig", "add both members")


def _all_have(
    entries: Sequence[Mapping[str, Any]] | None, wanted: Mapping[str, str]
) -> bool:
    return all(wanted.items() <= _texts(entry).items() for entry in entries or ())


def _texts(entry: Mapping[str, Any]) -> dict[str, str]:
    return {name: value for name, value in entry.items() if isinstance(value, str)}


def _keys_answer(seen: Seen) -> Answer | None:
    return seen.keys.answer if seen.keys else None


def _metadata(seen: Seen) -> Answer | None:
    return seen.metadata if seen.metadata.status == _OK else None


_over_metadata = partial(over_answer, choose=_metadata)
_over_keys_answer = partial(over_answer, choose=_keys_answer)

CHECKS: tuple[Check, ...] = (
    over_seen("metadata-status", _metadata_status),
    _over_metadata("metadata-type", look=_media_type),
    over_seen("metadata-json", _metadata_json),
    _over_metadata("metadata-size", look=_size),
    _over_metadata("metadata-caching", look=_caching),
    _over_metadata("metadata-cors", look=_cors),
    _over_metadata("metadata-cookies", look=_cookieless),
    over_seen("jwks-status", _keys_status),
    _over_keys_answer("jwks-type", look=_media_type),
    over_seen("jwks-keys", _keys_readable),
    over_keys("jwks-private", _keys_private),
    over_keys("jwks-kid", _keys_kid),
    over_keys("jwks-curve", _keys_curve),
    over_keys("jwks-use", _keys_use),
    _over_keys_answer("jwks-caching", look=_caching),
    _over_keys_answer("jwks-cors", look=_cors),
)
"""In the order in which they are shown."""
