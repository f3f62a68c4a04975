"""A human's decision as one transaction, conditional on the versions that were on the screen (contract 2)."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime
from html import escape

from schemas.codes import CLINAST, THO, Canonical, Json, coding, concept
from schemas.errors import PermanentFailure, StaleWrite
from schemas.identifiers import Namespace
from schemas.report import ReviewAct
from schemas.terms import REJECT_REASON, REVIEW_OUTCOME, REVIEW_STATUS
from workflows.report.amend import (
    amended_conclusion,
    amended_observations,
    amended_report,
    clinician_observation,
    replaced_observation,
)
from workflows.report.amend_value import clinician_value
from workflows.report.context import create, person
from workflows.report.posted import PostedResult, revision_entity, update, with_reason
from workflows.report.raised_task import priority_after
from workflows.report.text import BANNER, narrative
from workflows.timeline.fields import versioned

REVIEW_SERVICE = "review inbox"


def act_tag(canonical: Canonical, act: ReviewAct) -> Json:
    """The tag by which the act's Provenance is found again."""
    return coding(canonical.sid("review-act"), act.act_id)


def build_review(namespace: Namespace, posted: PostedResult, act: ReviewAct) -> Json:
    """The Bundle of an acceptance, an amendment or a rejection.

    `PermanentFailure` after another decision (`already-reviewed`), or for an amendment of what is not there; `StaleWrite` if the report is not
    the version that the reviewer saw, or a later result has taken its place.
    """
    if posted.reviewed:
        raise PermanentFailure("already-reviewed", "somebody has decided about this result already")
    if versioned(posted.report) != act.report_version or not posted.unread:
        raise StaleWrite("review-stale", "the report has changed since it was opened")
    canonical = Canonical(namespace.base)
    created: list[Json] = []
    if act.outcome == "amended":
        created, changed = _amend(namespace, posted, act)
    else:
        changed = _accept(posted, act) if act.outcome == "accepted" else _reject(canonical, posted, act)
    provenance = _provenance(canonical, posted, act, [entry["fullUrl"] for entry in created])
    tag = act_tag(canonical, act)
    entries = [*created, *(update(resource) for resource in [*changed, _task(canonical, posted, act)])]
    entries.append(
        create("urn:uuid:" + namespace.key("review", act.act_id), provenance, f"_tag={tag['system']}|{tag['code']}")
    )
    return {"resourceType": "Bundle", "type": "transaction", "entry": entries}


def _accept(posted: PostedResult, act: ReviewAct) -> list[Json]:
    """partial -> preliminary, findings -> final; AIAST stays, since origin does not change when someone agrees."""
    verified = ("amended and " if act.outcome == "amended" else "") + _verified(act)
    report = deepcopy(posted.report)
    report["status"] = "preliminary"
    report["resultsInterpreter"] = [person(act.reviewer, act.identity)]
    report["meta"]["security"] = _with_clinician(report)
    report["conclusion"] = report["conclusion"].replace(BANNER, f"AI-generated; {verified}; final report pending.")
    report["text"] = narrative(report["conclusion"])
    report.pop("presentedForm", None)
    changed = [report]
    for observation in map(deepcopy, posted.observations):
        observation["status"] = "final"
        observation["meta"]["security"] = _with_clinician(observation)
        words = observation.get("text", {}).get("div", "")
        if words:
            observation["text"]["div"] = words.replace(
                "AI-generated, not verified", f"AI-generated, {escape(verified)}"
            )
        changed.append(observation)
    return changed


def _amend(namespace: Namespace, posted: PostedResult, act: ReviewAct) -> tuple[list[Json], list[Json]]:
    """The reviewer's own Observations as entries, and what becomes of the AI's: replaced ones cancelled, the rest accepted."""
    canonical = Canonical(namespace.base)
    replaced = amended_observations(canonical, posted, act)
    created = [clinician_observation(namespace, replaced[a.label], a, act) for a in act.amendments]
    created += [clinician_value(namespace, replaced[v.label], v, act) for v in act.amended_values]
    gone = [observation["id"] for observation in replaced.values()]
    rest = [observation for observation in posted.observations if observation["id"] not in gone]
    said = posted.report | {"conclusion": amended_conclusion(posted, replaced, act)}
    report, *accepted = _accept(replace(posted, report=said, observations=rest), act)
    amended_report(report, replaced, created)
    return created, [*(replaced_observation(canonical, old) for old in replaced.values()), *accepted, report]


def _verified(act: ReviewAct) -> str:
    """By whom and when (UTC)."""
    at = datetime.fromisoformat(act.at).astimezone(UTC).strftime("%Y-%m-%d %H:%MZ")
    return f"verified by {act.reviewer} {at}"


def _with_clinician(resource: Json) -> list[Json]:
    labels: list[Json] = resource["meta"].get("security", [])
    return labels if any(label.get("code") == "CLINAST" for label in labels) else [*labels, CLINAST]


def _reject(canonical: Canonical, posted: PostedResult, act: ReviewAct) -> list[Json]:
    """-> entered-in-error, the one status that every consumer hides; `cancelled` once somebody was told or treated."""
    status = "cancelled" if act.acted_upon else "entered-in-error"
    text = f"Rejected: {act.reason_text or act.reason_code or 'no reason given'}"
    changed = []
    for resource in [posted.report, *posted.observations]:
        body = with_reason(canonical, resource, status, "rejected-by-clinician", text)
        body["text"] = narrative("Withdrawn: AI result rejected by clinician.")
        changed.append(body)
    return changed


def _task(canonical: Canonical, posted: PostedResult, act: ReviewAct) -> Json:
    task = deepcopy(posted.task) | priority_after(canonical, posted.task, act)
    task["status"] = "completed"
    task["businessStatus"] = concept(REVIEW_STATUS.coding(canonical, act.outcome))
    task["lastModified"] = act.at
    task["executionPeriod"] = {"start": task.get("authoredOn", act.at), "end": act.at}
    if act.outcome == "rejected":
        code = REJECT_REASON.coding(canonical, act.reason_code or "other")
        task["statusReason"] = concept(code, text=act.reason_text)
    return task


def _provenance(canonical: Canonical, posted: PostedResult, act: ReviewAct, created: list[str]) -> Json:
    touched = [posted.report, *posted.observations]
    kind = "NULLIFY" if act.outcome == "rejected" else "UPDATE"
    targets = [*created, *(f"{r['resourceType']}/{r['id']}" for r in touched)]
    outcome = REVIEW_OUTCOME.coding(canonical, act.outcome)
    return {
        "resourceType": "Provenance",
        "meta": {"tag": [act_tag(canonical, act)]},
        "target": [{"reference": target} for target in targets],
        "occurredDateTime": act.at,
        "recorded": act.at,
        "reason": [concept(outcome, text=act.reason_text or act.outcome.capitalize())],
        "activity": concept(coding(THO + "v3-DataOperation", kind)),
        "agent": [
            {"type": _agent("verifier", "Verifier"), "who": person(act.reviewer, act.identity)},
            {"type": _agent("assembler", "Assembler"), "who": {"display": REVIEW_SERVICE}},
        ],
        "entity": [revision_entity(canonical, resource) for resource in touched],
    }


def _agent(code: str, display: str) -> Json:
    return concept(coding(THO + "provenance-participant-type", code, display))
