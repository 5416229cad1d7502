"""The grains of permissions: each permission is a set of them.

An atom is a tuple: the resource, and one value for each of its parameters. What a
person granted becomes a set of atoms. A permission is granted if each of its atoms has
one in that set which covers it: itself, a wildcard, or a transitional scope.
"""

from __future__ import annotations

Atom = tuple[str, ...]

TRANSITION_GENERIC: Atom = ("static", "transition:generic")
TRANSITION_EMAIL: Atom = ("static", "transition:email")
TRANSITION_CHAT: Atom = ("static", "transition:chat.bsky")
