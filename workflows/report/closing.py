"""The system closes a result (contract 2, rows 4 and 5): unread ones are withdrawn, a human's decision stands.

                               unread                              accepted or amended
    superseded-by-final-report cancelled, reason                   unchanged, tag lifecycle#superseded
    order-cancelled            cancelled, reason                   untouched
    patient-unmerged           cancelled, reason                   untouched
    result-wrong               entered-in-error, reason            entered-in-error, reason, the reviewer is told

A result that is hidden already (rejected, cancelled) is left alone. The clinician's own Observations are never written to.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Literal

from schemas.codes import THO, Canonical, Json, coding, concept
from schemas.errors import PermanentFailure
from schemas.identifiers import Namespace
from schemas.lifecycle import CloseReason, CloseResult
from schemas.terms import LIFECYCLE, REVIEW_OUTCOME
from workflows.report.context import create, versioned_reference
from workflows.report.escalation import recall
from workflows.report.posted import PostedResult, closed_task, revision_entity, update, with_reason
from workflows.report.text import narrative
from workflows.timeline.fields import said_by_ai, study_instance_uid, subject_of, unversioned, versioned

CLOSE_REASONS: dict[CloseReason, str] = {
    "superseded-by-final-report": "The radiologist's final report of this study has been issued",
    "order-cancelled": "The order for this study was cancelled",
    "patient-unmerged": "Patient records were separated after this reading, which used both",
    "result-wrong": "A defect of the system made this result wrong: do not rely on it",
}
"""The words that stand beside each reason; all are ours."""


Effect = Literal["withdraw", "mark", "recall", "none"]
FINAL = ("final", "amended", "corrected", "appended")
_ACTIVITY: dict[CloseReason, str] = {
    "superseded-by-final-report": "OBSOLETE",
    "order-cancelled": "CANCEL",
    "patient-unmerged": "CANCEL",
    "result-wrong": "NULLIFY",
}
"""v3-DataOperation."""


def closing_effect(canonical: Canonical, posted: PostedResult, reason: CloseReason) -> Effect:
    """What closing for this reason does to the result as it stands."""
    if posted.unread:
        return "withdraw"
    if posted.report["status"] != "preliminary":
        return "none"
    if reason == "result-wrong":
        return "recall"
    return "mark" if reason == "superseded-by-final-report" and not _marked_superseded(canonical, posted) else "none"


def stands(canonical: Canonical, posted: PostedResult) -> bool:
    """It waits for a decision, or was accepted or amended and no final report has followed: it may still be added to."""
    verified = posted.report["status"] == "preliminary"
    return posted.unread or (verified and not _marked_superseded(canonical, posted))


def _marked_superseded(canonical: Canonical, posted: PostedResult) -> bool:
    tag = _superseded_tag(canonical)
    tags = [(t.get("system"), t.get("code")) for t in posted.report["meta"].get("tag", [])]
    return (tag["system"], tag["code"]) in tags


def check_final_report(canonical: Canonical, posted: PostedResult, final: Json, patients: set[str]) -> Json:
    """The radiologist's report, if it is one that may close ours; `PermanentFailure` `final-report-*` says why not.

    `patients` are the references of the result's patient: its subject, and the record that has replaced it since.
    """
    ours = {canonical.sid("ai-result"), canonical.sid("ai-report-thread")}
    if said_by_ai(final) or ours & {i.get("system") for i in final.get("identifier", [])}:
        raise PermanentFailure("final-report-ours", "the report that is said to be final is a result of ours")
    if final.get("status") not in FINAL:
        raise PermanentFailure("final-report-not-final", "the report that is said to be final is not final in FHIR")
    if subject_of(final) not in patients:
        raise PermanentFailure("final-report-wrong-patient", "the final report is not about the result's patient")
    if _other_study(final, posted.report):
        raise PermanentFailure("final-report-wrong-study", "the final report names another study than the result's")
    return final


def _other_study(final: Json, report: Json) -> bool:
    """Both name their study in the same way, and not the same one."""
    named, own = final.get("imagingStudy", []), report.get("imagingStudy", [])
    references = [{unversioned(s["reference"]) for s in of if s.get("reference")} for of in (named, own)]
    uids = [{uid for s in of if (uid := _uid(s))} for of in (named, own)]
    comparable = [(a, b) for a, b in (references, uids) if a and b]
    return bool(comparable) and not any(a & b for a, b in comparable)


def _uid(study: Json) -> str | None:
    return study_instance_uid({"identifier": [study["identifier"]]}) if study.get("identifier") else None


def build_closing(namespace: Namespace, posted: PostedResult, close: CloseResult, final: Json | None) -> Json:
    """The Bundle that closes the result; `final` is the checked report that supersedes it. Only where `closing_effect` is not `none`."""
    canonical = Canonical(namespace.base)
    effect = closing_effect(canonical, posted, close.reason)
    changed = _marked(canonical, posted) if effect == "mark" else _withdrawn(canonical, posted, close.reason)
    tasks = [closed_task(canonical, posted.task, close.reason, close.at)] if effect == "withdraw" else []
    entries = [update(resource) for resource in [*changed, *tasks]]
    if effect == "recall":
        entries.append(recall(namespace, posted, close.at))
    provenance = _provenance(canonical, posted, close, changed, final)
    tag = provenance["meta"]["tag"][0]
    entries.append(
        create("urn:uuid:" + namespace.key("close", close.act_id), provenance, f"_tag={tag['system']}|{tag['code']}")
    )
    return {"resourceType": "Bundle", "type": "transaction", "entry": entries}


def _withdrawn(canonical: Canonical, posted: PostedResult, reason: CloseReason) -> list[Json]:
    """Report and AI findings with the reason; what a clinician has put in their place stays."""
    wrong = reason == "result-wrong"
    status, text = "entered-in-error" if wrong else "cancelled", CLOSE_REASONS[reason]
    changed = []
    for resource in [posted.report, *filter(said_by_ai, posted.observations)]:
        body = with_reason(canonical, resource, status, reason, text)
        if wrong:
            body["text"] = narrative(f"Withdrawn: {text}.")
        changed.append(body)
    return changed


def _marked(canonical: Canonical, posted: PostedResult) -> list[Json]:
    report = deepcopy(posted.report)
    report["meta"]["tag"] = [*report["meta"].get("tag", []), _superseded_tag(canonical)]
    return [report]


def _superseded_tag(canonical: Canonical) -> Json:
    return LIFECYCLE.coding(canonical, "superseded")


def _provenance(
    canonical: Canonical, posted: PostedResult, close: CloseResult, changed: list[Json], final: Json | None
) -> Json:
    outcome = "superseded" if close.reason == "superseded-by-final-report" else "withdrawn"
    entities = [revision_entity(canonical, posted.report)]
    if final is not None:
        entities.append({"role": "source", "what": versioned_reference(canonical, versioned(final))})
    service = {"system": canonical.sid("service"), "value": "lifecycle"}
    return {
        "resourceType": "Provenance",
        "meta": {"tag": [coding(canonical.sid("review-act"), close.act_id)]},
        "target": [{"reference": f"{r['resourceType']}/{r['id']}"} for r in changed],
        "occurredDateTime": close.at,
        "recorded": close.at,
        "reason": [concept(REVIEW_OUTCOME.coding(canonical, outcome), text=CLOSE_REASONS[close.reason])],
        "activity": concept(coding(THO + "v3-DataOperation", _ACTIVITY[close.reason])),
        "agent": [
            {
                "type": concept(coding(THO + "provenance-participant-type", "assembler", "Assembler")),
                "who": {"identifier": service},
            }
        ],
        "entity": entities,
    }
