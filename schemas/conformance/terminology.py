"""CodeSystem, ValueSet and NamingSystem resources (R4 4.8, 4.9, 4.11)."""

from __future__ import annotations

from schemas.code_system import DATE, System
from schemas.codes import PRESENCE, SCT, Canonical, Json
from schemas.conformance.metadata import PUBLISHER, computable, head
from schemas.sids import Sid
from schemas.terms import ABSTENTION_REASON, REJECT_REASON, RESULT_STATUS_REASON

PRESENCE_SET = "finding-presence"
TASK_REASONS, RESULT_REASONS = "task-status-reason", "result-status-reason"
_REASON_SETS: dict[str, tuple[str, str, System]] = {
    TASK_REASONS: ("Task status reason", "Task.statusReason", REJECT_REASON),
    RESULT_REASONS: ("Result status reason", "DiagnosticReport.extension:event-statusReason", ABSTENTION_REASON),
}
"""A task ends with a rejection, too; a result may say from the start that the system abstained."""
_SNOMED = "This value set includes content from SNOMED CT, which needs a licence in countries that are not members."


def code_system(canonical: Canonical, system: System) -> Json:
    return head(
        "CodeSystem",
        system.url(canonical),
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
    ) | {"compose": {"include": [{"system": system.url(canonical)}]}}


def presence(canonical: Canonical) -> Json:
    """What a finding's question can be answered with (contract 0.6)."""
    text = "Answers to a finding's question. A negative always carries its value. Bound (required) to Observation.value[x]."
    codes = [{"code": answer["code"], "display": answer["display"]} for answer in PRESENCE.values()]
    return head("ValueSet", canonical.value_set(PRESENCE_SET), "Finding presence", text, suffix="Codes") | {
        "copyright": _SNOMED,
        "compose": {"include": [{"system": SCT, "concept": codes}]},
    }


def reasons(canonical: Canonical, name: str) -> Json:
    """Status reasons of a review task or a result: that the system closed it, and what else can be the reason."""
    title, element, other = _REASON_SETS[name]
    text = f"{title}: why it has its status. Bound (required) to {element}."
    systems = [system.url(canonical) for system in (RESULT_STATUS_REASON, other)]
    return head("ValueSet", canonical.value_set(name), title, text, suffix="Codes") | {
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
