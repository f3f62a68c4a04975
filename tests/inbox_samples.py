"""Results as the worker hands them to the inbox: invented people, realistic values."""

from __future__ import annotations

import uuid
from typing import Any

from schemas.events import RESULT_AVAILABLE, RESULT_REVIEWED, RUN_FAILED, CloudEvent, dataschema
from schemas.inbox import InboxResult, InboxStudy, ReviewRecorded
from schemas.report import DroppedFinding, EvidenceImage, Finding, ImageRegion, Reading
from schemas.runs import RunFailure
from schemas.timeline import Identifier, PatientBanner, TimelineEntry

BASE = "https://ai.example.org/fhir"


def key(*parts: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, "|".join(parts)))


def region(
    columns: int = 512, rows: int = 512, box: tuple[float, float, float, float] = (301, 188.5, 329, 214)
) -> ImageRegion:
    x0, y0, x1, y1 = box
    return ImageRegion(
        study_instance_uid="1.2.826.0.1.3680043.8.498.1001",
        series_instance_uid="1.2.826.0.1.3680043.8.498.1001.2",
        series_number=2,
        sop_instance_uid="1.2.826.0.1.3680043.8.498.1001.2.143",
        sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
        instance_number=143,
        frame=1,
        columns=columns,
        rows=rows,
        x0=x0,
        y0=y0,
        x1=x1,
        y1=y1,
    )


def nodule(where: ImageRegion | None = None) -> Finding:
    return Finding(
        label="pulmonary-nodule",
        presence="detected",
        likelihood="probable",
        side="left",
        region=where or region(),
        long_axis_mm=14,
        change="worse",
    )


def no_effusion() -> Finding:
    return Finding(
        label="pleural-effusion",
        presence="not-detected",
        likelihood="absent",
        side=None,
        region=None,
        long_axis_mm=None,
        change="stable",
    )


def evidence(png: str, prior: str | None, where: ImageRegion | None = None) -> EvidenceImage:
    where = where or region()
    return EvidenceImage(
        png_digest=png,
        width=where.columns,
        height=where.rows,
        slice_number=58,
        slice_count=96,
        region=where,
        caption="pulmonary-nodule: slice 58 of 96",
        prior_png_digest=prior,
    )


def reading(images: list[EvidenceImage] | None = None, findings: list[Finding] | None = None) -> Reading:
    return Reading(
        findings=[nodule(), no_effusion()] if findings is None else findings,
        dropped=[DroppedFinding(label="consolidation", code="box-outside-slice")],
        prior_study_instance_uid="1.2.826.0.1.3680043.8.498.1000",
        not_compared_reason=None,
        evidence=images or [],
    )


def patient(name: str = "Lindqvist, Maren", number: str = "MR-0048213") -> PatientBanner:
    return PatientBanner(
        resource=f"Patient/{key('patient', number)}/_history/3",
        name=name,
        birth_date="1958-04-17",
        sex="female",
        identifiers=[Identifier(system="https://hospital.example.org/sid/mrn", value=number, type="MR")],
    )


def history() -> list[TimelineEntry]:
    def entry(kind: Any, when: str | None, text: str, status: str = "final", **more: Any) -> TimelineEntry:
        return TimelineEntry(
            kind=kind, resource=f"X/{key(text)}/_history/1", when=when, status=status, text=text, **more
        )

    return [
        entry("condition", "2019-03", "Chronic obstructive pulmonary disease", "active"),
        entry("medication", "2023-11-02", "Tiotropium 18 microgram, inhaled, once daily", "active"),
        entry("procedure", "2024-02-14", "Bronchoscopy", "completed"),
        entry("imaging-study", "2025-08-02T08:40:00+02:00", "CT chest", "available"),
        entry(
            "report",
            "2025-08-02T10:12:00+02:00",
            "CT chest: 9 mm nodule in the left upper lobe, follow up in 12 months",
        ),
        entry("observation", "2026-11-20", "Creatinine", value="84", unit="umol/L"),
        entry("allergy", None, "Iodinated contrast medium: rash", "active"),
        entry("order", "2026-11-23", "CT chest: follow-up of a nodule", "active"),
    ]


def result(name: str = "first", study: str = "study-1", **changes: Any) -> InboxResult:
    """A result of the study; `name` tells results of one study apart."""
    result_id = changes.pop("result_id", key("result", study, name))
    fields: dict[str, Any] = {
        "result_id": result_id,
        "thread_id": key("thread", study),
        "study_key": key("study", study),
        "workflow_id": f"study-{key('study', study)}",
        "release_id": key("release", "untrained"),
        "release_name": "untrained",
        "trained": False,
        "priority": "urgent",
        "report": f"DiagnosticReport/{key('report', result_id)}/_history/1",
        "task": f"Task/{key('task', result_id)}",
        "issued": "2026-11-24T08:20:31.000+00:00",
        "acknowledge_by": "2026-11-24T09:20:31.000+00:00",
        "conclusion": "AI-generated, not verified. Probable 14 mm nodule, left lung, larger than on 2025-08-02. No pleural effusion detected.",
        "patient": patient(),
        "study": InboxStudy(
            study_instance_uid="1.2.826.0.1.3680043.8.498.1001",
            description="CT chest",
            modality="CT",
            started="2026-11-24T07:58:00+01:00",
            accession="RAD2026-004711",
            prior_started="2025-08-02T08:40:00+02:00",
        ),
        "reading": reading(),
        "history": history(),
        "supersedes": None,
    }
    return InboxResult(**(fields | changes))


def _event(kind: str, fact: str, study_key: str, data: dict[str, Any]) -> CloudEvent:
    return CloudEvent(
        id=key(kind, fact),
        source="urn:longview:hospital:ai",
        type=kind,
        subject=f"study/{study_key}",
        time="2026-11-24T08:20:32Z",
        dataschema=dataschema(BASE, kind),
        partitionkey=study_key,
        tenant="hospital",
        data=data,
    )


def available(told: InboxResult) -> CloudEvent:
    return _event(
        RESULT_AVAILABLE,
        told.result_id,
        told.study_key,
        {
            "resultId": told.result_id,
            "threadId": told.thread_id,
            "diagnosticReport": told.report,
            "reviewTask": told.task,
            "patient": told.patient.resource.split("/_history/")[0],
            "studyInstanceUid": told.study.study_instance_uid,
            "release": told.release_id,
            "status": "partial",
            "priority": told.priority,
            "acknowledgeBy": told.acknowledge_by,
        },
    )


def review(told: InboxResult, outcome: Any = "accepted", act: str = "act-1", **changes: Any) -> ReviewRecorded:
    fields = {
        "result_id": told.result_id,
        "act_id": key("act", act),
        "outcome": outcome,
        "reviewer": "Dr. Ines Halloran",
        "at": "2026-11-24T08:41:10Z",
        "reason_code": None,
        "reason_text": None,
        "report": told.report.replace("_history/1", "_history/2"),
    }
    return ReviewRecorded(**(fields | changes))


def reviewed(told: InboxResult, act: ReviewRecorded) -> CloudEvent:
    data = {
        "resultId": told.result_id,
        "threadId": told.thread_id,
        "outcome": act.outcome,
        "diagnosticReport": act.report,
        "provenance": "Provenance/p-2",
        "at": act.at,
    }
    return _event(RESULT_REVIEWED, act.act_id, told.study_key, data)


def failure(run_id: str, study: str = "study-1", code: str = "geometry-gap") -> tuple[RunFailure, CloudEvent]:
    study_key, thread = key("study", study), key("thread", study)
    failed = RunFailure(
        run_id=run_id,
        study_key=study_key,
        thread_id=thread,
        study_instance_uid="1.2.826.0.1.3680043.8.498.1001",
        event_id=key("event", study),
        inventory_digest="ni:///sha-256;aaaa",
        stage="fetch-images",
        code=code,
        hint="the series has a gap: send the missing slices",
        retryable=False,
        attempts=1,
    )
    data = {
        "threadId": thread,
        "stage": failed.stage,
        "code": code,
        "retryable": False,
        "attempts": 1,
        "reference": run_id,
    }
    data["studyInstanceUid"] = failed.study_instance_uid
    return failed, _event(RUN_FAILED, f"{run_id}|{code}", study_key, data)
