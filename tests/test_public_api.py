"""The names that people import are there, and stay there."""

from __future__ import annotations

import ast
import inspect
import pkgutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

import atproto_oauth_asgi
from atproto_oauth_asgi import exceptions

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "atproto_oauth_asgi"

PUBLIC_MODULES = sorted(
    f"{atproto_oauth_asgi.__name__}.{module.name}"
    for module in pkgutil.iter_modules(atproto_oauth_asgi.__path__)
    if not module.name.startswith("_")
)


def public_names(module: ModuleType) -> set[str]:
    """What a module binds without an underscore, other modules left out."""
    return {
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and not isinstance(value, ModuleType)
        and name != "annotations"
    }


def test_all_when_read_then_is_sorted_and_has_no_doubles() -> None:
    """``__all__`` can be read by a person, and two changes to it rarely collide."""
    names = list(atproto_oauth_asgi.__all__)
    assert names == sorted(set(names))


def test_all_when_compared_then_names_everything_public() -> None:
    """No public name is missing from ``__all__``, so none is public by accident."""
    bound = public_names(atproto_oauth_asgi)
    assert bound - set(atproto_oauth_asgi.__all__) == set()


def test_names_when_type_checkers_read_them_then_are_the_same() -> None:
    """``__init__.pyi`` says of every name where it lives, as ``__init__.py`` does."""
    stub = ast.parse((PACKAGE / "__init__.pyi").read_text("utf-8"))
    told = {
        alias.name: node.module
        for node in stub.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert sorted(told) == atproto_oauth_asgi.__all__
    for name, module in told.items():
        home = import_module(module or "")
        assert getattr(home, name) is getattr(atproto_oauth_asgi, name)


def test_package_when_imported_then_loads_nothing_that_is_not_used() -> None:
    """An import costs next to nothing; a name brings what it needs."""
    program = (
        "import sys, atproto_oauth_asgi as package\n"
        "loaded = set(sys.modules)\n"
        "package.ConfigurationError\n"
        "assert not {'httpx', 'cryptography', 'starlette', 'anyio'} & loaded\n"
        "assert 'atproto_oauth_asgi.client' not in sys.modules\n"
        "package.ATProtoOAuthMiddleware\n"
        "assert not {'fastapi', 'atproto'} & set(sys.modules)\n"
        "assert 'OAuthClient' in dir(package)\n"
        "try:\n    package.nothing\n"
        "except AttributeError as error:\n    print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.stderr, done.returncode) == ("", 0)
    assert "has no attribute 'nothing'" in done.stdout


LATE = {
    "cryptography.hazmat.backends": "a signature",
    "cryptography.hazmat.primitives.serialization": "a key in PEM",
    "dns": "a handle",
    "httpcore": "a request",
    "importlib.metadata": "a request",
    "importlib.resources": "a page",
    "joserfc": "a key as JWK",
    "tomllib": "an explanation",
}
"""What is slow to import, and what has to come before it is."""


def test_middleware_when_made_then_slow_packages_wait_for_their_first_use() -> None:
    """An application does not wait at its start for what its first login needs."""
    program = (
        "import sys, httpx, starlette.applications\n"
        "before = set(sys.modules)\n"
        "from atproto_oauth_asgi import ATProtoOAuthMiddleware\n"
        "ATProtoOAuthMiddleware(None, secret_key=bytes(range(32)), scope='atproto',\n"
        "    public_url='https://app.example.com')\n"
        "print(*set(sys.modules) - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    assert "atproto_oauth_asgi.network.transport" in loaded
    assert loaded & {*LATE, "atproto_oauth_asgi.network.backend"} == set()


def test_all_when_imported_then_every_name_is_there() -> None:
    """Every promised name can be imported, and says what it is."""
    for name in atproto_oauth_asgi.__all__:
        value = getattr(atproto_oauth_asgi, name)
        assert name.startswith("__") or inspect.getdoc(value), name


def test_all_when_compared_then_holds_every_error() -> None:
    """Whatever we raise can be caught by a name from the package root."""
    errors = {
        name
        for name, value in vars(exceptions).items()
        if inspect.isclass(value) and issubclass(value, exceptions.OAuthError)
    }
    assert errors - set(atproto_oauth_asgi.__all__) == set()


@pytest.mark.parametrize("module", PUBLIC_MODULES)
def test_module_when_imported_first_then_imports(module: str) -> None:
    """A module may be the first one that a program imports; nothing is printed."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", f"import {module}"],
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
