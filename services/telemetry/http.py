"""HTTP to the servers around us, each request one span that its server can go on with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import httpx

from schemas.telemetry import traces


class TracedClient(httpx.Client):
    """An `httpx.Client` that sends `traceparent`. A span's name is the server's part; paths hold identifiers, so that only those in `operations`,
    which are the same for every patient, are told by a word."""

    def __init__(
        self, part: Literal["fhir", "dicomweb", "model"], operations: Mapping[str, str] | None = None, **given: Any
    ) -> None:
        super().__init__(**given)
        self._part: Literal["fhir", "dicomweb", "model"] = part
        self._operations = operations or {}

    def send(self, request: httpx.Request, **given: Any) -> httpx.Response:
        """The span ends when the answer's head is there, or with its body where that is read at once."""
        operation = self._operations.get(request.url.path, "other")
        with traces.span(self._part, "client", method=request.method, operation=operation) as span:
            if (current := traces.traceparent()) is not None:
                request.headers[traces.TRACEPARENT] = current
            response = super().send(request, **given)
            span.note(status=response.status_code)
            return response
