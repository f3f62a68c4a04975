"""The JSON API: the same results and the same decisions as on the pages, for other programs of the hospital."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from typing import Annotated, Any, TypeVar

from litestar import Response, get, head, post
from litestar.connection import Request
from litestar.exceptions import SerializationException
from litestar.handlers import BaseRouteHandler
from litestar.params import FromPath, QueryParameter
from pydantic import ValidationError

from schemas.imaging import MODALITIES_READ
from services.db import Entry
from services.db.reading import SHOWN
from services.inbox.access import looking, reader_of, reviewer_of
from services.inbox.deps import Deps, Desk, InboxDeps
from services.inbox.openapi import EITHER, NOT_DECIDED, NOT_TAKEN, TakesAcknowledgement, TakesDecision, answers
from services.inbox.pages import asker_of, find_entry, view_entry
from services.inbox.reviewing import Asker, DecisionRefused
from services.inbox.schemas import (
    Acknowledgement,
    Decision,
    EntryAnswer,
    ListingAnswer,
    entry_answer,
    listing_answer,
    sentence_of,
)
from services.inbox.security import USER_HEADER, require_named_user
from services.inbox.view import PRIORITIES, filter_of

AnyRequest = Request[Any, Any, Any]
MAX_PAGE = 500
MAX_OFFSET = 10_000_000
"""More results than an inbox will ever hold."""
Act = TypeVar("Act", Decision, Acknowledgement)
UNREADABLE = (TypeError, ValueError, SerializationException, RecursionError)
"""What a body raises that is no JSON object of the right form, or a cut or a bottomless one."""


@get("/health", sync_to_thread=True)
def health(deps: Deps) -> dict[str, str]:
    """200 while the database answers."""
    deps.reader.last_seq()
    return {"status": "ok"}


@head(["/", "/health"], sync_to_thread=True)
def is_there(deps: Deps) -> None:
    """What a load balancer or a monitor asks: answered like `/health`, and nothing counts as seen."""
    deps.reader.last_seq()


def _one_of(values: Iterable[str]) -> str:
    return f"^({'|'.join(values)})$"


@get("/api/results", sync_to_thread=True, include_in_schema=True, responses=answers(NOT_TAKEN))
def api_results(
    request: AnyRequest,
    deps: Deps,
    shown: Annotated[str, QueryParameter(pattern=_one_of(SHOWN))] = "open",
    modality: Annotated[str | None, QueryParameter(pattern=_one_of(MODALITIES_READ))] = None,
    priority: Annotated[str | None, QueryParameter(pattern=_one_of(PRIORITIES))] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=MAX_PAGE)] = 100,
    offset: Annotated[int, QueryParameter(ge=0, le=MAX_OFFSET)] = 0,
) -> ListingAnswer:
    """The list, most urgent first."""
    chosen = filter_of(shown, modality, priority)
    deps.lists.seen(request, chosen, offset // limit + 1)
    return listing_answer(
        deps.reader.list_entries(
            replace(chosen, limit=limit, offset=offset, reader=reader_of(request, request.headers.get(USER_HEADER, "")))
        )
    )


@get("/api/results/{result_id:str}", sync_to_thread=True, include_in_schema=True, responses=answers(NOT_TAKEN))
def api_result(request: AnyRequest, deps: Deps, result_id: FromPath[str]) -> EntryAnswer:
    """One result; reading it here does not mark it as opened."""
    look = looking(request, "result-read", request.headers.get(USER_HEADER, ""))
    return entry_answer(view_entry(deps, result_id, look))


@post(
    "/api/results/{result_id:str}/opened",
    guards=[require_named_user],
    status_code=204,
    include_in_schema=True,
    responses=answers(NOT_TAKEN),
    security=EITHER,
)
async def api_opened(request: AnyRequest, deps: Deps, result_id: FromPath[str]) -> None:
    """Say that a person has the result on the screen; a decision is taken only after that."""
    look = looking(request, "result-opened", request.headers.get(USER_HEADER, ""), opening=True)
    await asyncio.to_thread(view_entry, deps, result_id, look)


@post(
    "/api/results/{result_id:str}/review",
    guards=[require_named_user],
    status_code=200,
    include_in_schema=True,
    responses=answers(NOT_DECIDED),
    security=EITHER,
    operation_class=TakesDecision,
)
async def api_review(request: AnyRequest, deps: Deps, desk: Desk, result_id: FromPath[str]) -> Response[EntryAnswer]:
    """Accept or reject; the reviewer is whoever the token names, without a login the header's."""
    return await _act(request, deps, result_id, Decision, desk.decide, _no_decision)


@post(
    "/api/results/{result_id:str}/acknowledge",
    guards=[require_named_user],
    status_code=200,
    include_in_schema=True,
    responses=answers(NOT_DECIDED),
    security=EITHER,
    operation_class=TakesAcknowledgement,
)
async def api_acknowledge(
    request: AnyRequest, deps: Deps, desk: Desk, result_id: FromPath[str]
) -> Response[EntryAnswer]:
    """Say that a person has taken notice: the escalation stops, the decision may come later."""
    return await _act(request, deps, result_id, Acknowledgement, desk.acknowledge, _no_acknowledgement)


async def _act(
    request: AnyRequest,
    deps: InboxDeps,
    result_id: str,
    kind: type[Act],
    hand_on: Callable[[Entry, Act, Asker], Awaitable[None]],
    unreadable: Callable[[Exception], str],
) -> Response[Any]:
    """The body as an act of this kind by whoever asks, handed on; and the result as it stands afterwards."""
    entry = await asyncio.to_thread(find_entry, deps, result_id)
    try:
        reviewer = reviewer_of(request, request.headers.get(USER_HEADER, ""))
        body = dict(await request.json()) | {"reviewer": reviewer}
        await hand_on(entry, kind.model_validate(body, strict=False), asker_of(request, reviewer))
    except UNREADABLE as error:
        return _refused(unreadable(error))
    except DecisionRefused as refused:
        return _refused(refused.hint or "It was not recorded.", refused.status, refused.code)
    return Response(entry_answer(await asyncio.to_thread(find_entry, deps, result_id)))


def _no_decision(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return sentence_of(error)
    return "The decision is not a JSON object: send act_id, report_version and outcome."


def _no_acknowledgement(_: Exception) -> str:
    return "Send a JSON object with act_id (a UUID) and read_back."


def _refused(sentence: str, status: int = 400, code: str | None = None) -> Response[Any]:
    return Response({"detail": sentence} | ({"code": code} if code else {}), status_code=status)


HANDLERS: list[BaseRouteHandler] = [health, is_there, api_results, api_result, api_opened, api_review, api_acknowledge]
