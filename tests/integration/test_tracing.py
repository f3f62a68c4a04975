"""One study under one trace, from the header of the hospital's event to the event that tells of the result, as the hospital's collector sees it."""

from __future__ import annotations

import asyncio
import itertools
import json
import uuid
from contextlib import suppress
from dataclasses import replace

import pytest

from schemas.events import (
    OBSERVATION_AVAILABLE,
    OBSERVATION_TOPIC,
    RESULT_AVAILABLE,
    RESULT_REVIEWED,
    RESULT_TOPIC,
    STUDY_TOPIC,
    CloudEvent,
    dataschema,
    now_rfc3339,
)
from schemas.report import ReviewAct
from schemas.telemetry import traces
from schemas.telemetry.fields import NAMES, WITHHELD
from schemas.telemetry.otlp import PREFIX
from schemas.telemetry.traces import TraceContext
from services.clients.kafka import Consumer
from services.demo.publish import study_event
from services.demo.subject import Subject
from services.operate import list_runs
from tests.collector import Collector, Seen
from tests.integration.identifiers import named_in, secrets
from tests.integration.journeys import decide, phantom, uid_of
from tests.integration.system import System, until

pytestmark = pytest.mark.integration
STEPS = [
    "gather_timeline",
    "take_inventory",
    "fetch_study",
    "fetch_prior",
    "ask_model",
    "check_answer",
    "integrate_history",
    "build_result",
    "write_result",
    "create_inbox_entry",
]
OURS = {"time", "level", "logger", "event", "trace_id", "span_id", *NAMES}


@pytest.fixture(scope="module")
def collector(quick_traces: Collector) -> Collector:
    return quick_traces


@pytest.fixture(scope="module")
def traced(quick: System) -> System:
    """Other tests used it before: what never may be said, they have not brought it to say either."""
    return quick


def new_trace() -> TraceContext:
    """As a hospital's bus begins one."""
    return TraceContext(uuid.uuid4().hex, uuid.uuid4().hex[:16])


def announce(system: System, subject: Subject, trace: TraceContext) -> str:
    """The study's workflow id."""
    study = system.archive.find_study(uid_of(subject))
    event = study_event(system.settings, study, subject.patient).model_copy(update={"traceparent": str(trace)})
    system.publish(STUDY_TOPIC, event)
    return f"study-{event.partitionkey}"


def outgoing(system: System, kind: str, trace: TraceContext) -> dict[str, str]:
    """The headers of the event of this kind and trace, read from the bus as a hospital's consumer does."""
    consumer = Consumer(system.settings.kafka_bootstrap, f"test-{uuid.uuid4()}", (RESULT_TOPIC,))

    def found() -> dict[str, str] | None:
        for record in consumer.poll(500):
            headers = {name: value.decode() for name, value in record.headers}
            if headers["ce_type"] == kind and trace.trace_id in headers.get("ce_traceparent", ""):
                return headers
        return None

    try:
        return until(found, kind)
    finally:
        consumer.close()


def spans_of(collector: Collector, trace: TraceContext, *needed: str) -> list[Seen]:
    """The trace's spans, oldest first, once all that are needed have come."""

    def missing() -> set[str]:
        return set(needed) - {span.name for span in collector.of(trace.trace_id)}

    with suppress(AssertionError):
        until(lambda: not missing() or None, "spans")
    assert not missing(), sorted({span.name for span in collector.of(trace.trace_id)})
    return sorted(collector.of(trace.trace_id), key=lambda span: span.start)


@pytest.fixture(scope="module")
def study(traced: System) -> tuple[Subject, TraceContext, str]:
    """One study, read under the hospital's trace."""
    subject, trace = phantom(traced), new_trace()
    traced.load(subject)
    workflow = announce(traced, subject, trace)
    traced.result(workflow)
    return subject, trace, workflow


@pytest.fixture(scope="module")
def failing(traced: System) -> tuple[Subject, TraceContext]:
    """A study that is announced under a patient whom FHIR does not know."""
    subject, trace = phantom(traced), new_trace()
    traced.load(subject)
    announce(traced, replace(subject, patient="Patient/not-this-one"), trace)
    traced.failed_run(traced.settings.namespace.study_key(uid_of(subject)))
    return subject, trace


def test_one_trace_from_the_buss_header_to_the_outgoing_event(
    traced: System, collector: Collector, study: tuple[Subject, TraceContext, str]
) -> None:
    _, trace, workflow = study
    result = outgoing(traced, RESULT_AVAILABLE, trace)
    spans = spans_of(collector, trace, "study-event", "publish", "activity create_inbox_entry")
    by_id = {span.id: span for span in spans}

    def above(span: Seen) -> list[str]:
        parent = by_id.get(span.parent)
        return [*above(parent), span.name] if parent else [span.name]

    [taken] = [span for span in spans if span.name == "take-event"]
    assert (taken.parent, taken.service) == (trace.span_id, "longview-gateway")
    [entity], [reading] = ([span for span in spans if span.name == name] for name in ("patient-event", "study-event"))
    assert above(entity) == ["take-event", "patient-event"]
    assert above(reading) == ["take-event", "patient-event", "tell-study", "study-event"]
    steps = [span for span in spans if span.parent == reading.id and span.name.startswith("activity")]
    assert [span.name.removeprefix("activity ") for span in steps if "shadow" not in span.name][:10] == STEPS
    assert {span.service for span in steps} == {"longview-worker"}
    assert all(reading.start <= span.start and span.end <= reading.end + 10**9 for span in steps)
    asked = [above(span) for span in spans if span.service == "longview-scripted-model"]
    assert [path[-3:] for path in asked] == [
        ["activity ask_model", "model", "answer"], ["activity integrate_history", "model", "answer"],
    ]  # fmt: skip
    [posted] = [
        span for span in spans
        if span.name == "fhir" and span.attributes[PREFIX + "method"] == "POST" and by_id[span.parent].name == "activity write_result"
    ]  # fmt: skip
    assert (posted.attributes[PREFIX + "operation"], posted.attributes[PREFIX + "status"]) == ("transaction", 200)
    [entry] = traced.inbox_entries(uid_of(study[0]))
    assert by_id[posted.parent].attributes[PREFIX + "result_id"] == entry[0]
    assert by_id[posted.parent].attributes[PREFIX + "workflow_id"] == workflow
    assert any(span.name == "dicomweb" and above(span)[-2] == "activity fetch_study" for span in spans)
    told = traces.parse(result["ce_traceparent"])
    assert told is not None
    assert (told.trace_id, by_id[told.span_id].name) == (trace.trace_id, "activity create_inbox_entry")
    [sent] = [span for span in spans if span.name == "publish"]
    assert (sent.parent, sent.service) == (told.span_id, "longview-gateway")
    assert not any(span.error for span in spans)


def test_an_operator_finds_the_trace_of_a_run(traced: System, study: tuple[Subject, TraceContext, str]) -> None:
    key = study[2].removeprefix("study-")
    [run] = [run for run in list_runs(traced.settings) if run["study_key"] == key]
    assert run["trace_id"] == study[1].trace_id


def test_what_comes_later_has_a_trace_of_its_own_and_the_reviewers_act_too(
    traced: System, collector: Collector, study: tuple[Subject, TraceContext, str]
) -> None:
    """An observation is told to the running workflow by signal, through an entity that began under another trace; then a human decides."""
    subject, first, workflow = study
    lab, review = new_trace(), new_trace()
    space = traced.settings.namespace
    event = CloudEvent(
        id=space.event_id(OBSERVATION_AVAILABLE, "Observation/traced"),
        source="urn:longview:hospital:lab",
        type=OBSERVATION_AVAILABLE,
        subject="observation/traced",
        time=now_rfc3339(),
        dataschema=dataschema(space.base, OBSERVATION_AVAILABLE),
        partitionkey=space.patient_key(subject.patient),
        tenant=space.tenant,
        traceparent=str(lab),
        data={
            "observation": "Observation/not-there",
            "patient": subject.patient,
            "status": "final",
            "source": {"kind": "fhir-subscription", "messageId": "1"},
        },
    )
    traced.publish(OBSERVATION_TOPIC, event)
    spans = spans_of(collector, lab, "patient-event", "study-event", "activity assess_history")
    names = {span.id: span.name for span in spans}
    [assessed] = [span for span in spans if span.name == "activity assess_history"]
    assert names[assessed.parent] == "study-event"
    [entry] = traced.inbox_entries(uid_of(subject))
    progress = traced.progress(workflow)
    assert progress is not None
    assert progress.written is not None
    act = ReviewAct(
        act_id=str(uuid.uuid4()), result_id=entry[0], report_version=progress.written.report, outcome="accepted",
        reviewer="Dr. Traced", at=now_rfc3339(),
    )  # fmt: skip
    with traces.within(review):
        asyncio.run(decide(traced, workflow, act))
    spans = spans_of(collector, review, "activity write_review", "activity record_review", "publish")
    assert outgoing(traced, RESULT_REVIEWED, review)["ce_type"] == RESULT_REVIEWED
    assert first.trace_id not in {span.trace for span in spans}


def test_a_failed_step_is_marked_with_its_code_and_nothing_of_its_text(
    traced: System, collector: Collector, failing: tuple[Subject, TraceContext]
) -> None:
    subject, trace = failing
    spans = spans_of(collector, trace, "activity gather_timeline", "activity record_failure")
    [failed] = [span for span in spans if span.name == "activity gather_timeline"]
    assert failed.error
    assert (
        failed.attributes[PREFIX + "code"]
        == traced.failed_run(traced.settings.namespace.study_key(uid_of(subject))).code
    )
    assert "not-this-one" not in str(spans)


def test_nothing_that_left_names_a_patient_or_has_no_place_in_the_list(
    traced: System, collector: Collector, study: tuple[Subject, TraceContext, str]
) -> None:
    known = secrets(study[0])
    assert len(known) > 120
    sent = b"".join(collector.bodies)
    assert {secret for secret in known if secret.encode() in sent} == set()
    allowed = {PREFIX + name for name in NAMES}
    assert {name for span in collector.spans for name in span.attributes} <= allowed
    assert WITHHELD not in {value for span in collector.spans for value in span.attributes.values()}
    assert {name for resource in collector.resources for name in resource} == {"service.name", "service.version"}
    assert [span for span in collector.spans if span.events or span.described] == []


def test_the_log_is_json_with_fields_of_the_list_and_the_trace(
    traced: System, study: tuple[Subject, TraceContext, str], failing: tuple[Subject, TraceContext]
) -> None:
    known, trace = secrets(study[0]), study[1].trace_id
    lines = {}
    for part in ("gateway", "worker", "inbox", "archive"):
        text = (traced.logs / f"{part}.log").read_text()
        lines[part] = [json.loads(line) for line in text.splitlines()]
        assert named_in(text, known) == set()
    for line in itertools.chain(*lines.values()):
        assert set(line) <= OURS
    assert [line["event"] for line in lines["gateway"] if line.get("trace_id") == trace] == ["event-taken"]
    [failed] = [
        line
        for line in lines["worker"]
        if (line["event"], line.get("trace_id")) == ("step-failed", failing[1].trace_id)
    ]
    assert (failed["activity"], failed["logger"]) == ("gather_timeline", "services.worker.interceptor")
