"""An unread result that stands beside a newer unread one of the same study: superseded, as the newer one should have done (contract 1.5). Pure.

Nothing is deleted: report and findings are cancelled with a reason, the Task is cancelled, a Provenance says who did it and why.
"""

from __future__ import annotations

from schemas.codes import THO, Canonical, Json, coding, concept
from schemas.identifiers import Namespace
from schemas.terms import RESULT_STATUS_REASON, REVIEW_STATUS
from workflows.report.context import create, who
from workflows.report.posted import PostedResult, revision_entity, update, with_reason
from workflows.report.supersede import CODE
from workflows.timeline.fields import unversioned, versioned

REASON = "A later reading of the same study stands beside this one; see the later result"
AGENT = "Longview reconciliation"


def answers_all(older: PostedResult, newer: PostedResult) -> bool:
    """Whether the newer result answers every question of the older one, about the same study and patient: else a person has to judge."""
    same = all(older.report.get(name) == newer.report.get(name) for name in ("subject", "code"))
    return same and _studies(older) == _studies(newer) and _questions(older) <= _questions(newer)


def _studies(posted: PostedResult) -> list[str]:
    named = [study.get("identifier", {}).get("value", "") for study in posted.report.get("imagingStudy", [])]
    return sorted(map(str, named))


def _questions(posted: PostedResult) -> set[str]:
    return {str(observation.get("code", {}).get("text", "")) for observation in posted.observations}


def supersede_older(namespace: Namespace, older: PostedResult, newer: PostedResult, at: str) -> Json:
    """The transaction that withdraws `older`, conditional on the versions that were read; `newer` stays as it is."""
    canonical = Canonical(namespace.base)
    changed = [
        with_reason(canonical, resource, "cancelled", CODE, REASON) for resource in [older.report, *older.observations]
    ]
    act = namespace.key("reconcile-supersede", older.result_id(canonical), newer.result_id(canonical))
    tag = coding(canonical.sid("reconcile-act"), act)
    entries = [update(resource) for resource in [*changed, _cancelled_task(canonical, older.task, at)]]
    entries.append(
        create(
            "urn:uuid:" + namespace.key("supersede", act),
            _provenance(canonical, older, newer, tag, at),
            f"_tag={tag['system']}|{tag['code']}",
        )
    )
    return {"resourceType": "Bundle", "type": "transaction", "entry": entries}


def _cancelled_task(canonical: Canonical, task: Json, at: str) -> Json:
    return task | {
        "status": "cancelled",
        "statusReason": concept(RESULT_STATUS_REASON.coding(canonical, CODE)),
        "businessStatus": concept(REVIEW_STATUS.coding(canonical, "superseded")),
        "lastModified": at,
    }


def _provenance(canonical: Canonical, older: PostedResult, newer: PostedResult, tag: Json, at: str) -> Json:
    """Activity OBSOLETE by an assembler: the system, not a human and not the model."""
    return {
        "resourceType": "Provenance",
        "meta": {"tag": [tag]},
        "target": [{"reference": unversioned(versioned(r))} for r in [older.report, *older.observations]],
        "recorded": at,
        "activity": concept(coding(THO + "v3-DataOperation", "OBSOLETE")),
        "agent": [
            {"type": concept(coding(THO + "provenance-participant-type", "assembler", "Assembler")), "who": who(AGENT)}
        ],
        "entity": [
            revision_entity(canonical, older.report),
            revision_entity(canonical, newer.report) | {"role": "source"},
        ],
    }
