"""Spans to a collector over OTLP/HTTP: in batches, from a thread of its own, without ever hurting the work.

What leaves is filtered a second time here, whoever made the span: fixed names, fields of the list, no events (which hold exceptions' texts), no
description of a status. Imported only by a process that sends traces, and before its first span: a workflow that imports anything is refused by its
sandbox.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from schemas.telemetry.fields import NAMES, allowed, fields
from schemas.telemetry.traces import FinishedSpan, Name, TraceContext

log = logging.getLogger(__name__)
PREFIX = "longview."
EXPORT_SECONDS = 3.0
"""How long a collector may take for a batch; a batch that it does not take is lost."""
CLOSE_SECONDS = 5.0
"""How long the end of the process waits for the last batch."""
COMPLAIN_SECONDS = 600.0
BATCH_MS = 1000
SCOPE = InstrumentationScope("longview")
SPAN_NAMES = frozenset(get_args(Name))
ENGINE_SPAN = "llm_request"
"""vLLM's span of one request; its others hold paths of this machine."""
ENGINE_FIELDS = re.compile(
    r"gen_ai\.(usage\.(prompt|completion)_tokens|latency\.[a-z_]{1,40}|request\.(max_tokens|temperature|top_p|n))"
)
"""Of vLLM's span, the numbers; its request id may be a caller's own words."""


class Traces:
    """Records spans of ours, and takes those that vLLM makes, until it is closed."""

    def __init__(self, exporter: SpanExporter, service: str, version: str) -> None:
        self.resource = resource_of(service, version)
        self.processor = BatchSpanProcessor(Filtering(exporter), schedule_delay_millis=BATCH_MS)

    def __call__(self, span: FinishedSpan) -> None:
        self.processor.on_end(_readable(span, self.resource))

    def close(self) -> None:
        """Send what waits, for a few seconds at most."""
        closing = threading.Thread(target=self.processor.shutdown, daemon=True)
        closing.start()
        closing.join(CLOSE_SECONDS)


def resource_of(service: str, version: str) -> Resource:
    return Resource({"service.name": service, "service.version": version})


def start(
    url: str, service: str, version: str, *, ca_file: str = "", client_cert: str = "", client_key: str = ""
) -> Traces:
    """Traces to the collector at `url`, the whole address of its traces endpoint."""
    for name in ("opentelemetry", "urllib3", "requests"):  # they would write the collector's address, every time
        logging.getLogger(name).setLevel(logging.CRITICAL)
    exporter = OTLPSpanExporter(
        endpoint=url,
        timeout=EXPORT_SECONDS,
        certificate_file=ca_file or None,
        client_certificate_file=client_cert or None,
        client_key_file=client_key or None,
    )
    return Traces(exporter, service, version)


class Filtering(SpanExporter):
    """Passes on what the list has a place for; of a collector that is away it complains now and then."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._complained = -COMPLAIN_SECONDS

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        left = [filtered for each in spans if (filtered := filter_span(each)) is not None]
        try:
            result = self._exporter.export(left) if left else SpanExportResult.SUCCESS
        except Exception:
            result = SpanExportResult.FAILURE
        if result is not SpanExportResult.SUCCESS and time.monotonic() - self._complained >= COMPLAIN_SECONDS:
            self._complained = time.monotonic()
            log.warning("traces-not-taken", extra=fields(count=len(left)))
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()


def filter_span(span: ReadableSpan) -> ReadableSpan | None:
    """The span with nothing in it but what is allowed; None if it is none of those that may leave."""
    name = span.name.partition(" ")[0]
    if name in SPAN_NAMES:
        kept = _ours(span.attributes or {})
    elif span.name == ENGINE_SPAN:
        kept = {key: value for key, value in (span.attributes or {}).items() if _is_number(key, value)}
    else:
        return None
    said = {key: span.resource.attributes[key] for key in _RESOURCE if key in span.resource.attributes}
    return _new_span(
        name=span.name if name not in SPAN_NAMES else _title(name, kept),
        context=span.context,
        parent=span.parent,
        resource=Resource(said),
        attributes=kept,
        kind=span.kind,
        status=Status(span.status.status_code),
        start_time=span.start_time,
        end_time=span.end_time,
    )


_RESOURCE = ("service.name", "service.version")


def _ours(attributes: Mapping[str, Any]) -> dict[str, Any]:
    given = {key.removeprefix(PREFIX): value for key, value in attributes.items() if key.startswith(PREFIX)}
    return {PREFIX + key: value for key, value in allowed({key: given[key] for key in NAMES if key in given}).items()}


def _is_number(key: str, value: object) -> bool:
    return bool(ENGINE_FIELDS.fullmatch(key)) and isinstance(value, int | float)


def _title(name: str, attributes: Mapping[str, Any]) -> str:
    """An activity is found by its own name."""
    activity = attributes.get(PREFIX + "activity")
    return f"{name} {activity}" if name == "activity" and activity else name


def _readable(span: FinishedSpan, resource: Any) -> ReadableSpan:
    given = dict(span.fields)
    if span.failed:
        given |= allowed({"code": span.failed} if span.failed[:1].islower() else {"error": span.failed})
    return _new_span(
        name=span.name,
        context=_context(span.context, remote=False),
        parent=_context(span.parent, remote=True) if span.parent else None,
        resource=resource,
        attributes={PREFIX + name: value for name, value in given.items()},
        kind=SpanKind[span.kind.upper()],
        status=Status(StatusCode.ERROR if span.failed else StatusCode.UNSET),
        start_time=span.start,
        end_time=max(span.start, span.end),
    )


def _new_span(**given: Any) -> ReadableSpan:
    return ReadableSpan(**given, instrumentation_scope=SCOPE)


def _context(context: TraceContext, *, remote: bool) -> Any:
    return SpanContext(
        int(context.trace_id, 16), int(context.span_id, 16), is_remote=remote, trace_flags=TraceFlags(context.sampled)
    )
