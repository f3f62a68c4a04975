"""CodeSystem, ValueSet and NamingSystem resources (R4 4.8, 4.9, 4.11)."""

from __future__ import annotations

from schemas.codes import PRESENCE, SCT, Canonical, Json
from schemas.conformance.metadata import PUBLISHER, computable, head
from schemas.sids import Sid
from schemas.terms import DATE, REJECT_REASON, RESULT_STATUS_REASON, System

PRESENCE_SET = "finding-presence"
TASK_REASON_SET = "task-status-reason"
_SNOMED = "This value set includes content from SNOMED CT, which needs a licence in countries that are not members."


def code_system(canonical: Canonical, system: System) -> Json:
    return head(
        "CodeSystem",
        canonical.code_system(system.name),
        system.title,
        system.description,
        version=system.version,
        date=system.date,
    ) | {
        "caseSensitive": True,
        "valueSet": canonical.value_set(system.name),
        "content": "complete",
        "count": len(system.terms),
        "concept": [
            {"code": term.code, "display": term.display, "definition": term.definition} for term in system.terms
        ],
    }


def value_set(canonical: Canonical, system: System) -> Json:
    """All codes of one system, and where and how firmly they are bound."""
    bound = f"Bound ({system.strength}) to {', '.join(system.elements)}."
    url, title = canonical.value_set(system.name), f"{system.title} (all codes)"
    return head(
        "ValueSet",
        url,
        title,
        f"{system.description} {bound}",
        suffix="Codes",
        version=system.version,
        date=system.date,
    ) | {"compose": {"include": [{"system": canonical.code_system(system.name)}]}}


def presence(canonical: Canonical) -> Json:
    """What a finding's question can be answered with (contract 0.6)."""
    text = "Answers to a finding's question. A negative always carries its value. Bound (required) to Observation.value[x]."
    codes = [{"code": answer["code"], "display": answer["display"]} for answer in PRESENCE.values()]
    return head("ValueSet", canonical.value_set(PRESENCE_SET), "Finding presence", text, suffix="Codes") | {
        "copyright": _SNOMED,
        "compose": {"include": [{"system": SCT, "concept": codes}]},
    }


def task_reasons(canonical: Canonical) -> Json:
    """A review task ends because a clinician rejected the result, or because the result was closed."""
    text = "Why a review task has its status. Bound (required) to Task.statusReason."
    systems = [canonical.code_system(system.name) for system in (REJECT_REASON, RESULT_STATUS_REASON)]
    return head("ValueSet", canonical.value_set(TASK_REASON_SET), "Task status reason", text, suffix="Codes") | {
        "compose": {"include": [{"system": system} for system in systems]}
    }


def naming_system(canonical: Canonical, sid: Sid) -> Json:
    """R4 gives a NamingSystem neither canonical URL nor version: its unique id names it.

    Tags (`ai-result`, `review-act`) are named here too and have no CodeSystem: their codes are UUIDs without end, and HAPI takes a CodeSystem
    whose content is `not-present` for an empty one.
    """
    return {
        "resourceType": "NamingSystem",
        "name": computable(sid.name),
        "status": "active",
        "kind": "identifier",
        "date": DATE,
        "publisher": PUBLISHER,
        "description": sid.description,
        "uniqueId": [{"type": "uri", "value": canonical.sid(sid.name), "preferred": True}],
    }
