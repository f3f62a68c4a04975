"""Traces: which one is current, and spans that hold nothing but fields of the list.

The context travels as `traceparent` (W3C Trace Context, level 1): in an event's `ce_traceparent`, in Temporal's headers, in HTTP requests. It is
passed on whether or not this process records spans. Without a recorder a span costs a look at one variable, and nothing of OpenTelemetry is imported.
An exception is recorded by its class and, if it is one of ours, by its code; its text and its stack never.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Literal, NamedTuple, Protocol, Unpack

from schemas.errors import LongviewError
from schemas.telemetry.fields import Fields, Value, allowed

TRACEPARENT = "traceparent"
Kind = Literal["internal", "server", "client", "producer", "consumer"]
Name = Literal[
    "take-event",  # the gateway, from the record to Temporal
    "patient-event",  # the patient's entity, from the event to the study
    "tell-study",
    "study-event",  # the study's workflow, from the event to the end of what it asks for
    "activity",  # one attempt of a step
    "fhir",
    "dicomweb",
    "model",
    "answer",  # the model server, from the request to the answer
    "publish",  # the outbox, from the row to the bus
    "review",  # a human's act, from the inbox to the workflow's answer
]
"""Names are fixed: a path of a URL would hold identifiers."""
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


class TraceContext(NamedTuple):
    """Hexadecimal ids as on the wire: 32 digits of the trace, 16 of the span."""

    trace_id: str
    span_id: str
    sampled: bool = True

    def __str__(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"

    def child(self, span_id: str) -> TraceContext:
        return self._replace(span_id=span_id)


class FinishedSpan(NamedTuple):
    """Times are nanoseconds since 1970; `failed` is a code or the name of a class."""

    name: Name
    kind: Kind
    context: TraceContext
    parent: TraceContext | None
    start: int
    end: int
    fields: Mapping[str, Value]
    failed: str | None


class Recorder(Protocol):
    def __call__(self, span: FinishedSpan) -> None: ...


class _Process:
    """What this process does with its spans."""

    recorder: Recorder | None = None


_current: ContextVar[TraceContext | None] = ContextVar("longview_trace", default=None)


def record_to(recorder: Recorder | None) -> None:
    """From now on spans go to `recorder`; None: nowhere."""
    _Process.recorder = recorder


def is_recording() -> bool:
    return _Process.recorder is not None


def record(span: FinishedSpan) -> None:
    """Hand on a span whose trace is sampled; nothing that goes wrong with it may hurt the work."""
    if _Process.recorder is not None and span.context.sampled:
        with suppress(Exception):
            _Process.recorder(span)


def current() -> TraceContext | None:
    return _current.get()


def traceparent() -> str | None:
    """The current context as it travels; None if there is none."""
    context = _current.get()
    return str(context) if context is not None else None


def parse(value: object) -> TraceContext | None:
    """None for what is no `traceparent`: a broken one is not passed on (W3C Trace Context 4.3)."""
    match = _TRACEPARENT.fullmatch(value) if isinstance(value, str) else None
    if match is None or not match[1].strip("0") or not match[2].strip("0"):
        return None
    if match[4] is not None and str(value).startswith("00"):
        return None
    return TraceContext(match[1], match[2], bool(int(match[3], 16) & 1))


@contextmanager
def within(context: TraceContext | None) -> Iterator[None]:
    """`context` is the current one inside the block."""
    token = _current.set(context)
    try:
        yield
    finally:
        with suppress(ValueError):  # of a workflow that was put out of memory: it is closed in another context
            _current.reset(token)


class Span:
    """A span that runs; `note` adds fields to it."""

    def __init__(self, given: Mapping[str, object]) -> None:
        self._given = dict(given)

    def note(self, **given: Unpack[Fields]) -> None:
        self._given |= given

    @property
    def fields(self) -> dict[str, Value]:
        return allowed(self._given)


@contextmanager
def span(name: Name, kind: Kind = "internal", **given: Unpack[Fields]) -> Iterator[Span]:
    """A child of the current span, or the first of a new trace; it is the current one inside the block."""
    running = Span(given)
    if _Process.recorder is None:
        yield running
        return
    parent = _current.get()
    context = parent.child(_span_id()) if parent else TraceContext(secrets.token_hex(16), _span_id())
    start, failed = time.time_ns(), None
    try:
        with within(context):
            yield running
    except Exception as error:
        failed = failure(error)
        raise
    finally:
        record(FinishedSpan(name, kind, context, parent, start, time.time_ns(), running.fields, failed))


def failure(error: BaseException) -> str:
    """Our code, or the exception's class."""
    code = error.code if isinstance(error, LongviewError) else getattr(error, "type", None)
    return code if isinstance(code, str) and code else type(error).__name__


def _span_id() -> str:
    return secrets.token_hex(8)


def derived_span_id(*parts: str) -> str:
    """The same parts give the same id: a workflow that is replayed names its span as it did before."""
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:16]
