"""Logging in at the hospital's own issuer (OpenID Connect), and out again."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.fernet import Fernet, InvalidToken
from litestar import Response, get, post
from litestar.connection import Request
from litestar.datastructures import Cookie
from litestar.exceptions import NotAuthorizedException
from litestar.handlers import BaseRouteHandler
from litestar.params import FromQuery
from litestar.response import Redirect, Template

from schemas.audit import AuditEntry, AuditKind, AuditPerson, new_audit_id
from schemas.errors import LongviewError, TransientFailure
from schemas.telemetry.fields import fields
from services.clients.oidc import Attempt, LoginRefused, OpenIdIssuer
from services.db import AuditTrail, SessionRecords
from services.db.audit import now_text
from services.inbox.access import Groups, Visitor, address_of, visitor_of

log = logging.getLogger(__name__)
AnyRequest = Request[Any, Any, Any]
SESSION = timedelta(hours=10)
"""A long shift; then people log in again, and lost rights are lost at the latest then."""
IDLE = timedelta(minutes=30)
ATTEMPT_SECONDS = 600
"""From the click on the login until the issuer sends the person back."""
REFUSALS_A_MINUTE = 30
"""Refused logins that the trail takes: whoever sends made-up tokens shall not fill it. The log counts the others."""


@dataclass(frozen=True)
class Begun:
    """A login on its way: what the browser keeps meanwhile, sealed."""

    attempt: Attempt
    to: str


class Logins:
    """Sessions, and the issuer behind them."""

    def __init__(
        self,
        issuer: OpenIdIssuer,
        groups: Groups,
        sessions: SessionRecords,
        trail: AuditTrail,
        seal: bytes,
        public_url: str,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`seal`: a Fernet key, the same for all inbox processes. `public_url`: as people reach the inbox."""
        self._issuer, self._groups, self._sessions, self._trail = issuer, groups, sessions, trail
        self._seal, self._clock = Fernet(seal), clock
        self.public_url = public_url.rstrip("/")
        self.secure = public_url.startswith("https://")
        self._refusals: deque[float] = deque(maxlen=REFUSALS_A_MINUTE)

    @property
    def session_cookie(self) -> str:
        """`__Host-`: from this very host alone, and over TLS (RFC 6265bis 4.1.3.2)."""
        return "__Host-longview_session" if self.secure else "longview_session"

    @property
    def attempt_cookie(self) -> str:
        return "__Host-longview_login" if self.secure else "longview_login"

    @property
    def redirect_uri(self) -> str:
        return f"{self.public_url}/login/callback"

    async def close(self) -> None:
        await self._issuer.close()

    # -- in --------------------------------------------------------------------------------------------------------------------

    async def begin(self, to: str) -> tuple[str, str]:
        """Where the browser goes, and what it keeps until it comes back. `TransientFailure` while the issuer is away."""
        attempt = Attempt(*(secrets.token_urlsafe(32) for _ in range(3)))
        url = await self._issuer.authorization_url(self.redirect_uri, attempt)
        kept = json.dumps({"attempt": asdict(attempt), "to": own_path(to)})
        return url, self._seal.encrypt(kept.encode()).decode()

    async def finish(self, kept: str, state: str, code: str, address: str | None) -> tuple[str, str]:
        """The session's secret, and where the person wanted to go. `LoginRefused` for anything but the answer to this browser's own login."""
        begun = self._begun(kept)
        if begun is None or not code or not secrets.compare_digest(begun.attempt.state, state):
            await self._refuse("login-state", None, address)
            raise LoginRefused("login-state", "this is not the answer to a login that this browser has begun")
        try:
            token, claims = await self._issuer.redeem(code, self.redirect_uri, begun.attempt)
        except LoginRefused as refused:
            await self._refuse(refused.code, None, address)
            raise
        visitor, now = self._groups.visitor(claims), self._clock()
        told = self._told("login", visitor.person, address)
        secret = await asyncio.to_thread(
            self._sessions.begin, visitor.model_dump_json(), token, now + SESSION, now, told
        )
        return secret, begun.to

    def _begun(self, kept: str) -> Begun | None:
        try:
            opened = json.loads(self._seal.decrypt(kept.encode(), ttl=ATTEMPT_SECONDS))
        except (InvalidToken, UnicodeEncodeError, ValueError):
            return None
        return Begun(Attempt(**opened["attempt"]), opened["to"])

    async def of_cookie(self, secret: str, *, active: bool) -> Visitor | None:
        if not secret:
            return None
        kept = await asyncio.to_thread(self._sessions.find, secret, self._clock(), IDLE, active=active)
        return Visitor.model_validate_json(kept.person) if kept else None

    async def of_bearer(self, token: str, address: str | None) -> Visitor:
        try:
            return self._groups.visitor(await self._issuer.access_claims(token))
        except LoginRefused as refused:
            await self._refuse(refused.code, None, address)
            raise NotAuthorizedException(headers={"WWW-Authenticate": 'Bearer error="invalid_token"'}) from refused

    # -- out -------------------------------------------------------------------------------------------------------------------

    async def end(self, secret: str, visitor: Visitor, address: str | None) -> str | None:
        """The session is over in every inbox process. Where the browser may log out at the issuer too; None if it cannot, or is away."""
        kept = await asyncio.to_thread(self._sessions.find, secret, self._clock(), IDLE, active=False)
        await asyncio.to_thread(self._sessions.end, secret, self._told("logout", visitor.person, address))
        if kept is None:
            return None
        try:
            return await self._issuer.logout_url(kept.id_token, f"{self.public_url}/")
        except TransientFailure as failure:
            log.warning("issuer-knows-no-logout", extra=fields(code=failure.code))
            return None

    async def refused(self, visitor: Visitor, address: str | None) -> None:
        await self._refuse("no-right", visitor.person, address, "access-refused")

    async def _refuse(
        self, code: str, person: AuditPerson | None, address: str | None, kind: AuditKind = "login-refused"
    ) -> None:
        log.warning("login-refused", extra=fields(code=code))
        now = time.monotonic()
        if len(self._refusals) == REFUSALS_A_MINUTE and self._refusals[0] > now - 60:
            return
        self._refusals.append(now)
        told = self._told(kind, person, address).model_copy(update={"outcome": "refused", "code": code})
        await asyncio.to_thread(self._trail.record, told)

    def _told(self, kind: AuditKind, person: AuditPerson | None, address: str | None) -> AuditEntry:
        return AuditEntry(
            event_id=new_audit_id(), kind=kind, at=now_text(), process="inbox", person=person, address=address
        )


def own_path(to: str) -> str:
    """A path of ours, or the list: a login never sends a person to another site."""
    plain = to.startswith("/") and not to.startswith(("//", "/\\", "/login")) and to.isprintable()
    return to if plain else "/"


# -- pages ------------------------------------------------------------------------------------------------------------------------


@get("/login")
async def log_in(request: AnyRequest, to: FromQuery[str] = "/") -> Response[Any]:
    """To the issuer; the way back is kept in a sealed cookie."""
    logins = _logins(request)
    url, kept = await logins.begin(to)
    answer = Redirect(url, status_code=303)
    answer.set_cookie(_cookie(logins, logins.attempt_cookie, kept, ATTEMPT_SECONDS))
    return answer


@get("/login/callback")
async def logged_in(request: AnyRequest) -> Response[Any]:
    """Back from the issuer."""
    logins, told = _logins(request), request.query_params
    state, code = told.get("state", ""), told.get("code", "")
    kept = request.cookies.get(logins.attempt_cookie, "")
    try:
        secret, to = await logins.finish(kept, state, code, address_of(request))
    except LoginRefused as refused:
        return _page(400, "The login did not work: begin again.", refused)
    answer = Redirect(to, status_code=303)
    answer.set_cookie(_cookie(logins, logins.session_cookie, secret, None))
    answer.set_cookie(_cookie(logins, logins.attempt_cookie, "", 0))
    return answer


@post("/logout", status_code=200)
async def log_out(request: AnyRequest) -> Response[Any]:
    """Here, and then at the issuer: the page goes there by itself, since a form may lead nowhere else (`form-action 'self'`)."""
    logins, visitor = _logins(request), visitor_of(request)
    onward = None
    if visitor is not None:
        secret = request.cookies.get(logins.session_cookie, "")
        onward = await logins.end(secret, visitor, address_of(request))
    request.scope["state"].pop("visitor", None)
    answer = Template("logged_out.html", context={"onward": onward})
    answer.set_cookie(_cookie(logins, logins.session_cookie, "", 0))
    return answer


def _page(status: int, sentence: str, failure: LongviewError) -> Template:
    context = {"status": status, "sentence": sentence, "code": failure.code}
    return Template("problem.html", context=context, status_code=status)


def _cookie(logins: Logins, name: str, value: str, max_age: int | None) -> Cookie:
    """Lax: the issuer sends the browser back by a link, and the cookie must come along. Without an age it ends with the browser."""
    return Cookie(key=name, value=value, path="/", max_age=max_age, httponly=True, secure=logins.secure, samesite="lax")


def _logins(request: AnyRequest) -> Logins:
    logins: Logins = request.app.state.deps.logins
    return logins


HANDLERS: list[BaseRouteHandler] = [log_in, logged_in, log_out]
