"""The events that a run publishes (contract 4): references and codes, never values or text."""

from __future__ import annotations

from collections.abc import Mapping

from schemas.events import RESULT_AVAILABLE, RESULT_REVIEWED, RUN_FAILED, CloudEvent, dataschema, now_rfc3339
from schemas.identifiers import Namespace
from schemas.inbox import InboxResult, ReviewRecorded
from schemas.runs import ReviewWritten, RunFailure


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
        data={name: value for name, value in data.items() if value is not None},
    )


def result_available(ns: Namespace, source: str, cause: str, result: InboxResult) -> CloudEvent:
    data = {
        "resultId": result.result_id,
        "threadId": result.thread_id,
        "diagnosticReport": result.report,
        "reviewTask": result.task.split("/_history/")[0],
        "patient": result.patient.resource.split("/_history/")[0],
        "studyInstanceUid": result.study.study_instance_uid,
        "release": result.release_id,
        "status": "partial",
        "priority": result.priority,
        "acknowledgeBy": result.acknowledge_by,
        "supersedes": result.supersedes,
    }
    return _event(ns, source, RESULT_AVAILABLE, result.result_id, result.study_key, result.thread_id, cause, data)


def result_reviewed(
    ns: Namespace, source: str, study_key: str, thread: str, review: ReviewRecorded, written: ReviewWritten
) -> CloudEvent:
    data = {
        "resultId": review.result_id,
        "threadId": thread,
        "outcome": review.outcome,
        "diagnosticReport": written.report,
        "provenance": written.provenance.split("/_history/")[0],
        "at": review.at,
    }
    return _event(ns, source, RESULT_REVIEWED, review.act_id, study_key, thread, None, data)


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
