"""The events that a run publishes (contract 4): references and codes, never values or text."""

from __future__ import annotations

from collections.abc import Mapping

from schemas.events import (
    RESULT_AVAILABLE,
    RESULT_ESCALATED,
    RESULT_REVIEWED,
    RUN_FAILED,
    CloudEvent,
    dataschema,
    now_rfc3339,
)
from schemas.identifiers import Namespace, without_version
from schemas.inbox import InboxResult, ReviewRecorded
from schemas.lifecycle import CloseResult, EscalationExhausted, NotifyStep, RecordAcknowledgement, ResultClosed
from schemas.runs import ReviewWritten, RunFailure
from schemas.telemetry import traces


def _event(
    ns: Namespace,
    source: str,
    kind: str,
    fact: str,
    study_key: str,
    thread: str,
    cause: str | None,
    data: Mapping[str, object],
) -> CloudEvent:
    return CloudEvent(
        id=ns.event_id(kind, fact),
        source=source,
        type=kind,
        subject=f"study/{study_key}",
        time=now_rfc3339(),
        dataschema=dataschema(ns.base, kind),
        partitionkey=study_key,
        tenant=ns.tenant,
        causationid=cause,
        correlationid=thread,
        traceparent=traces.traceparent(),
        data={name: value for name, value in data.items() if value is not None},
    )


def result_available(ns: Namespace, source: str, cause: str, result: InboxResult) -> CloudEvent:
    data = {
        "resultId": result.result_id,
        "threadId": result.thread_id,
        "diagnosticReport": result.report,
        "reviewTask": without_version(result.task),
        "patient": without_version(result.patient.resource),
        "studyInstanceUid": result.study.study_instance_uid,
        "release": result.release_id,
        "status": "partial",
        "priority": result.priority,
        "acknowledgeBy": result.acknowledge_by,
        "supersedes": result.supersedes,
        "raised": _raised(result),
    }
    return _event(ns, source, RESULT_AVAILABLE, result.result_id, result.study_key, result.thread_id, cause, data)


def _raised(result: InboxResult) -> dict[str, str] | None:
    """Why the result is more urgent than its order, in codes."""
    raised = result.raised
    if raised is None:
        return None
    return {
        "orderPriority": result.order_priority or result.priority,
        "finding": raised.finding,
        "likelihood": raised.likelihood,
        "criticalList": raised.critical_list,
    }


def result_reviewed(
    ns: Namespace, source: str, study_key: str, thread: str, review: ReviewRecorded, written: ReviewWritten
) -> CloudEvent:
    data = {
        "resultId": review.result_id,
        "threadId": thread,
        "outcome": review.outcome,
        "diagnosticReport": written.report,
        "provenance": without_version(written.provenance),
        "at": review.at,
    }
    return _event(ns, source, RESULT_REVIEWED, review.act_id, study_key, thread, None, data)


def result_closed(
    ns: Namespace, source: str, close: CloseResult, closed: ResultClosed, final: str | None
) -> CloudEvent:
    """A result that the system has closed; `final` is the radiologist's report as it was read, where one supersedes it."""
    superseded = close.reason == "superseded-by-final-report"
    data = {
        "resultId": closed.result_id,
        "threadId": close.thread_id,
        "outcome": close.reason if superseded else "withdrawn",
        "diagnosticReport": closed.report,
        "provenance": without_version(closed.provenance),
        "finalReport": final,
        "at": close.at,
    }
    fact = f"{close.act_id}|{closed.result_id}"
    return _event(ns, source, RESULT_REVIEWED, fact, close.study_key, close.thread_id, None, data)


def result_escalated(ns: Namespace, source: str, told: NotifyStep, communication: str, task: str) -> CloudEvent:
    """A step beyond the first was told."""
    data = _escalation(told.result_id, told.step.number, told.policy, told.due_at, communication, task)
    fact = f"{told.result_id}|{told.step.number}"
    return _event(ns, source, RESULT_ESCALATED, fact, told.study_key, told.thread_id, None, data)


def escalation_acknowledged(
    ns: Namespace, source: str, told: RecordAcknowledgement, communication: str, task: str
) -> CloudEvent:
    """A human answered a step beyond the first."""
    act = told.act
    data = _escalation(act.result_id, told.step, told.policy, told.deadline, communication, task)
    fact = f"{act.result_id}|{told.step}|acknowledged"
    data["acknowledgedAt"] = act.at
    return _event(ns, source, RESULT_ESCALATED, fact, told.study_key, told.thread_id, None, data)


def escalation_exhausted(
    ns: Namespace, source: str, told: EscalationExhausted, communication: str, task: str
) -> CloudEvent:
    """Nobody answered."""
    data = _escalation(told.result_id, told.step, told.policy, told.due_at, communication, task)
    fact = f"{told.result_id}|{told.step}|exhausted"
    data["exhausted"] = True
    return _event(ns, source, RESULT_ESCALATED, fact, told.study_key, told.thread_id, None, data)


def _escalation(
    result_id: str, step: int, policy: str, due_at: str, communication: str, task: str
) -> dict[str, object]:
    return {
        "resultId": result_id,
        "reviewTask": without_version(task),
        "step": step,
        "policy": policy,
        "dueAt": due_at,
        "communication": without_version(communication),
        "exhausted": False,
    }


def run_failed(ns: Namespace, source: str, failure: RunFailure) -> CloudEvent:
    data = {
        "threadId": failure.thread_id,
        "studyInstanceUid": failure.study_instance_uid,
        "stage": failure.stage,
        "code": failure.code,
        "retryable": failure.retryable,
        "attempts": failure.attempts,
        "reference": failure.run_id,
    }
    fact = f"{failure.run_id}|{failure.code}|{failure.attempts}"
    return _event(ns, source, RUN_FAILED, fact, failure.study_key, failure.thread_id, failure.event_id, dict(data))
