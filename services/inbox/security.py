"""What protects the page in the browser: headers on every answer, host names, tokens in forms."""

from __future__ import annotations

from litestar.config.csrf import CSRFConfig
from litestar.connection import ASGIConnection
from litestar.datastructures import MutableScopeHeaders
from litestar.exceptions import NotAuthorizedException
from litestar.handlers.base import BaseRouteHandler
from litestar.middleware import ASGIMiddleware
from litestar.response.base import ASGIResponse
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from services.inbox.access import visitor_of
from services.parts.local_only import without_port

USER_HEADER = "x-longview-user"
CSRF_COOKIE = "longview_csrf"
CSRF_FIELD = "_csrf_token"

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
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


def csrf_config(secret: str, *, secure: bool) -> CSRFConfig:
    """Forms carry a signed token that equals a cookie; the JSON API is protected by a header that no foreign page may send."""
    return CSRFConfig(
        secret=secret, cookie_name=CSRF_COOKIE, cookie_httponly=True, cookie_samesite="strict", cookie_secure=secure
    )


def require_named_user(connection: ASGIConnection, _handler: BaseRouteHandler) -> None:  # type: ignore[type-arg]
    """A bearer token, which a browser never adds by itself; without a login a custom header, which cannot come from a form or a foreign page
    without the browser asking us first, and we never agree."""
    if visitor_of(connection) is None and not connection.headers.get(USER_HEADER, "").strip():
        raise NotAuthorizedException("Name the reviewer in the header X-Longview-User.")
