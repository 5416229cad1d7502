"""The page of docstrings: which public names there are, in the order of their modules.

    python -m tests.reference_page

writes it anew. The documentation's builder puts the docstrings in.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import atproto_oauth_asgi
from atproto_oauth_asgi import scopes, testing
from atproto_oauth_asgi.testing import record_stores

PACKAGE = atproto_oauth_asgi.__name__
PAGE = Path(__file__).parents[1] / "docs/reference/docstrings.md"
_HEAD = """\
# Docstrings

Every public name, as its docstring describes it, by the module it lives in. For people who
look something up; [API](api.md) says the same in short, and [how-tos](../index.md) show how
it is used. Names that `atproto_oauth_asgi` exports are imported from there.

This page is written by `python -m tests.reference_page`.
"""


# Parts of public modules that only the package itself uses.
_INNER = {
    "client_keys.find_key_problems",
    "client_keys.load_client_keys",
    "dpop.NonceCache",
    "dpop.ProofSigner",
    "dpop.is_challenged",
    "dpop.origin_of",
    "dpop.read_nonce",
    "dpop.send_with_nonce_retry",
    "network_options.parse_dns_server",
}


_INNER_MODULES = {"config_checks"}


def public_modules() -> list[str]:
    """The modules at the root of the package; folders are inner floors of the house."""
    folder = Path(inspect.getfile(atproto_oauth_asgi)).parent
    stems = {path.stem for path in folder.glob("[a-z]*.py")}
    return sorted(stems - _INNER_MODULES)


def _defined_in(module: ModuleType) -> Iterator[str]:
    for name, value in vars(module).items():
        is_ours = inspect.isclass(value) or inspect.isfunction(value)
        if is_ours and value.__module__ == module.__name__ and name[0] != "_":
            yield f"{module.__name__}.{name}"


def _exported_by(module: ModuleType) -> Iterator[str]:
    for name in module.__all__:
        value = getattr(module, name)
        if inspect.ismodule(value):
            yield from _defined_in(value)
        elif inspect.isclass(value) or inspect.isfunction(value):
            yield f"{value.__module__}.{name}"


def public_names() -> list[str]:
    """Every public name, with the module that defines it."""
    found = set(_exported_by(atproto_oauth_asgi))
    found |= {*_exported_by(scopes), *_exported_by(testing)}
    found |= set(_defined_in(record_stores))
    for name in public_modules():
        found |= set(_defined_in(importlib.import_module(f"{PACKAGE}.{name}")))
    return sorted(found - {f"{PACKAGE}.{name}" for name in _INNER})


def text() -> str:
    """The page."""
    parts, last = [_HEAD], ""
    for name in public_names():
        module = name.rpartition(".")[0]
        if module != last:
            parts.append(f"## {module.removeprefix(f'{PACKAGE}.')}\n")
            last = module
        parts.append(f"::: {name}\n")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(text(), encoding="utf-8")
