"""``rpc``: calling other services in the person's name.

Spec: atproto "Permissions", "rpc".
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Self

from typing_extensions import override

from atproto_oauth_asgi.exceptions import InvalidIdentifier
from atproto_oauth_asgi.protocol.identifiers import parse_did
from atproto_oauth_asgi.scopes.atoms import (
    TRANSITION_CHAT,
    TRANSITION_GENERIC,
    Atom,
)
from atproto_oauth_asgi.scopes.nsid import ANY, canonical_names
from atproto_oauth_asgi.scopes.syntax import (
    Parameters,
    build_scope,
    check_names,
    refuse,
    single,
)

_CHAT = "chat.bsky."
# RFC 3986 section 3.5
_FRAGMENT = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})+")


@dataclass(frozen=True, slots=True, kw_only=True)
class RpcPermission:
    """To call methods of another service, through the PDS or with its token.

    Attributes:
        lxm: NSIDs of methods; ``("*",)`` is all of them.
        aud: the service, such as ``did:web:api.bsky.app#bsky_appview``; ``*`` is any,
            unless ``lxm`` is all methods.

    Raises:
        ConfigurationError: a value is not one that the parameter can have.

    Spec: atproto "Permissions", "rpc".
    """

    lxm: tuple[str, ...]
    aud: str

    def __post_init__(self) -> None:
        lxm = canonical_names(self.lxm, parameter="lxm")
        if self.aud != ANY:
            check_audience(self.aud)
        elif ANY in lxm:
            raise refuse("aud", "not every service while lxm is every method")
        object.__setattr__(self, "lxm", lxm)

    @classmethod
    def build(cls, parameters: Parameters) -> Self:
        """Return the permission with these parameters.

        Raises:
            ConfigurationError: they are not those of such a permission.
        """
        check_names(parameters, known=("lxm", "aud"))
        return cls(lxm=parameters.get("lxm", ()), aud=single(parameters, "aud"))

    @override
    def __str__(self) -> str:
        return build_scope("rpc", ("lxm", self.lxm), aud=(self.aud,))

    def atoms(self) -> Iterator[Atom]:
        """Give a pair of method and service for each that is permitted."""
        for lxm in self.lxm:
            yield "rpc", lxm, self.aud


def check_audience(aud: str) -> None:
    """Check that this is a DID and the fragment of a service in its document.

    Raises:
        ConfigurationError: it is not.
    """
    did, _, fragment = aud.partition("#")
    if not _FRAGMENT.fullmatch(fragment):
        raise refuse("aud", "a service such as did:web:api.example.com%23service")
    try:
        parse_did(did)
    except InvalidIdentifier as error:
        raise refuse("aud", str(error)) from error


def wider_rpc(atom: Atom) -> Iterator[Atom]:
    """Give the other atoms that are enough to have this one."""
    _, lxm, aud = atom
    yield "rpc", lxm, ANY
    yield "rpc", ANY, aud
    yield TRANSITION_CHAT if lxm.startswith(_CHAT) else TRANSITION_GENERIC


def join_rpc(atoms: Iterable[Atom]) -> Iterator[RpcPermission]:
    """Give the fewest permissions that have exactly these atoms."""
    methods = defaultdict[str, list[str]](list)
    for _, lxm, aud in atoms:
        methods[aud].append(lxm)
    for aud, names in methods.items():
        yield RpcPermission(lxm=tuple(names), aud=aud)
