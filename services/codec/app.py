"""Temporal's remote codec protocol over HTTP: `POST /decode` with Payloads in protobuf JSON, answered by the same with their clear text.

Only what an operator asks for with a login is decoded, each time with an entry in the audit trail and a line in the log: who, how many payloads, how
it ended; never what they say. Without the entry there is no answer. `/encode` is refused: with it a browser could make up the arguments of a
workflow.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.json_format import MessageToJson, Parse, ParseError
from litestar import Litestar, Request, Response, get, post
from litestar.config.cors import CORSConfig
from litestar.datastructures import MutableScopeHeaders, State
from litestar.exceptions import HTTPException, NotAuthorizedException
from litestar.middleware import ASGIMiddleware
from litestar.response.base import ASGIResponse
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.converter import PayloadCodec, StorageDriver

from schemas.audit import AuditEntry, AuditKind, AuditPerson, new_audit_id
from schemas.errors import LongviewError, PermanentFailure
from schemas.telemetry.fields import fields
from schemas.telemetry.logs import reason_of
from services.clients.payloads import ENCODING, fetched
from services.codec.login import Login, audit
from services.db import AuditTrail
from services.db.audit import now_text

log = logging.getLogger(__name__)
MAX_BODY_BYTES = 16 << 20
MAX_PAYLOADS = 1000
CORS_HEADERS = ["Authorization", "Content-Type", "X-Namespace"]
"""What Temporal's page sends along."""
SENTENCES = {
    400: "This is not a list of Temporal payloads in JSON.",
    401: "Log in with the token of an operator.",
    403: "This is not done here.",
    413: "More than one request may ask for.",
    415: "Send application/json.",
    429: "Too many failed logins: wait a minute.",
}


@dataclass(frozen=True)
class CodecDeps:
    """`origin` is Temporal's page (scheme, host, port), empty if no browser is to ask."""

    codec: PayloadCodec
    storage: StorageDriver
    login: Login
    trail: AuditTrail
    origin: str = ""


def create_app(deps: CodecDeps) -> Litestar:
    cors = CORSConfig(
        allow_origins=[deps.origin], allow_methods=["POST"], allow_headers=CORS_HEADERS, allow_credentials=True
    )
    return Litestar(
        route_handlers=[health, logged_in, decode, encode],
        state=State({"deps": deps}),
        cors_config=cors if deps.origin else None,
        middleware=[OneOrigin(deps.origin)],
        before_send=[_add_headers],
        exception_handlers={HTTPException: _on_http, LongviewError: _on_failure, Exception: _on_fault},
        request_max_body_size=MAX_BODY_BYTES,
        openapi_config=None,
        logging_config=None,
    )


@get("/health", sync_to_thread=False)
def health() -> dict[str, str]:
    """For probes: says nothing and needs no login."""
    return {"status": "ok"}


@get("/")
async def logged_in(request: Request[Any, Any, State]) -> Response[str]:
    """Where a browser logs in: from then on it sends its login along with the requests of Temporal's page."""
    name = await _operator(request)
    return Response(f"Logged in as {name}. Go back to Temporal's page and reload it.\n", media_type="text/plain")


@post("/decode", status_code=200)
async def decode(request: Request[Any, Any, State]) -> Response[str]:
    """422 with the failure's name and its place for what cannot be decoded; what never was encrypted comes back as it is."""
    name, deps = await _operator(request), _deps(request)
    asked = await _payloads(request)
    try:
        opened = [await _decoded(deps, payload, place) for place, payload in enumerate(asked)]
    except PermanentFailure as failure:
        audit.warning("decode-refused", extra=fields(user=name, count=len(asked), code=failure.code))
        await _record(request, "payloads-decoded", name, len(asked), failure.code)
        return Response(_problem(failure.code, failure.hint), status_code=422, media_type="application/json")
    await _record(request, "payloads-decoded", name, len(asked))
    audit.info("decoded", extra=fields(user=name, count=len(asked)))
    return Response(MessageToJson(Payloads(payloads=opened), indent=None), media_type="application/json")


@post("/encode")
async def encode(request: Request[Any, Any, State]) -> Response[str]:
    name = await _operator(request)
    audit.warning("encode-refused", extra=fields(user=name))
    body = _problem("encode-refused", "this server decodes only: workflows are started by events")
    return Response(body, status_code=403, media_type="application/json")


async def _operator(request: Request[Any, Any, State]) -> str:
    authorization, address = request.headers.get("authorization", ""), address_of(request)
    try:
        return await _deps(request).login.admit(authorization, address or "unknown")
    except NotAuthorizedException:
        if authorization:  # the brake of the login bounds how many there are
            await _record(request, "login-refused", None, 0, "codec-login")
        raise


async def _record(
    request: Request[Any, Any, State], kind: AuditKind, name: str | None, payloads: int, code: str | None = None
) -> None:
    told = AuditEntry(
        event_id=new_audit_id(),
        kind=kind,
        at=now_text(),
        process="codec",
        outcome="refused" if code else "success",
        code=code,
        person=AuditPerson(name=name, subject=name) if name else None,
        address=address_of(request),
        part=f"{payloads} payloads" if payloads else None,
    )
    await asyncio.to_thread(_deps(request).trail.record, told)


def address_of(request: Request[Any, Any, State]) -> str | None:
    return request.client.host if request.client else None


def _deps(request: Request[Any, Any, State]) -> CodecDeps:
    deps: CodecDeps = request.app.state.deps
    return deps


async def _payloads(request: Request[Any, Any, State]) -> Sequence[Payload]:
    if request.headers.get("content-type", "").split(";")[0].strip().lower() != "application/json":
        raise HTTPException(status_code=415)
    try:
        payloads = Parse(await request.body(), Payloads()).payloads
    except (ParseError, UnicodeDecodeError, RecursionError) as error:
        raise HTTPException(status_code=400) from error
    if len(payloads) > MAX_PAYLOADS:
        raise HTTPException(status_code=413)
    return payloads


async def _decoded(deps: CodecDeps, payload: Payload, place: int) -> Payload:
    try:
        stored = await fetched(deps.storage, payload)
        if stored.metadata.get("encoding") != ENCODING:
            return stored
        [opened] = await deps.codec.decode([stored])
        return opened
    except PermanentFailure as failure:
        raise PermanentFailure(failure.code, f"payload {place + 1}: {failure.hint}") from failure


# -- around every answer -------------------------------------------------------------------------------------------------------


class OneOrigin(ASGIMiddleware):
    """A browser says where its page is from: any page but Temporal's is refused, whatever login the browser would add."""

    def __init__(self, origin: str) -> None:
        self._origin = origin

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        origin = MutableScopeHeaders(scope=scope).get("origin", "")
        if origin and origin != self._origin:
            refusal = ASGIResponse(body=b"This origin is not served here.", media_type="text/plain", status_code=403)
            await refusal(scope, receive, send)
            return
        await next_app(scope, receive, send)


async def _add_headers(message: Message, scope: Scope) -> None:
    """Clear text belongs in no cache."""
    if message["type"] == "http.response.start":
        headers = MutableScopeHeaders.from_message(message)
        headers["cache-control"], headers["x-content-type-options"] = "no-store", "nosniff"
        headers["content-security-policy"] = "default-src 'none'; frame-ancestors 'none'"


def _problem(code: str, sentence: str) -> Any:
    return {"code": code, "message": sentence}


def _on_http(_: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
    """A fixed sentence for each status: the library's own messages may repeat what was sent."""
    body = _problem(f"http-{error.status_code}", SENTENCES.get(error.status_code, "The request was refused."))
    return Response(body, status_code=error.status_code, headers=error.headers, media_type="application/json")


def _on_failure(_: Request[Any, Any, Any], error: LongviewError) -> Response[Any]:
    log.warning("not-answered", extra=fields(part="codec", code=error.code))
    return Response(_problem(error.code, error.hint), status_code=503, media_type="application/json")


def _on_fault(_: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """The kind of fault alone; its text may hold what was decoded."""
    log.error("fault", extra=fields(part="codec", **reason_of(error)))
    return Response(_problem("fault", "Something went wrong here."), status_code=500, media_type="application/json")
