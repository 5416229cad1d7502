"""Asks a deployed application everything that the checks look at."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, aclosing
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

from atproto_oauth_asgi.cli.doctor.seen import (
    Answer,
    Cookie,
    Document,
    KeySet,
    Seen,
)
from atproto_oauth_asgi.exceptions import DiscoveryError, TransportError
from atproto_oauth_asgi.network.certificate import Certificate, fetch_certificate
from atproto_oauth_asgi.network.fetch import Fetcher
from atproto_oauth_asgi.network.transport import GuardedTransport
from atproto_oauth_asgi.network_options import Network
from atproto_oauth_asgi.protocol.documents import parse_json_object

# Names that lead nowhere; nobody can log in as the second.
_STRANGER = "https://doctor.invalid"
_NOBODY = "not a name"
_OK = 200
_FORGED = {
    "Forwarded": "for=192.0.2.1;host=doctor.invalid;proto=http",
    "X-Forwarded-Host": "doctor.invalid",
    "X-Forwarded-Port": "8080",
    "X-Forwarded-Prefix": "/doctor",
    "X-Forwarded-Proto": "http",
}
_STALE = {"code": "doctor", "state": "doctor", "iss": "https://nowhere.invalid"}
_FORM = {
    "Accept": "text/html",
    "Content-Type": "application/x-www-form-urlencoded",
}

Waiting = Callable[[str], AbstractContextManager[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What is looked at.

    Attributes:
        base_url: the ``public_url`` of the application, without a slash at its end.
        metadata_path: and the like: the routes below it.
        identifier: whom to begin a login for; None begins none.
        cookie_word: what the names of the application's cookies hold.
    """

    base_url: str
    metadata_path: str
    login_path: str
    logout_path: str
    session_path: str
    identifier: str | None
    cookie_word: str

    @property
    def origin(self) -> str:
        """The origin, as browsers write it."""
        parts = urlsplit(self.base_url)
        return f"{parts.scheme}://{parts.netloc}"


async def visit(
    target: Target, network: Network, *, clock: Callable[[], float], waiting: Waiting
) -> Seen:
    """Return everything that the checks look at; no answer is no error.

    Where there is no connection nothing is asked: all of it would take its time to fail.
    """
    async with aclosing(GuardedTransport(network)) as transport:
        fetcher = Fetcher(transport, network)
        with waiting("the certificate"):
            certificate = await _certificate(target.base_url, network)
        visitor = _Visitor(
            target, fetcher, certificate=certificate, clock=clock, waiting=waiting
        )
        return await visitor.see()


async def _certificate(url: str, network: Network) -> Certificate | str:
    try:
        return await fetch_certificate(url, network)
    except TransportError as error:
        return str(error)


class _Visitor:
    """One visit: a dozen requests, one after the other."""

    def __init__(
        self,
        target: Target,
        fetcher: Fetcher,
        *,
        certificate: Certificate | str,
        clock: Callable[[], float],
        waiting: Waiting,
    ) -> None:
        self._target = target
        self._fetcher = fetcher
        self._certificate = certificate
        self._clock = clock
        self._waiting = waiting
        self._own = {"Origin": target.origin, "Sec-Fetch-Site": "same-origin"}
        self._cross = {"Origin": _STRANGER, "Sec-Fetch-Site": "cross-site"}

    async def see(self) -> Seen:
        """Ask for everything."""
        target = self._target
        json = {"Accept": "application/json"}
        metadata = await self._get(target.metadata_path, json)
        document = _document(metadata)
        callback = _callback_url(document, target)
        return Seen(
            origin=target.origin,
            certificate=self._certificate,
            metadata=metadata,
            document=document,
            forwarded=await self._get(target.metadata_path, json | _FORGED),
            keys=await self._keys(document),
            login_page=await self._get(target.login_path, {"Accept": "text/html"}),
            callback=await self._callback(callback, {}),
            stale_callback=await self._callback(callback, _STALE),
            bare_post=await self._log_in({}),
            cross_post=await self._log_in(self._cross),
            own_post=await self._log_in(self._own),
            cross_logout=await self._post(target.logout_path, self._cross),
            logout=await self._post(target.logout_path, self._own),
            session=await self._get(target.session_path, json),
            begun=await self._begin(),
            cookie_word=target.cookie_word,
        )

    async def _begin(self) -> Answer | None:
        if self._target.identifier is None:
            return None
        return await self._log_in(self._own, self._target.identifier)

    async def _log_in(
        self, headers: Mapping[str, str], identifier: str = _NOBODY
    ) -> Answer:
        path = self._target.login_path
        return await self._post(path, headers, {"identifier": identifier})

    async def _callback(
        self, url: str | None, query: Mapping[str, str]
    ) -> Answer | None:
        if url is None:
            return None
        asked = f"{url}?{urlencode(query)}" if query else url
        return await self._ask("GET", asked, {"Accept": "text/html"})

    async def _keys(self, document: Document | None) -> KeySet | None:
        if document is None:
            return None
        if url := document.text("jwks_uri"):
            answer = await self._ask("GET", url, {"Accept": "application/json"})
            return KeySet(answer=answer, entries=_entries(_members(answer)))
        if "jwks" in document.members:
            return KeySet(answer=None, entries=_entries(document.members["jwks"]))
        return None

    async def _get(self, path: str, headers: Mapping[str, str]) -> Answer:
        return await self._ask("GET", self._target.base_url + path, headers)

    async def _post(
        self,
        path: str,
        headers: Mapping[str, str],
        fields: Mapping[str, str] | None = None,
    ) -> Answer:
        body = urlencode(fields or {}).encode()
        url = self._target.base_url + path
        return await self._ask("POST", url, {**_FORM, **headers}, body)

    async def _ask(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        content: bytes | None = None,
    ) -> Answer:
        if isinstance(self._certificate, str):
            return Answer(url=url, problem=self._certificate)
        began = self._clock()
        try:
            with self._waiting(f"{method} {url.partition('?')[0]}"):
                response = await self._fetcher.fetch(
                    method, url, what="answer", headers=headers, content=content
                )
        except TransportError as error:
            return Answer(url=url, problem=str(error))
        return Answer(
            url=url,
            status=response.status_code,
            headers=dict(response.headers),
            cookies=tuple(map(_cookie, response.headers.get_list("set-cookie"))),
            body=response.content,
            at=(began + self._clock()) / 2,
        )


def _callback_url(document: Document | None, target: Target) -> str | None:
    """Return the redirect URI that the application itself serves."""
    urls = document.texts("redirect_uris") if document else []
    return next((url for url in urls if url.startswith(f"{target.origin}/")), None)


def _document(answer: Answer) -> Document | None:
    members = _members(answer)
    return None if members is None else Document(url=answer.url, members=members)


def _members(answer: Answer) -> Mapping[str, object] | None:
    if answer.status != _OK:
        return None
    try:
        return parse_json_object(answer.body, what="document", error=DiscoveryError)
    except DiscoveryError:
        return None


def _entries(jwks: object) -> list[Mapping[str, object]] | None:
    found = jwks.get("keys") if isinstance(jwks, Mapping) else None
    if not isinstance(found, list):
        return None
    return [each for each in found if isinstance(each, dict)]


def _cookie(line: str) -> Cookie:
    first, *rest = line.split(";")
    pairs = (part.partition("=") for part in rest)
    attributes = {name.strip().lower(): value.strip() for name, _, value in pairs}
    return Cookie(name=first.partition("=")[0].strip(), attributes=attributes)
