"""What a visit brought: answers, and the documents in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from atproto_oauth_asgi.network.certificate import Certificate


@dataclass(frozen=True, slots=True, kw_only=True)
class Cookie:
    """A cookie as an answer set it; the names of its attributes in lower case."""

    name: str
    attributes: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer, or why there was none.

    Attributes:
        url: what was asked for.
        problem: why there was no answer; empty if there was one.
        status: the HTTP status.
        headers: by lower-case name; several lines of one name are joined.
        cookies: what it set.
        body: the bytes.
        at: our own clock in the middle of the exchange, Unix seconds.
    """

    url: str
    problem: str = ""
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    cookies: Sequence[Cookie] = ()
    body: bytes = b""
    at: float = 0.0

    def header(self, name: str) -> str:
        """Return a header; empty if it is not there."""
        return self.headers.get(name, "")

    @property
    def media_type(self) -> str:
        """The type of the content, without parameters, in lower case."""
        return self.header("content-type").partition(";")[0].strip().lower()

    @property
    def told(self) -> str:
        """What came, in few words."""
        if self.problem:
            return f"no answer: {self.problem}"
        location = self.header("location")
        return f"status {self.status}" + (f", to {location}" if location else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A client metadata document, and where it was found."""

    url: str
    members: Mapping[str, Any]

    def texts(self, name: str) -> list[str]:
        """Return the strings in a member that should be a list of them."""
        value = self.members.get(name)
        found = value if isinstance(value, list) else []
        return [each for each in found if isinstance(each, str)]

    def text(self, name: str) -> str:
        """Return a member that should be a string; empty if it is not one."""
        value = self.members.get(name)
        return value if isinstance(value, str) else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySet:
    """The keys of a client.

    Attributes:
        answer: what came from the ``jwks_uri``; None for keys inside the document.
        entries: the objects in it; None if it cannot be read.
    """

    answer: Answer | None
    entries: Sequence[Mapping[str, Any]] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Everything that a visit brought.

    Attributes:
        origin: of the application, as browsers write it.
        certificate: what the host showed, or why it is refused.
        metadata: the metadata as an authorization server asks for it.
        document: what is in it, if it can be read.
        forwarded: the metadata, asked for with forged ``X-Forwarded-*`` headers.
        keys: those of a confidential client.
        login_page: the login form.
        callback: the redirect URI, without a login; None if there is none here.
        stale_callback: the same with a code of a login that never began.
        bare_post: a login without ``Origin`` and ``Sec-Fetch-Site``.
        cross_post: a login from a page of somebody else.
        own_post: a login from the application's own page, with a name that is none.
        cross_logout: a logout from a page of somebody else.
        logout: a logout from the application's own page.
        session: what says who is logged in.
        begun: a real login that was begun; None if none was asked for.
        cookie_word: what the names of our cookies hold.
    """

    origin: str
    certificate: Certificate | str
    metadata: Answer
    document: Document | None
    forwarded: Answer
    keys: KeySet | None
    login_page: Answer
    callback: Answer | None
    stale_callback: Answer | None
    bare_post: Answer
    cross_post: Answer
    own_post: Answer
    cross_logout: Answer
    logout: Answer
    session: Answer
    begun: Answer | None
    cookie_word: str

    @property
    def answers(self) -> list[Answer]:
        """Every answer that came from the application."""
        found = (
            self.metadata,
            self.forwarded,
            self.keys.answer if self.keys else None,
            self.login_page,
            self.callback,
            self.stale_callback,
            self.bare_post,
            self.cross_post,
            self.own_post,
            self.cross_logout,
            self.logout,
            self.session,
            self.begun,
        )
        return [each for each in found if each is not None and not each.problem]

    @property
    def cookies(self) -> list[Cookie]:
        """Every cookie of ours that an answer set."""
        return [
            cookie
            for answer in self.answers
            for cookie in answer.cookies
            if self.cookie_word in cookie.name
        ]
