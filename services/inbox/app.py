"""The inbox as one ASGI application: pages, JSON API, live feed, and what protects them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from litestar import Litestar, Request, Response
from litestar.datastructures import State
from litestar.di import Provide
from litestar.exceptions import HTTPException
from litestar.plugins.jinja import JinjaTemplateEngine
from litestar.response import Template
from litestar.static_files import create_static_files_router
from litestar.status_codes import HTTP_401_UNAUTHORIZED, HTTP_500_INTERNAL_SERVER_ERROR, HTTP_503_SERVICE_UNAVAILABLE
from litestar.template.config import TemplateConfig

from schemas.errors import LongviewError
from schemas.telemetry.fields import fields
from schemas.telemetry.logs import reason_of
from services.inbox import api, audit_page, login, pages
from services.inbox.access import KnownPeople, NotAllowed, reviewers_only
from services.inbox.deps import InboxDeps, provide_deps, provide_desk, provide_feed
from services.inbox.feed import ChangeFeed
from services.inbox.limits import Rates
from services.inbox.openapi import openapi_config
from services.inbox.reviewing import ReviewDesk
from services.inbox.security import KnownHosts, OwnForms, add_security_headers

log = logging.getLogger(__name__)
FOLDER = Path(__file__).parent
NO_RIGHT = "You are logged in, but not in a group that may do this: ask whoever runs Longview."
LOGGED_OUT = "You are not logged in, or no longer: log in, then do it again."
MAX_BODY_BYTES = 64 * 1024
SENTENCES = {
    400: "The request cannot be read: go back and try again.",
    401: "Name the reviewer in the header X-Longview-User.",
    403: "This form is no longer valid: reload the page and decide again.",
    404: "There is no such result: it may belong to another installation.",
    405: "This address does not take such a request.",
    413: "What was sent is too large.",
    429: "That was too much at once: wait a minute, then try again.",
}


def create_app(deps: InboxDeps) -> Litestar:
    """The application; its feed runs while it does."""
    feed = ChangeFeed(deps.reader, deps.poll_seconds, deps.heartbeat_seconds, deps.feed_beat)
    desk = ReviewDesk(deps.trail, deps.reviewer, deps.review_seconds, deps.clock)
    return Litestar(
        route_handlers=[
            *pages.HANDLERS,
            *api.HANDLERS,
            *(login.HANDLERS + audit_page.HANDLERS if deps.logins else []),
            create_static_files_router(path="/static", directories=[FOLDER / "static"]),
        ],
        dependencies={
            "deps": Provide(provide_deps),
            "feed": Provide(provide_feed),
            "desk": Provide(provide_desk),
        },
        state=State({"deps": deps, "feed": feed, "desk": desk}),
        lifespan=[_feeding(feed)],
        middleware=[
            KnownHosts(deps.allowed_hosts),
            _own_forms(deps),
            *([KnownPeople(deps.logins)] if deps.logins else []),
            Rates(),
        ],
        guards=[reviewers_only] if deps.logins else [],
        before_send=[add_security_headers],
        template_config=TemplateConfig(directory=FOLDER / "templates", engine=JinjaTemplateEngine),
        exception_handlers={HTTPException: _on_http, LongviewError: _on_failure, Exception: _on_fault},
        request_max_body_size=MAX_BODY_BYTES,
        openapi_config=openapi_config(login=deps.logins is not None),
        include_in_schema=False,
        logging_config=None,
    )


def _own_forms(deps: InboxDeps) -> OwnForms:
    login = {"session_cookie": deps.logins.session_cookie, "public_url": deps.logins.public_url} if deps.logins else {}
    return OwnForms(deps.csrf_secret, secure=deps.secure_cookies, **login)


def _feeding(feed: ChangeFeed) -> Any:
    @asynccontextmanager
    async def lifespan(_app: Litestar) -> AsyncIterator[None]:
        polling = asyncio.create_task(feed.run())
        try:
            yield
        finally:
            feed.close()
            polling.cancel()
            with suppress(asyncio.CancelledError):
                await polling

    return lifespan


def _on_http(request: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
    """A fixed sentence for each status: the library's own messages may repeat what was sent."""
    sentence = SENTENCES.get(error.status_code, "The request was refused.")
    if isinstance(error, NotAllowed):
        sentence = NO_RIGHT
    elif error.status_code == HTTP_401_UNAUTHORIZED and request.app.state.deps.logins is not None:
        sentence = LOGGED_OUT
    return _problem(request, error.status_code, sentence, error.headers)


def _on_failure(request: Request[Any, Any, Any], error: LongviewError) -> Response[Any]:
    log.warning("not-answered", extra=fields(part="inbox", code=error.code))
    sentence = "A part of the system is away: try again in a minute."
    return _problem(request, HTTP_503_SERVICE_UNAVAILABLE, sentence)


def _on_fault(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """The kind of fault and where it arose; its text may hold an identifier."""
    log.error("fault", extra=fields(part="inbox", **reason_of(error)))
    return _problem(request, HTTP_500_INTERNAL_SERVER_ERROR, "Something went wrong here: tell whoever runs Longview.")


def _problem(
    request: Request[Any, Any, Any], status: int, sentence: str, headers: dict[str, str] | None = None
) -> Response[Any]:
    if request.scope["path"].startswith("/api/"):
        return Response({"detail": sentence}, status_code=status, headers=headers, media_type="application/json")
    context = {"status": status, "sentence": sentence}
    return Template("problem.html", context=context, status_code=status, headers=headers)
