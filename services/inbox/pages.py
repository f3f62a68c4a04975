"""The pages: the list, one result, its pictures, the live stream, and the form that decides."""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Annotated, Any, Literal

from litestar import Response, get, post
from litestar.connection import Request
from litestar.exceptions import NotFoundException
from litestar.handlers import BaseRouteHandler
from litestar.params import FromPath, FromQuery, QueryParameter
from litestar.response import Redirect, ServerSentEvent, ServerSentEventMessage, Template
from pydantic import ValidationError

from schemas.errors import PermanentFailure
from schemas.imaging import MODALITIES_READ
from services.db import Entry, Filter, Look
from services.inbox.access import address_of, looking, person_of, reader_of, reviewer_of, visitor_of
from services.inbox.deps import Deps, Desk, Feed, InboxDeps
from services.inbox.feed import RETRY_MS, ChangeFeed
from services.inbox.limits import client_of, require_room
from services.inbox.reviewing import UNDONE, Asker, DecisionRefused
from services.inbox.schemas import READ_BACKS, REASONS, Acknowledgement, Decision, sentence_of
from services.inbox.view import PAGE, filter_of, result_page, rows_of, tabs_of

AnyRequest = Request[Any, Any, Any]
STREAM_SECONDS = 300.0
MAX_PAGES = 1_000_000
MAX_SEQ = 2**63 - 1
"""Of the change feed: what the database counts up to."""
FORM_FIELDS = (
    "act_id",
    "report_version",
    "outcome",
    "reviewer",
    "reason_code",
    "reason_text",
    "acted_upon",
    "undo_seconds",
)


def find_entry(deps: InboxDeps, result_id: str) -> Entry:
    """The entry, or 404; for checks, not for eyes."""
    return _there(deps.reader.get(result_id))


def view_entry(deps: InboxDeps, result_id: str, look: Look) -> Entry:
    """The entry for a person, who is then in the audit trail; or 404."""
    return _there(deps.reader.view(result_id, look))


def _there(entry: Entry | None) -> Entry:
    if entry is None:
        raise NotFoundException
    return entry


@get(["/", "/rows"])
async def list_page(
    request: AnyRequest,
    deps: Deps,
    shown: FromQuery[str] = "open",
    modality: FromQuery[str] = "",
    priority: FromQuery[str] = "",
    page: Annotated[int, QueryParameter(le=MAX_PAGES)] = 1,
) -> Template:
    """The results, most urgent first; the filter stands in the address. `/rows` is the part that changes, for a page that is open."""
    template = "_rows.html" if request.scope["path"] == "/rows" else "list.html"
    wanted = filter_of(shown, modality, priority)
    await asyncio.to_thread(deps.lists.seen, request, wanted, page)
    return Template(template, context=await asyncio.to_thread(_list, request, deps, wanted, max(page, 1)))


def _list(request: AnyRequest, deps: InboxDeps, wanted: Filter, page: int) -> dict[str, Any]:
    wanted = replace(wanted, reader=reader_of(request))
    listing = deps.reader.list_entries(_on_page(wanted, page))
    pages = max(1, -(-listing.matching // PAGE))
    if page > pages:  # what stood on it was decided: the last page that is left, for others wait
        page, listing = pages, deps.reader.list_entries(_on_page(wanted, pages))
    return {
        "rows": rows_of(listing, deps.clock()),
        "listing": listing,
        "wanted": wanted,
        "tabs": tabs_of(wanted, listing),
        "page": page,
        "pages": pages,
        "query": request.url.query,
        "modalities": MODALITIES_READ,
    }


def _on_page(wanted: Filter, page: int) -> Filter:
    return replace(wanted, limit=PAGE, offset=(page - 1) * PAGE)


@get("/results/{result_id:str}", sync_to_thread=True)
def show_result(request: AnyRequest, deps: Deps, result_id: FromPath[str]) -> Template:
    """One result; whoever asks for it has opened it."""
    entry = view_entry(deps, result_id, looking(request, "result-opened", opening=is_on_a_screen(request)))
    return _page(deps, entry, {}, "", 200)


def is_on_a_screen(request: AnyRequest) -> bool:
    """Not a page that a browser fetches in advance, nor one that another page asks for as an image or by script (Fetch metadata)."""
    fetched = request.headers.get("sec-purpose", request.headers.get("purpose", ""))
    return "prefetch" not in fetched and request.headers.get("sec-fetch-dest", "document") == "document"


@post("/results/{result_id:str}/review", status_code=303)
async def review(request: AnyRequest, deps: Deps, desk: Desk, result_id: FromPath[str]) -> Response[Any]:
    """Accept or reject; what is missing is asked for on the same page, with what was typed."""
    entry = await asyncio.to_thread(find_entry, deps, result_id)
    form = await request.form()
    typed = {name: str(form.get(name, "")) for name in FORM_FIELDS}
    typed["reviewer"] = reviewer_of(request, typed["reviewer"])
    asker = asker_of(request, typed["reviewer"])
    try:
        await desk.decide(entry, Decision.model_validate(_given(typed), strict=False), asker)
    except ValidationError as error:
        return await _again(request, deps, result_id, typed, sentence_of(error), 400)
    except DecisionRefused as refused:
        if refused.code == "review-undone":  # the act is spent: what is decided next is another one
            typed["act_id"] = ""
        return await _again(request, deps, result_id, typed, refused.hint, refused.status)
    return Redirect(f"/results/{result_id}", status_code=303)


@post("/results/{result_id:str}/undo", status_code=200)
async def undo(request: AnyRequest, deps: Deps, desk: Desk, result_id: FromPath[str]) -> Response[dict[str, str]]:
    """Take a decision back that the page has just sent, and that is not written yet."""
    entry = await asyncio.to_thread(find_entry, deps, result_id)
    form = await request.form()
    asker = asker_of(request, str(form.get("reviewer", "")))
    try:
        await desk.undo(entry, str(form.get("act_id", "")), asker)
    except DecisionRefused as refused:
        return Response({"detail": refused.hint or ""}, status_code=refused.status)
    return Response({"detail": UNDONE})


@post("/results/{result_id:str}/acknowledge", status_code=303)
async def acknowledge(request: AnyRequest, deps: Deps, desk: Desk, result_id: FromPath[str]) -> Response[Any]:
    """Take notice of a result that somebody was told of; what is missing is asked for on the same page."""
    entry = await asyncio.to_thread(find_entry, deps, result_id)
    form = await request.form()
    typed = {name: str(form.get(name, "")) for name in ("act_id", "reviewer", "read_back")}
    typed["reviewer"] = reviewer_of(request, typed["reviewer"])
    again = {"reviewer": typed["reviewer"]}
    try:
        asker = asker_of(request, typed["reviewer"])
        await desk.acknowledge(entry, Acknowledgement.model_validate(typed, strict=False), asker)
    except ValidationError as error:
        return await _again(request, deps, result_id, again, sentence_of(error), 400)
    except DecisionRefused as refused:
        return await _again(request, deps, result_id, again, refused.hint, refused.status)
    return Redirect(f"/results/{result_id}", status_code=303)


def _given(typed: dict[str, str]) -> dict[str, str]:
    """What the form says; fields of a rejection count only for one."""
    rejecting = typed["outcome"] == "rejected"
    kept = ("act_id", "report_version", "outcome", "reviewer", "undo_seconds")
    return {name: text for name, text in typed.items() if text and (rejecting or name in kept)}


def asker_of(request: AnyRequest, typed: str) -> Asker:
    visitor = visitor_of(request)
    return Asker(person_of(request, typed), address_of(request), visitor.identity if visitor else None)


async def _again(
    request: AnyRequest, deps: InboxDeps, result_id: str, typed: dict[str, str], sentence: str, status: int
) -> Template:
    look = looking(request, "result-opened", typed.get("reviewer", ""))
    entry = await asyncio.to_thread(view_entry, deps, result_id, look)
    return _page(deps, entry, typed, sentence, status)


def _page(deps: InboxDeps, entry: Entry, typed: dict[str, str], sentence: str, status: int) -> Template:
    """The act's id is made with the page, so that sending its form twice is one decision."""
    context = {
        "view": result_page(entry, deps.clock()),
        "typed": typed,
        "problem": sentence,
        "act_id": typed.get("act_id") or str(uuid.uuid4()),
        "undo_seconds": deps.undo_seconds,
        "acknowledge_id": str(uuid.uuid4()),
        "reasons": REASONS,
        "read_backs": READ_BACKS,
        "seq": deps.reader.last_seq(),
    }
    return Template("result.html", context=context, status_code=status)


@get("/results/{result_id:str}/evidence/{number:int}/{which:str}", sync_to_thread=True)
def evidence(
    request: AnyRequest,
    deps: Deps,
    result_id: FromPath[str],
    number: FromPath[int],
    which: FromPath[Literal["current", "prior"]],
) -> Response[bytes]:
    """A slice as PNG: only one that this very result shows."""
    images = find_entry(deps, result_id).result.reading.evidence
    if not 1 <= number <= len(images):
        raise NotFoundException
    image = images[number - 1]
    digest = image.png_digest if which == "current" else image.prior_png_digest
    if digest is None:
        raise NotFoundException
    view_entry(deps, result_id, looking(request, "picture-read", part=f"evidence {number} {which}"))
    try:
        return Response(deps.objects.get(digest), media_type="image/png")
    except PermanentFailure as gone:
        raise NotFoundException from gone


@get("/events")
async def events(
    request: AnyRequest, feed: Feed, since: Annotated[int | None, QueryParameter(ge=0, le=MAX_SEQ)] = None
) -> ServerSentEvent:
    """The change feed, from where the page has left off."""
    client = client_of(request)
    require_room(feed, client)
    last = request.headers.get("last-event-id", "")
    known = bool(re.fullmatch("[0-9]{1,18}", last))
    until = time.monotonic() + STREAM_SECONDS if visitor_of(request) else None
    return ServerSentEvent(_messages(feed, int(last) if known else since, until, client))


async def _messages(
    feed: ChangeFeed, since: int | None, until: float | None, client: str
) -> AsyncIterator[ServerSentEventMessage]:
    """Ends at `until`: the page then asks anew, and is turned away if its login is over."""
    async for message in feed.follow(since, client):
        if until is not None and time.monotonic() > until:
            return
        yield ServerSentEventMessage(event=message.event, data=message.data, id=message.id, retry=RETRY_MS)


HANDLERS: list[BaseRouteHandler] = [list_page, show_result, review, undo, acknowledge, evidence, events]
