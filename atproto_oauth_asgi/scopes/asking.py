"""What to ask for next, out of what a client declares."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from atproto_oauth_asgi.exceptions import ConfigurationError
from atproto_oauth_asgi.scopes.atoms import TRANSITION_CHAT, TRANSITION_GENERIC, Atom
from atproto_oauth_asgi.scopes.include import IncludeScope
from atproto_oauth_asgi.scopes.scope import (
    Scope,
    covering,
    find_scope,
    join,
    parse_scope,
)


def choose_declared(
    granted: Mapping[str, Scope | None],
    missing: Collection[Atom],
    *,
    declared: Collection[str],
) -> Iterator[str]:
    """Give the declared scopes that were granted, and those that bring what is missing.

    They are given as they are declared, since servers compare whole strings; some
    perhaps twice. None is broader than what is granted or missing makes necessary.

    Args:
        granted: the scopes that there are, by their text.
        missing: what has to come.
        declared: what may be asked for.

    Raises:
        ConfigurationError: no declared scope brings something that is missing.
    """
    scopes = {text: scope for text in declared if (scope := find_scope(text))}
    kept = [text for text in granted if text in declared]
    kept += _respelled(_atoms(granted.values()), kept=kept, scopes=scopes)
    yield from kept
    chosen = _atoms(scopes.get(text) for text in kept)
    for atom in missing:
        if covering(atom).isdisjoint(chosen):
            texts = _choose(atom, scopes)
            chosen |= _atoms(scopes[text] for text in texts)
            yield from texts


def find_scope_warnings(scope: str) -> tuple[str, ...]:
    """Return what is odd about the scope that a client declares, in words.

    Spec: atproto "OAuth", "Transitional Scopes".
    """
    texts = scope.split()
    warnings = []
    for text in texts:
        try:
            parse_scope(text)
        except ConfigurationError as error:
            warnings.append(f"no server is known to grant this: {error}")
    if TRANSITION_CHAT[1] in texts and TRANSITION_GENERIC[1] not in texts:
        warnings.append("transition:chat.bsky needs transition:generic beside it")
    return tuple(warnings)


def _respelled(
    granted: set[Atom], *, kept: Iterable[str], scopes: Mapping[str, Scope]
) -> Iterator[str]:
    """Give the declared scopes that were granted in other words.

    Servers tell what a permission set holds instead of its name. So an ``include``
    counts as granted if it explains a permission that nothing else does.
    """
    chosen = _atoms(scopes.get(text) for text in kept)
    for text, scope in scopes.items():
        if _is_within(scope, granted) and not _is_within(scope, chosen):
            chosen.update(scope.atoms())
            yield text
    others = [atom for atom in granted if covering(atom).isdisjoint(chosen)]
    yield from _including(others, scopes)


def _choose(atom: Atom, scopes: Mapping[str, Scope]) -> list[str]:
    """Return the narrowest scope for an atom, or all the sets that may hold it."""
    sure = [text for text, scope in scopes.items() if _brings(scope, atom)]
    if sure:
        return [min(sure, key=lambda text: _breadth(scopes[text], scopes))]
    if texts := list(_including([atom], scopes)):
        return texts
    message = f"scope: nothing in it grants {join([atom])[0]}, which is needed"
    raise ConfigurationError(message)


def _including(atoms: Collection[Atom], scopes: Mapping[str, Scope]) -> Iterator[str]:
    for text, scope in scopes.items():
        if isinstance(scope, IncludeScope) and any(map(scope.may_grant, atoms)):
            yield text


def _breadth(scope: Scope, scopes: Mapping[str, Scope]) -> int:
    """Return for how many of the scopes this one is enough."""
    return sum(_is_within(other, set(scope.atoms())) for other in scopes.values())


def _brings(scope: Scope, atom: Atom) -> bool:
    return not covering(atom).isdisjoint(scope.atoms())


def _is_within(scope: Scope, atoms: set[Atom]) -> bool:
    return not any(covering(atom).isdisjoint(atoms) for atom in scope.atoms())


def _atoms(scopes: Iterable[Scope | None]) -> set[Atom]:
    return {atom for scope in scopes if scope for atom in scope.atoms()}
