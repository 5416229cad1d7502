"""What was granted, and questions about it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, final

from typing_extensions import override

from atproto_oauth_asgi.exceptions import ScopeMissingError
from atproto_oauth_asgi.scopes.asking import choose_declared
from atproto_oauth_asgi.scopes.atoms import Atom
from atproto_oauth_asgi.scopes.include import IncludeScope
from atproto_oauth_asgi.scopes.permission_set import expand_include
from atproto_oauth_asgi.scopes.scope import find_scope, join, requirements

Verdict = Literal["yes", "no", "unknown"]


@final
class ScopesSet:
    """The scopes of a session. It never changes.

    Made of what a server granted, which may be anything: what is not understood is
    kept as it stands and allows nothing. What is asked of it is written by the
    developer, and must be right: a mistake raises ``ConfigurationError``. Wherever
    scopes are asked for, one text may hold several with blanks between them.

    Spec: atproto "Permissions"; RFC 6749 section 3.3.
    """

    __slots__ = ("_atoms", "_includes", "_scopes")

    def __init__(self, scopes: str | Iterable[str] = ()) -> None:
        self._scopes = {text: find_scope(text) for text in _words(scopes) if text}
        known = [scope for scope in self._scopes.values() if scope]
        self._atoms = frozenset(atom for scope in known for atom in scope.atoms())
        self._includes = [each for each in known if isinstance(each, IncludeScope)]

    def allows(self, required: str | Iterable[str]) -> bool:
        """Return whether all of this is surely granted.

        Raises:
            ConfigurationError: it is not a scope of the specification.
        """
        return self.check(required) == "yes"

    def check(self, required: str | Iterable[str]) -> Verdict:
        """Return ``yes`` if all of this is granted, ``no`` if a part of it is not.

        It is ``unknown`` where that depends on a permission set, which the server
        has read and this has not; see ``expanded``.

        Raises:
            ConfigurationError: it is not a scope of the specification.
        """
        missing = self._missing(required)
        if not missing:
            return "yes"
        return "unknown" if all(map(self._may_have, missing)) else "no"

    def missing(self, required: str | Iterable[str]) -> tuple[str, ...]:
        """Return what of this is not surely granted: the narrowest scopes, sorted.

        Raises:
            ConfigurationError: it is not a scope of the specification.
        """
        return join(self._missing(required))

    def ask_for(
        self, required: str | Iterable[str], *, declared: str | Iterable[str] = ()
    ) -> str:
        """Return the scope for a login that brings this too, and keeps what is there.

        Args:
            required: what the application needs.
            declared: the scope that the client declares. If given, the answer is a
                part of it in its own words, as servers grant nothing else.

        Raises:
            ConfigurationError: ``required`` is not a scope of the specification, or
                nothing that is declared brings it.
        """
        ours = tuple(filter(None, _words(declared)))
        if ours:
            missing = self._missing(required)
            texts = [*choose_declared(self._scopes, missing, declared=ours)]
        else:
            texts = [*self, *self.missing(required)]
        return " ".join(dict.fromkeys(["atproto", *texts]))

    def require(
        self, required: str | Iterable[str], *, declared: str | Iterable[str] = ()
    ) -> None:
        """Check that all of this is surely granted.

        Args:
            required: what the application needs.
            declared: see ``ask_for``.

        Raises:
            ScopeMissingError: it is not; the error says what to ask for.
            ConfigurationError: see ``ask_for``.
        """
        if missing := self.missing(required):
            raise ScopeMissingError(
                f"the session lacks a permission: {' '.join(missing)}",
                missing=missing,
                ask_for=self.ask_for(required, declared=declared),
            )

    def expanded(self, lexicons: Iterable[Mapping[str, Any]]) -> ScopesSet:
        """Return the set with the permissions of sets in place of their ``include``.

        Args:
            lexicons: published schemas of permission sets, as JSON gives them. An
                ``include`` without its schema stays.

        Raises:
            ConfigurationError: a schema is not one of a permission set.
        """
        by_nsid = {str(lexicon.get("id")): lexicon for lexicon in lexicons}
        texts: list[str] = []
        for text, scope in self._scopes.items():
            if isinstance(scope, IncludeScope) and scope.nsid in by_nsid:
                texts.extend(map(str, expand_include(scope, by_nsid[scope.nsid])))
            else:
                texts.append(text)
        return ScopesSet(texts)

    def __iter__(self) -> Iterator[str]:
        """Give each scope as it was granted, once, in that order."""
        return iter(self._scopes)

    def __len__(self) -> int:
        return len(self._scopes)

    def __contains__(self, text: object) -> bool:
        """Whether this very scope was granted, in any spelling."""
        return isinstance(text, str) and _canonical(text) in self._canonical()

    @override
    def __eq__(self, other: object) -> bool:
        """Whether the same scopes were granted, in any spelling and order."""
        if not isinstance(other, ScopesSet):
            return NotImplemented
        return self._canonical() == other._canonical()

    @override
    def __hash__(self) -> int:
        return hash(self._canonical())

    @override
    def __str__(self) -> str:
        """Return all scopes in their canonical spelling, sorted."""
        return " ".join(sorted(self._canonical()))

    @override
    def __repr__(self) -> str:
        return f"ScopesSet({' '.join(self)!r})"

    def _canonical(self) -> frozenset[str]:
        return frozenset(
            text if scope is None else str(scope)
            for text, scope in self._scopes.items()
        )

    def _missing(self, required: str | Iterable[str]) -> list[Atom]:
        granted = self._atoms
        return [
            atom
            for text in _words(required)
            for atom, enough in requirements(text)
            if enough.isdisjoint(granted)
        ]

    def _may_have(self, atom: Atom) -> bool:
        """Return whether this may be granted by way of a permission set.

        Servers tell what a set holds instead of its name, so that a set may have been
        granted although only its permissions are to be seen.
        """
        if atom[0] == "include":
            asked = IncludeScope(nsid=atom[1])
            return any(map(asked.may_grant, self._atoms))
        return any(scope.may_grant(atom) for scope in self._includes)


def _words(scopes: str | Iterable[str]) -> Iterator[str]:
    """Give the single scopes of one text, or of several; empty ones too."""
    for text in (scopes,) if isinstance(scopes, str) else scopes:
        yield from text.split(" ")


def _canonical(text: str) -> str:
    scope = find_scope(text)
    return text if scope is None else str(scope)
