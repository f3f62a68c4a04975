"""Who is at the door: with a login every page and every call belongs to a person with rights; without one the inbox stays on loopback."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import quote, urlsplit

from litestar.connection import ASGIConnection, Request
from litestar.exceptions import NotAuthorizedException, PermissionDeniedException
from litestar.handlers import BaseRouteHandler
from litestar.middleware import ASGIMiddleware
from litestar.response.base import ASGIResponse
from litestar.types import ASGIApp, Receive, Scope, Send

from schemas.audit import AuditKind, AuditPerson
from schemas.errors import PartUnavailable
from schemas.model import Record
from schemas.report import PRACTITIONER, ReviewerIdentity
from services.db import Look
from services.settings import Settings

MAX_NAME = 200
API = "/api/"
_OPEN = ("/health", "/login", "/login/callback")
_PASSIVE = ("/rows", "/events")
"""What an open page asks for by itself: it does not keep a login alive, and is answered until that is over."""
AnyConnection = ASGIConnection[Any, Any, Any, Any]
_OF_OTHERS = ("logout", "audit")
_BEARER = {"WWW-Authenticate": "Bearer"}


class Visitor(Record):
    """A person who has logged in, as the issuer's token names them, and what they may do."""

    name: str
    subject: str
    issuer: str
    reviewer: bool
    auditor: bool
    practitioner: str | None = None
    """`Practitioner/<id>` in our FHIR server, where the issuer names it."""

    @property
    def identity(self) -> ReviewerIdentity:
        return ReviewerIdentity(issuer=self.issuer, subject=self.subject, practitioner=self.practitioner)

    @property
    def person(self) -> AuditPerson:
        return AuditPerson(name=self.name, subject=self.subject, issuer=self.issuer)


class NotAllowed(PermissionDeniedException):
    """Logged in, but in no group that may do this."""


@dataclass(frozen=True)
class Groups:
    """Which claim names a person's groups, and which groups have which rights. `realm_access.roles` is a claim within a claim.

    `practitioner_claim` names the person's Practitioner, by an address below `fhir_url` or without one.
    """

    claim: str
    reviewers: str
    auditors: str
    practitioner_claim: str = "fhirUser"
    fhir_url: str = ""

    def visitor(self, claims: Mapping[str, Any]) -> Visitor:
        """Whoever is in none of the groups is a visitor without rights."""
        groups = self._of(claims)
        name = str(claims.get("name") or claims.get("preferred_username") or claims["sub"]).strip()
        if len(name) < 2:
            name = f"{name} ({claims['sub']})"
        return Visitor(
            name=name[:MAX_NAME],
            subject=str(claims["sub"]),
            issuer=str(claims["iss"]),
            reviewer=bool(self.reviewers) and self.reviewers in groups,
            auditor=bool(self.auditors) and self.auditors in groups,
            practitioner=self._practitioner(claims),
        )

    def _practitioner(self, claims: Mapping[str, Any]) -> str | None:
        """An address on another server is another server's person, and is not taken for one of ours."""
        named = claims.get(self.practitioner_claim)
        if not isinstance(named, str):
            return None
        base = self.fhir_url.rstrip("/") + "/"
        named = named.removeprefix(base) if self.fhir_url else named
        return named if re.fullmatch(PRACTITIONER, named) else None

    def _of(self, claims: Mapping[str, Any]) -> list[str]:
        found: Any = claims.get(self.claim)
        if found is None:
            found = claims
            for step in self.claim.split("."):
                found = found.get(step) if isinstance(found, Mapping) else None
        return [found] if isinstance(found, str) else [g for g in found or [] if isinstance(g, str)]


class Door(Protocol):
    """What knows people: `services.inbox.login.Logins`."""

    @property
    def session_cookie(self) -> str: ...

    async def of_cookie(self, secret: str, *, active: bool) -> Visitor | None: ...

    async def of_bearer(self, token: str, address: str | None) -> Visitor:
        """`NotAuthorizedException` for a token that is not valid here."""
        ...

    async def refused(self, visitor: Visitor, address: str | None) -> None:
        """Writes into the audit trail that somebody was turned away."""
        ...


class KnownPeople(ASGIMiddleware):
    """Turns away whoever is not logged in: pages to the login, programs with 401.

    Pages go by the session's cookie, the JSON API by a bearer token alone: a browser adds no such token by itself, so that a foreign page cannot
    make it act (CSRF).
    """

    def __init__(self, door: Door) -> None:
        self._door = door

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        path = scope["path"]
        if path in _OPEN or path.startswith("/static/"):
            await next_app(scope, receive, send)
            return
        connection: AnyConnection = ASGIConnection(scope)
        visitor = await (self._program(connection) if path.startswith(API) else self._person(connection))
        if visitor is None:
            await _to_login(connection)(scope, receive, send)
            return
        scope["state"]["visitor"] = visitor
        await next_app(scope, receive, send)

    async def _program(self, connection: AnyConnection) -> Visitor:
        scheme, _, token = connection.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise NotAuthorizedException(headers=_BEARER)
        return await self._door.of_bearer(token.strip(), address_of(connection))

    async def _person(self, connection: AnyConnection) -> Visitor | None:
        path = connection.scope["path"]
        visitor = await self._door.of_cookie(
            connection.cookies.get(self._door.session_cookie, ""), active=path not in _PASSIVE
        )
        if visitor is None and (path in _PASSIVE or connection.scope.get("method") != "GET"):
            raise NotAuthorizedException
        return visitor


async def reviewers_only(connection: AnyConnection, _handler: BaseRouteHandler) -> None:
    """For everything but the logout and what has a rule of its own."""
    if connection.scope["path"].strip("/") not in _OF_OTHERS:
        await _require(connection, lambda visitor: visitor.reviewer)


async def auditors_only(connection: AnyConnection, _handler: BaseRouteHandler) -> None:
    """Reviewers do not see who else has looked."""
    await _require(connection, lambda visitor: visitor.auditor)


async def _require(connection: AnyConnection, allowed: Callable[[Visitor], bool]) -> None:
    """Whoever has not logged in is here only for what is open to all: `KnownPeople` has turned everybody else away."""
    visitor = visitor_of(connection)
    if visitor is not None and not allowed(visitor):
        door: Door = connection.app.state.deps.logins
        await door.refused(visitor, address_of(connection))
        raise NotAllowed


def _to_login(connection: AnyConnection) -> ASGIResponse:
    path, query = connection.scope["path"], connection.url.query
    back = quote(f"{path}?{query}" if query else path, safe="")
    return ASGIResponse(status_code=303, headers={"location": f"/login?to={back}"})


def address_of(connection: AnyConnection) -> str | None:
    return connection.client.host if connection.client else None


def visitor_of(request: AnyConnection) -> Visitor | None:
    """Who is logged in; None where the inbox knows no login."""
    visitor: Visitor | None = request.scope.get("state", {}).get("visitor")
    return visitor


def person_of(request: AnyConnection, typed: str = "") -> AuditPerson | None:
    """The person for the audit trail: from the login, else by the name that was typed, else unknown."""
    visitor = visitor_of(request)
    if visitor is not None:
        return visitor.person
    return AuditPerson(name=typed.strip()[:MAX_NAME]) if typed.strip() else None


def reader_of(request: AnyConnection, typed: str = "") -> str:
    """For whom something is read or unread; "" where nobody says who they are."""
    person = person_of(request, typed)
    return person.key if person is not None else ""


def reviewer_of(request: AnyConnection, typed: str) -> str:
    """Who decides. With a login it is whoever has logged in, whatever was typed."""
    visitor = visitor_of(request)
    return visitor.name if visitor is not None else typed


def looking(request: Request[Any, Any, Any], kind: AuditKind, typed: str = "", **more: Any) -> Look:
    """A look at a result by whoever sends this request."""
    return Look(kind, person_of(request, typed), address_of(request), **more)


def refuse_open_inbox(settings: Settings) -> None:
    """`PartUnavailable` for an inbox that anybody on the network could use under any name, and for a login that is half set up."""
    if settings.inbox_login == "off":
        if not is_loopback(settings.inbox_host):
            raise PartUnavailable(
                "inbox-login",
                "without a login the inbox listens on loopback alone: set LONGVIEW_INBOX_LOGIN=oidc, or LONGVIEW_INBOX_HOST=127.0.0.1.",
            )
        return
    for name in ("oidc_issuer", "oidc_client_id", "oidc_reviewers", "inbox_url"):
        settings.require(name)
    public = urlsplit(settings.inbox_url)
    if public.scheme != "https" and not is_loopback(public.hostname or ""):
        raise PartUnavailable(
            "inbox-url", "LONGVIEW_INBOX_URL is no https URL: a login needs TLS in front of the inbox."
        )


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
