"""``include``: permissions that somebody else has written down as a set.

Spec: atproto "Permissions", "Permission Sets".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Self

from typing_extensions import override

from atproto_oauth_asgi.protocol.identifiers import is_nsid
from atproto_oauth_asgi.scopes.atoms import Atom
from atproto_oauth_asgi.scopes.rpc import check_audience
from atproto_oauth_asgi.scopes.syntax import (
    Parameters,
    build_scope,
    check_names,
    refuse,
    single,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class IncludeScope:
    """The permissions of a published set; servers read it, clients need not.

    Attributes:
        nsid: the name of the permission set.
        aud: the service that its ``rpc`` permissions with ``inheritAud`` are for.

    Raises:
        ConfigurationError: a value is not one that the parameter can have.

    Spec: atproto "Permissions", "Permission Sets".
    """

    nsid: str
    aud: str | None = None

    def __post_init__(self) -> None:
        if not is_nsid(self.nsid):
            raise refuse("nsid", "the name of a set such as com.example.authFull")
        if self.aud is not None:
            check_audience(self.aud)

    @classmethod
    def build(cls, parameters: Parameters) -> Self:
        """Return the scope with these parameters.

        Raises:
            ConfigurationError: they are not those of such a scope.
        """
        check_names(parameters, known=("nsid", "aud"))
        nsid = single(parameters, "nsid")
        aud = single(parameters, "aud") if "aud" in parameters else None
        return cls(nsid=nsid, aud=aud)

    @override
    def __str__(self) -> str:
        aud = () if self.aud is None else (self.aud,)
        return build_scope("include", ("nsid", (self.nsid,)), aud=aud)

    def atoms(self) -> Iterator[Atom]:
        """Give the set without a service, and with the one that is named."""
        yield "include", self.nsid, ""
        if self.aud is not None:
            yield "include", self.nsid, self.aud

    def may_grant(self, atom: Atom) -> bool:
        """Return whether the set could hold this, as far as its name tells.

        A set has authority over names beside and below its own, has no wildcards, and
        knows no resources but records and methods.

        Spec: atproto "Permissions", "Namespace Authority".
        """
        group = self.nsid.rpartition(".")[0]
        return atom[0] in {"repo", "rpc"} and atom[1].startswith(f"{group}.")


def join_include(atoms: Iterable[Atom]) -> Iterator[IncludeScope]:
    """Give the scopes that have these atoms."""
    pairs = [(nsid, aud) for _, nsid, aud in atoms]
    with_aud = {nsid for nsid, aud in pairs if aud}
    for nsid, aud in pairs:
        if aud or nsid not in with_aud:
            yield IncludeScope(nsid=nsid, aud=aud or None)
