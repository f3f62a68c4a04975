"""The model server's traces: the front's spans, and vLLM's own span of each request, which goes on with the trace that the front passes to it.

vLLM would set up its own exporter, in every process, with paths of this machine among what it says. Its table of tracing backends is told to use ours
instead, which filters (`schemas.telemetry.otlp`); processes that vLLM starts beside this one record nothing.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import set_tracer_provider

from schemas.telemetry import otlp, traces

SERVICE = "longview-model-server"
ENDPOINT = "--otlp-traces-endpoint"


class ServerTraces:
    """Made before vLLM, which forks its engine; `sending` begins after the fork, because it needs a thread."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._version = importlib.metadata.version("longview")
        resource = otlp.resource_of(SERVICE, self._version)
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)

    def install(self) -> None:
        """Make vLLM's spans ours."""
        from vllm import tracing

        set_tracer_provider(self._provider)
        available, _, _, instrument, by_hand = tracing._REGISTERED_TRACING_BACKENDS["otel"]
        tracing._REGISTERED_TRACING_BACKENDS["otel"] = (available, self._tracer, _no_tracer, instrument, by_hand)

    def _tracer(self, module: str, endpoint: str, attributes: Any = None) -> Any:
        return self._provider.get_tracer(module)

    @contextmanager
    def sending(self) -> Iterator[None]:
        sent = otlp.start(self._url, SERVICE, self._version)
        self._provider.add_span_processor(sent.processor)
        traces.record_to(sent)
        try:
            yield
        finally:
            traces.record_to(None)
            sent.close()


def _no_tracer(*_: Any) -> None:
    """For the processes of the engine and of its workers."""
