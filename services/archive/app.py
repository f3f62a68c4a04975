"""The routes (PS3.18 section 10), under the prefix `/dicom-web`, and `/health`."""

from __future__ import annotations

import logging
from asyncio import to_thread
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from secrets import token_hex
from typing import Any, cast

import orjson
from litestar import Litestar, Request, Response, Router, get, post
from litestar.exceptions import HTTPException, NotFoundException
from litestar.response import Stream

from schemas.telemetry.fields import fields
from schemas.telemetry.logs import reason_of
from services.archive import retrieve
from services.archive.index import Archive, Refused, Stored
from services.archive.search import BadQuery, Level, location, parse_query, search
from services.multipart import MultipartError, MultipartReader, MultipartWriter

log = logging.getLogger("longview.archive")

PREFIX = "/dicom-web"
JSON = "application/dicom+json"
SEND_BYTES = 8 << 20
"""Instances are sent together up to this size: one hop between threads for many slices."""

Asked = Request[Any, Any, Any]
STUDY, SERIES, INSTANCE = "/studies/{study:str}", "/series/{series:str}", "/instances/{instance:str}"


def make_app(folder: Path) -> Litestar:
    """The archive of a folder, which is made if it is not there."""
    archive = Archive(folder)
    routes = Router(PREFIX, route_handlers=[query, instances, metadata, frames, bulk_data, stow])
    app = Litestar(
        [health, routes],
        request_max_body_size=None,  # STOW-RS reads the body part by part; one part may have services.multipart.MAX_PART (2 GiB)
        openapi_config=None,
        logging_config=None,
        exception_handlers={Exception: _failed, HTTPException: _refused},
    )
    app.state.archive = archive
    return app


def _failed(_: Asked, error: Exception) -> Response[bytes]:
    """Anything unforeseen: its class is logged, its text could name a patient."""
    log.error("fault", extra=fields(part="archive", **reason_of(error)))
    return Response(b"the archive failed", media_type="text/plain", status_code=500)


def _refused(_: Asked, error: HTTPException) -> Response[bytes]:
    text = error.detail if isinstance(error, _Told) else "refused"
    return Response(text.encode(), media_type="text/plain", status_code=error.status_code)


class _Told(HTTPException):
    """A refusal whose text is ours and holds nothing of the request."""


def _archive(request: Asked) -> Archive:
    return cast(Archive, request.app.state.archive)


def _base_url(request: Asked) -> str:
    """By the address that was connected to, not by the Host header: dicomweb-client sends it without the port."""
    host, port = request.scope["server"] or ("127.0.0.1", 80)
    return f"{request.scope['scheme']}://{host}:{port}{PREFIX}"


def _found(request: Asked, study: str, series: str | None = None, instance: str | None = None) -> list[Stored]:
    if rows := _archive(request).select(study, series, instance):
        return rows
    raise NotFoundException


@get("/health", sync_to_thread=False)
def health(request: Asked) -> dict[str, str]:
    return {"status": "ok", "instances": str(len(_archive(request)))}


SEARCHED = ["/studies", "/series", "/instances", f"{STUDY}/series", f"{STUDY}/instances", f"{STUDY}{SERIES}/instances"]


# async handlers with to_thread: Litestar 2.25's sync_to_thread answers 500 for a handler with several paths
@get(SEARCHED)
async def query(request: Asked, study: str | None = None, series: str | None = None) -> Response[bytes]:
    """QIDO-RS."""
    level = cast(Level, request.url.path.rsplit("/", 1)[-1])
    try:
        asked = parse_query(request.query_params.multi_items())
    except BadQuery as error:
        raise _Told(str(error), status_code=400) from error
    rows = await to_thread(search, _archive(request), level, asked, study, series, _base_url(request))
    return Response(orjson.dumps(rows), media_type=JSON)


@get([STUDY, STUDY + SERIES, STUDY + SERIES + INSTANCE])
async def instances(request: Asked, study: str, series: str | None = None, instance: str | None = None) -> Stream:
    """WADO-RS, instances."""
    rows, accept = _found(request, study, series, instance), retrieve.accepted(request.headers.get("accept", ""))
    first = await _load(rows[:1], accept)  # what cannot be had is told before the answer begins
    writer = MultipartWriter("application/dicom", token_hex(16))
    return Stream(_body(writer, first, rows[1:], accept), media_type=writer.content_type)


async def _load(rows: Sequence[Stored], accept: frozenset[str]) -> list[bytes]:
    try:
        return await to_thread(lambda: [retrieve.instance_file(row, accept) for row in rows])
    except retrieve.NotAcceptable as error:
        raise _Told("the instance is not available in a transfer syntax that is accepted", status_code=406) from error


async def _body(
    writer: MultipartWriter, first: list[bytes], rest: Sequence[Stored], accept: frozenset[str]
) -> AsyncIterator[bytes]:
    yield _join(writer, first)
    together = max(1, SEND_BYTES // max(len(first[0]), 1))
    for start in range(0, len(rest), together):
        yield _join(writer, await _load(rest[start : start + together], accept))
    yield writer.tail


def _join(writer: MultipartWriter, parts: list[bytes]) -> bytes:
    return b"".join(piece for part in parts for piece in (writer.head(len(part)), part))


@get([path + "/metadata" for path in (STUDY, STUDY + SERIES, STUDY + SERIES + INSTANCE)])
async def metadata(
    request: Asked, study: str, series: str | None = None, instance: str | None = None
) -> Response[bytes]:
    """WADO-RS, metadata."""
    base = _base_url(request)
    todo = [(row.path, location(base, row)) for row in _found(request, study, series, instance)]
    rows = await to_thread(lambda: [retrieve.metadata(*each) for each in todo])
    return Response(b"[" + b",".join(rows) + b"]", media_type=JSON)


@get(STUDY + SERIES + INSTANCE + "/frames/{numbers:str}")
async def frames(request: Asked, study: str, series: str, instance: str, numbers: str) -> Response[bytes]:
    """WADO-RS, frames."""
    try:
        wanted = retrieve.frame_numbers(numbers)
    except retrieve.NoSuchFrame as error:
        raise _Told("the list of frames is not one", status_code=400) from error
    return await _pixels(request, _found(request, study, series, instance)[0], wanted)


@get(STUDY + SERIES + INSTANCE + "/bulkdata/" + retrieve.PIXEL_DATA)
async def bulk_data(request: Asked, study: str, series: str, instance: str) -> Response[bytes]:
    """WADO-RS, the pixel data that the metadata names by URI."""
    return await _pixels(request, _found(request, study, series, instance)[0], None)


async def _pixels(request: Asked, row: Stored, numbers: list[int] | None) -> Response[bytes]:
    accept = retrieve.accepted(request.headers.get("accept", ""))
    try:
        parts = await to_thread(retrieve.frames, row, numbers, accept)
    except retrieve.NoSuchFrame as error:
        raise NotFoundException from error
    except retrieve.NotAcceptable as error:
        raise _Told("the pixel data cannot be decoded here", status_code=406) from error
    writer = MultipartWriter("application/octet-stream", token_hex(16))
    return Response(_join(writer, parts) + writer.tail, media_type=writer.content_type)


@post(["/studies", STUDY], status_code=200)
async def stow(request: Asked, study: str | None = None) -> Response[bytes]:
    """STOW-RS (PS3.18 section 10.5): 200 if all instances are stored, 202 if some, 409 if none."""
    stored: list[dict[str, Any]] = []
    failed: list[dict[str, Any]] = []
    try:
        reader = MultipartReader(request.headers.get("content-type", ""))
    except MultipartError as error:
        raise _Told("multipart/related with parts of application/dicom is wanted", status_code=415) from error
    try:
        async for chunk in request.stream():
            for part in reader.feed(chunk):
                await to_thread(_store, _archive(request), part, study, stored, failed)
        reader.close()
    except MultipartError as error:
        raise _Told("the body is cut, or one of its parts is too large", status_code=400) from error
    answer = {"00081199": {"vr": "SQ", "Value": stored}} if stored else {}
    answer |= {"00081198": {"vr": "SQ", "Value": failed}} if failed else {}
    return Response(
        orjson.dumps(answer), media_type=JSON, status_code=(202 if stored else 409) if failed or not stored else 200
    )


def _store(
    archive: Archive, part: bytes, study: str | None, stored: list[dict[str, Any]], failed: list[dict[str, Any]]
) -> None:
    try:
        row = archive.store(part, study)
    except Refused as refused:
        failed.append(_reference(refused.instance) | {"00081197": {"vr": "US", "Value": [refused.reason]}})
    else:
        stored.append(_reference((row.sop_class, row.instance)))


def _reference(instance: tuple[str, str] | None) -> dict[str, Any]:
    if instance is None:
        return {}
    sop_class, uid = instance
    return {"00081150": {"vr": "UI", "Value": [sop_class]}, "00081155": {"vr": "UI", "Value": [uid]}}
