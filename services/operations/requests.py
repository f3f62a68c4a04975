"""Requests to other servers, counted: an `httpx.Client` that records how long each took and how it ended. Neither a path nor a host is recorded."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Literal

import httpx

from services.operations.meter import observe
from services.telemetry.http import TracedClient

Kind = Callable[[httpx.Request], str]
"""From a request to one of the kinds in the list of metrics."""


class MeasuredClient(TracedClient):
    """A `TracedClient` that is measured as well. `server` (the part, unless given) and what `kind` says are labels of `longview_request_seconds`."""

    def __init__(
        self,
        part: Literal["fhir", "dicomweb", "model"],
        kind: Kind,
        operations: Mapping[str, str] | None = None,
        *,
        server: str = "",
        **given: Any,
    ) -> None:
        super().__init__(part, operations, **given)
        self._server = server or part
        self._kind = kind

    def send(self, request: httpx.Request, **given: Any) -> httpx.Response:
        start, outcome = time.monotonic(), "unreachable"
        try:
            response = super().send(request, **given)
            outcome = _outcome(response.status_code)
            return response
        except httpx.TimeoutException:
            outcome = "timeout"
            raise
        finally:
            labels = {"server": self._server, "kind": self._kind(request), "outcome": outcome}
            observe("longview_request_seconds", time.monotonic() - start, **labels)


def _outcome(status: int) -> str:
    if status < 400:
        return "ok"
    return "broken" if status >= 500 or status == 429 else "refused"


def kind_of_fhir(request: httpx.Request) -> str:
    """A search has parameters, its next pages too; a read has none. `look` is the CapabilityStatement."""
    if request.method != "GET":
        return "write"
    if request.url.path.endswith("/metadata"):
        return "look"
    return "search" if request.url.query else "read"


def kind_of_dicomweb(request: httpx.Request) -> str:
    """QIDO-RS (PS3.18 10.6) ends in the name of a level; WADO-RS (10.4) in a UID, `metadata` or numbers of frames; STOW-RS (10.5) posts."""
    if request.method != "GET":
        return "store"
    return "search" if request.url.path.rsplit("/", 1)[-1] in ("studies", "series", "instances") else "retrieve"


def kind_of_model(request: httpx.Request) -> str:
    return "ask" if request.method == "POST" else "look"
