"""``keygen``: keys and secrets that only their owner can read, and no surprises."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from joserfc.jwk import ECKey

from atproto_oauth_asgi import ClientKey, OAuthConfig
from atproto_oauth_asgi.cli import private_file
from atproto_oauth_asgi.cli.main import main

Output = pytest.CaptureFixture[str]

pytestmark = pytest.mark.skipif(os.name != "posix", reason="modes are of POSIX")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the command is called, with the most careless umask there is."""
    monkeypatch.chdir(tmp_path)
    before = os.umask(0)
    yield tmp_path
    os.umask(before)


def test_keygen_when_called_then_makes_what_the_configuration_takes(
    folder: Path, capsys: Output
) -> None:
    """Key and secret are good ones, and the printed lines say how to use them."""
    assert main(["keygen"]) == 0
    key = ClientKey((folder / "client-key.json").read_text())
    secret = (folder / "secret-key.txt").read_text().strip()
    config = OAuthConfig(
        secret_key=secret, client_keys=[key], public_url="https://app.example.com"
    )
    assert config.jwks["keys"][0]["kid"] == key.kid
    printed = capsys.readouterr()
    assert printed.out == ""
    assert 'client_keys=[ClientKey(Path("client-key.json").read_text())]' in printed.err
    assert 'secret_key=Path("secret-key.txt").read_text().strip()' in printed.err
    assert "stays beside it at first" in printed.err
    assert secret not in printed.err


def test_keygen_when_key_is_made_then_kid_is_its_thumbprint(folder: Path) -> None:
    """Another library computes the same name, and reads the same key."""
    main(["keygen", "--key", "k.json"])
    members = json.loads((folder / "k.json").read_text())
    key = ECKey.import_key(members)
    assert members["kid"] == key.thumbprint()
    assert (members["alg"], members["use"]) == ("ES256", "sig")
    assert key.is_private
    assert not (folder / "secret-key.txt").exists()


def test_keygen_when_files_are_made_then_nobody_else_can_read_them(
    folder: Path,
) -> None:
    """The mode is 600 whatever the umask is."""
    main(["keygen"])
    modes = {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes == {0o600}


@pytest.mark.parametrize("name", ["client-key.json", "secret-key.txt"])
def test_keygen_when_a_file_is_there_then_changes_nothing(
    folder: Path, name: str, capsys: Output
) -> None:
    """What is there may be in use: nothing is overwritten, nothing half made."""
    (folder / name).write_text("in use")
    assert main(["keygen"]) == 2
    assert f"{name}: it exists" in capsys.readouterr().err
    assert [path.read_text() for path in folder.iterdir()] == ["in use"]


def test_keygen_when_a_link_leads_elsewhere_then_does_not_follow(folder: Path) -> None:
    """Somebody else's link does not choose where a key is written."""
    (folder / "key.json").symlink_to(folder / "elsewhere")
    assert main(["keygen", "--key", "key.json"]) == 2
    assert not (folder / "elsewhere").exists()


def test_keygen_when_disk_knows_no_owners_then_refuses(
    folder: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a mode does not hold, no secret is left behind."""
    monkeypatch.setattr(private_file, "_ONLY_OWNER", 0o644)
    assert main(["keygen", "--secret", "s"]) == 2
    assert "others could read it" in capsys.readouterr().err
    assert list(folder.iterdir()) == []


def test_keygen_when_told_to_print_then_warns(folder: Path, capsys: Output) -> None:
    """A pipe is served on demand only, and the result stands alone in it."""
    assert main(["keygen", "--secret", "-"]) == 0
    printed = capsys.readouterr()
    assert len(printed.out.strip()) == 43
    assert "warning: a pipe hands on what is printed here" in printed.err
    assert 'secret_key=os.environ["..."].strip()' in printed.err
    assert list(folder.iterdir()) == []


def test_keygen_when_asked_for_the_public_half_then_prints_nothing_else(
    folder: Path, capsys: Output
) -> None:
    """``--public`` gives the entry that stands in the JWKS."""
    main(["keygen", "--key", "k.json"])
    private = json.loads((folder / "k.json").read_text())
    capsys.readouterr()
    assert main(["keygen", "--public", "k.json"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out) == {k: v for k, v in private.items() if k != "d"}
    assert printed.err == ""


def test_keygen_when_asked_for_a_public_half_and_a_secret_then_gives_both(
    folder: Path, capsys: Output
) -> None:
    """``--public`` stands in the way of nothing else that is asked for."""
    main(["keygen", "--key", "k.json"])
    capsys.readouterr()
    assert main(["keygen", "--public", "k.json", "--secret", "s"]) == 0
    assert json.loads(capsys.readouterr().out)["kty"] == "EC"
    assert (folder / "s").exists()


@pytest.mark.parametrize("text", ["no key", '{"kty": "oct", "k": "c2VjcmV0"}'])
def test_keygen_when_public_half_of_no_key_is_wanted_then_says_so(
    folder: Path, capsys: Output, text: str
) -> None:
    """A file that is no key is told from one, without showing what it holds."""
    (folder / "k").write_text(text)
    assert main(["keygen", "--public", "k"]) == 2
    told = capsys.readouterr().err
    assert "[configuration]" in told
    assert "c2VjcmV0" not in told


def test_keygen_when_directory_is_missing_then_is_an_error(capsys: Output) -> None:
    """No directory is made for a secret."""
    assert main(["keygen", "--secret", "no/such/place"]) == 2
    assert "error: no/such/place: No such file" in capsys.readouterr().err
