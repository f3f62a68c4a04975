"""What protects the page in the browser: headers on every answer, host names, whose page asks, tokens in forms."""

from __future__ import annotations

import secrets
from hmac import compare_digest
from typing import Any
from urllib.parse import urlsplit

from litestar.connection import ASGIConnection, Request
from litestar.datastructures import Cookie, MutableScopeHeaders
from litestar.exceptions import NotAuthorizedException, PermissionDeniedException
from litestar.handlers.base import BaseRouteHandler
from litestar.middleware import ASGIMiddleware
from litestar.middleware.csrf import CSRF_SECRET_LENGTH, generate_csrf_hash, generate_csrf_token
from litestar.response.base import ASGIResponse
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from litestar.utils.scope.state import ScopeState

from services.inbox.access import API, visitor_of
from services.parts.local_only import without_port

USER_HEADER = "x-longview-user"
FORM_FIELD = "_csrf_token"
"""As Litestar's template function `csrf_input` names it."""
_SAFE = ("GET", "HEAD", "OPTIONS")

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # Not `no-referrer`: under it a browser calls the origin of our own forms "null" (Fetch standard, "append a request Origin header").
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}


async def add_security_headers(message: Message, scope: Scope) -> None:
    """On every answer, errors included; nothing but style and script may stay in a cache, since the rest is patient data."""
    if message["type"] != "http.response.start":
        return
    headers = MutableScopeHeaders.from_message(message)
    for name, value in _HEADERS.items():
        headers[name] = value
    if not scope["path"].startswith("/static/"):
        headers["cache-control"] = "no-store"


class KnownHosts(ASGIMiddleware):
    """Answers only under names that are ours: otherwise a page elsewhere could have its own name point here and read everything."""

    def __init__(self, hosts: tuple[str, ...]) -> None:
        self._hosts = frozenset(host.lower() for host in hosts)

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """`/health` under any name: a load balancer asks by the Pod's address, and is told nothing."""
        host = MutableScopeHeaders(scope=scope).get("host", "")
        if scope["path"] == "/health" or without_port(host) in self._hosts:
            await next_app(scope, receive, send)
            return
        await ASGIResponse(body=b"This host name is not served here.", media_type="text/plain", status_code=421)(
            scope, receive, send
        )


class OwnForms(ASGIMiddleware):
    """Nothing is changed by a page that is not ours (CSRF), be it on another site, on a sibling's domain or on another port of this host.

    Such a page may plant cookies here, since these know no port, and know a token that it was given itself. So a form's token is signed together
    with the session of whoever asks (without a login, with a cookie of the browser's own), and the browser's own word on where a request comes from
    is taken where it gives it (`Origin`, `Sec-Fetch-Site`). The JSON API goes by what no page can send: a bearer token, or a header of our own.
    """

    def __init__(self, secret: str, *, secure: bool, session_cookie: str = "", public_url: str = "") -> None:
        """`secure`: the inbox is reached over TLS. `session_cookie` "": there is no login. `public_url`: as people reach it, where that differs."""
        self._secret, self._session = secret, session_cookie
        self._scheme = "https" if secure else "http"
        self._public = origin_of(public_url) if public_url else None
        self.cookie = "__Host-longview_form" if secure else "longview_form"
        self._secure = secure

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        request: Request[Any, Any, Any] = scope["litestar_app"].request_class(scope=scope, receive=receive)
        if request.method not in _SAFE:
            await self._require_own(request)
            await next_app(scope, receive, send)
            return
        session = self._session_of(request)
        fresh = "" if session else secrets.token_urlsafe(32)
        ScopeState.from_scope(scope).csrf_token = generate_csrf_token(self._bound(session or fresh))
        await next_app(scope, receive, self._keeping(fresh, send) if fresh and not _is_bare(scope["path"]) else send)

    async def _require_own(self, request: Request[Any, Any, Any]) -> None:
        if not self._from_here(request):
            raise PermissionDeniedException
        if request.url.path.startswith(API):
            return
        token = str((await request.form()).get(FORM_FIELD, ""))
        session = self._session_of(request)
        signed = generate_csrf_hash(token[:CSRF_SECRET_LENGTH], self._bound(session))
        if not session or not compare_digest(token[CSRF_SECRET_LENGTH:].encode(), signed.encode()):
            raise PermissionDeniedException
        ScopeState.from_scope(request.scope).csrf_token = token

    def _from_here(self, request: Request[Any, Any, Any]) -> bool:
        if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return False
        origin = request.headers.get("origin")
        if origin is None:
            return True
        own = (origin_of(f"{self._scheme}://{request.headers.get('host', '')}"), self._public)
        return (asking := origin_of(origin)) is not None and asking in own

    def _session_of(self, request: Request[Any, Any, Any]) -> str:
        """What a token is bound to; "" where the browser has brought nothing yet."""
        return request.cookies.get(self._session, "") or request.cookies.get(self.cookie, "")

    def _bound(self, session: str) -> str:
        return f"{self._secret}|{session}"

    def _keeping(self, fresh: str, send: Send) -> Send:
        cookie = Cookie(key=self.cookie, value=fresh, path="/", secure=self._secure, httponly=True, samesite="strict")

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableScopeHeaders.from_message(message).add("set-cookie", cookie.to_header(header=""))
            await send(message)

        return sent


def _is_bare(path: str) -> bool:
    """What holds no form."""
    return path.startswith(("/static/", API)) or path == "/health"


def origin_of(url: str) -> tuple[str, str, int] | None:
    """Scheme, host and port of an address (RFC 6454, 4); None for one that has none, such as `null`."""
    try:
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return None
    return (parts.scheme, parts.hostname, port) if parts.hostname and port else None


def require_named_user(connection: ASGIConnection, _handler: BaseRouteHandler) -> None:  # type: ignore[type-arg]
    """A bearer token, which a browser never adds by itself; without a login a custom header, which cannot come from a form or a foreign page
    without the browser asking us first, and we never agree."""
    if visitor_of(connection) is None and not connection.headers.get(USER_HEADER, "").strip():
        raise NotAuthorizedException("Name the reviewer in the header X-Longview-User.")
