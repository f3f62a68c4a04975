"""Traces: what travels, what a span may hold, what leaves for the collector, and that none of it can hurt the work."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import StatusCode

from schemas.errors import PartUnavailable, PermanentFailure
from schemas.telemetry import otlp, traces
from schemas.telemetry.fields import NAMES
from schemas.telemetry.traces import FinishedSpan, TraceContext, parse, span, within
from services.settings import Settings
from services.telemetry.http import TracedClient
from services.telemetry.process import traced
from tests.collector import collecting

ROOT = Path(__file__).parents[2]
TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SECRET = "DOE^JANE 1.2.840.113619"
KEY = "11111111-2222-4333-8444-555555555555"


@pytest.fixture
def recorded() -> Iterator[list[FinishedSpan]]:
    kept: list[FinishedSpan] = []
    traces.record_to(kept.append)
    yield kept
    traces.record_to(None)


# -- traceparent -----------------------------------------------------------------------------------------------------------------


def test_a_traceparent_is_read_and_written_as_the_recommendation_says() -> None:
    for text, sampled in ((f"00-{TRACE}-{CALLER}-01", True), (f"00-{TRACE}-{CALLER}-00", False)):
        context = parse(text)
        assert context == TraceContext(TRACE, CALLER, sampled)
        assert str(context) == text
    assert parse(f"01-{TRACE}-{CALLER}-09-of-a-later-version") == TraceContext(TRACE, CALLER, True)


@pytest.mark.parametrize(
    "broken",
    [
        None,
        7,
        "",
        f"ff-{TRACE}-{CALLER}-01",
        f"00-{'0' * 32}-{CALLER}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{CALLER}-01",
        f"00-{TRACE}-{CALLER}-01-more",
        f"00-{TRACE}-{CALLER}-01\n",
        f"00-{TRACE}-{CALLER}",
    ],
)
def test_a_broken_traceparent_is_not_passed_on(broken: object) -> None:
    assert parse(broken) is None


@given(
    st.one_of(
        st.text(), st.binary(), st.from_regex(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", fullmatch=True)
    )
)
def test_what_is_read_can_be_written_and_read_again(text: object) -> None:
    context = parse(text)
    assert context is None or parse(str(context)) == context


# -- spans ---------------------------------------------------------------------------------------------------------------------


def test_without_a_recorder_the_callers_trace_goes_on_unchanged() -> None:
    with within(TraceContext(TRACE, CALLER)), span("fhir", "client", method="GET") as running:
        running.note(status=200)
        assert traces.traceparent() == f"00-{TRACE}-{CALLER}-01"
    assert traces.traceparent() is None


def test_spans_are_nested_and_one_without_a_parent_begins_a_trace(recorded: list[FinishedSpan]) -> None:
    with (
        within(TraceContext(TRACE, CALLER)),
        span("activity", activity="write_result", study_key=KEY),
        span("fhir", "client"),
    ):
        pass
    with span("take-event", "consumer"):
        pass
    inner, outer, first = recorded
    assert (outer.context.trace_id, outer.parent) == (TRACE, TraceContext(TRACE, CALLER))
    assert inner.parent == outer.context
    assert outer.fields == {"activity": "write_result", "study_key": KEY}
    assert first.parent is None
    assert first.context.trace_id != TRACE


def test_what_the_hospital_does_not_sample_is_passed_on_and_not_recorded(recorded: list[FinishedSpan]) -> None:
    with within(TraceContext(TRACE, CALLER, sampled=False)), span("fhir", "client"):
        assert str(traces.traceparent()).endswith("-00")
    assert recorded == []


@pytest.mark.parametrize(
    ("error", "told"),
    [(PermanentFailure("fhir-not-found", SECRET), "fhir-not-found"), (ValueError(SECRET), "ValueError")],
)
def test_a_failure_is_a_code_or_a_class(recorded: list[FinishedSpan], error: Exception, told: str) -> None:
    with pytest.raises(type(error)), span("activity", activity="ask_model"):
        raise error
    assert recorded[0].failed == told
    assert SECRET not in str(recorded[0])


def test_a_recorder_that_fails_does_not_hurt_the_work() -> None:
    def broken(_: FinishedSpan) -> None:
        raise RuntimeError

    traces.record_to(broken)
    try:
        with span("activity"):
            done = True
    finally:
        traces.record_to(None)
    assert done


def test_a_request_carries_the_span_and_never_tells_its_path(recorded: list[FinishedSpan]) -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(404 if "Patient" in request.url.path else 200)

    with (
        TracedClient("fhir", {"/fhir": "transaction"}, transport=httpx.MockTransport(answer)) as client,
        within(TraceContext(TRACE, CALLER)),
    ):
        client.get(f"http://fhir/fhir/Patient?name={SECRET}")
        client.post("http://fhir/fhir", content=b"{}")
    read, posted = recorded
    assert [request.headers["traceparent"] for request in seen] == [str(read.context), str(posted.context)]
    assert read.fields == {"operation": "other", "method": "GET", "status": 404}
    assert posted.fields == {"operation": "transaction", "method": "POST", "status": 200}


# -- what leaves -----------------------------------------------------------------------------------------------------------------


class Kept(SpanExporter):
    def __init__(self) -> None:
        self.spans: list[Any] = []

    def export(self, spans: Any) -> SpanExportResult:
        self.spans += spans
        return SpanExportResult.SUCCESS


ATTRIBUTES = st.dictionaries(
    st.one_of(
        st.sampled_from([otlp.PREFIX + name for name in NAMES]), st.text(min_size=1), st.just("gen_ai.request.id")
    ),
    st.one_of(
        st.sampled_from([SECRET, "ok", KEY]), st.text(), st.integers(-(2**62), 2**62), st.floats(), st.booleans()
    ),
    max_size=8,
)


@given(
    name=st.sampled_from(["activity", "fhir", "llm_request", SECRET, f"GET /Patient/{SECRET}"]), attributes=ATTRIBUTES
)
def test_whoever_made_a_span_nothing_leaves_that_has_no_place_in_the_list(
    name: str, attributes: dict[str, Any]
) -> None:
    """A library's span with an event, a recorded exception, a status with words, a resource that names the machine."""
    kept = Kept()
    provider = TracerProvider(resource=Resource({"service.name": "x", "host.name": SECRET}), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(otlp.Filtering(kept)))
    made = provider.get_tracer(SECRET).start_span(name, attributes=attributes)
    made.add_event(SECRET, {"exception.message": SECRET})
    made.record_exception(ValueError(SECRET))
    made.set_status(StatusCode.ERROR, SECRET)
    made.end()
    assert [each.name.partition(" ")[0] for each in kept.spans] == [name] * (SECRET not in name)
    for each in kept.spans:
        assert SECRET not in each.to_json()
        assert each.events == ()
        assert set(each.resource.attributes) <= {"service.name", "service.version"}
        assert {key.removeprefix(otlp.PREFIX) for key in each.attributes if key.startswith(otlp.PREFIX)} <= set(NAMES)
        assert all(key.startswith(otlp.PREFIX) or otlp.ENGINE_FIELDS.fullmatch(key) for key in each.attributes)


def test_spans_reach_a_collector_and_the_last_ones_too() -> None:
    with collecting() as collector, traced(Settings(traces_url=collector.url), "worker"):
        with within(TraceContext(TRACE, CALLER)), span("activity", activity="ask_model", attempt=2):
            pass
        with pytest.raises(PermanentFailure), span("model", "client"):
            raise PermanentFailure("model-refused", SECRET)
    answered, refused = collector.spans
    assert (answered.service, answered.name, answered.trace, answered.parent) == (
        "longview-worker", "activity ask_model", TRACE, CALLER,
    )  # fmt: skip
    assert answered.attributes == {"longview.activity": "ask_model", "longview.attempt": 2}
    assert (refused.error, refused.attributes) == (True, {"longview.code": "model-refused"})
    assert SECRET.encode() not in b"".join(collector.bodies)
    assert not traces.is_recording()


@pytest.mark.parametrize("status", [0, 400, 503])
def test_a_collector_that_is_away_or_refuses_costs_a_line_and_nothing_else(
    status: int, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """0: nobody listens. The work goes on at once; the end of the process waits for a few seconds at most; no address is logged."""
    monkeypatch.setattr(otlp, "EXPORT_SECONDS", 0.5)
    with collecting() as collector:
        collector.status = status
        url = collector.url if status else "http://127.0.0.1:9/v1/traces"
        with traced(Settings(traces_url=url), "worker"):
            began = time.monotonic()
            for _ in range(3):
                with span("activity", activity="ask_model"):
                    pass
            worked = time.monotonic() - began
        ended = time.monotonic() - began
    assert worked < 1
    assert ended < otlp.CLOSE_SECONDS + 10
    ours = [record.msg for record in caplog.records if record.levelno >= logging.WARNING]
    assert ours == ["traces-not-taken"]
    assert "127.0.0.1" not in caplog.text


def test_off_means_off() -> None:
    """No setting: nothing is recorded. That nothing of OpenTelemetry is loaded then is told by `test_heavy_imports.py`."""
    with traced(Settings(), "worker"), span("activity", activity="ask_model"):
        assert not traces.is_recording()


def test_an_address_that_is_none_is_refused_by_name() -> None:
    for changed, variable in (({"traces_url": "collector:4318"}, "TRACES_URL"), ({"log_format": "xml"}, "LOG_FORMAT")):
        with pytest.raises(PartUnavailable, match=variable):
            Settings(**changed)
