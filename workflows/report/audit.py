"""An entry of the audit trail as a FHIR R4 AuditEvent of IHE Basic Audit Log Patterns (contract 2; ITI.BasicAudit `PatientUpdate.fsh`).

R4's AuditEvent has no identifier, so the tag `audit-event` keys it (contract 1.5). BALP fixes the outcome at success: only what succeeded claims its
profile. What BALP has no pattern for (logins, decoding, looking into the trail) is told in DICOM's and ISO 21089's codes (PS3.15 A.5.3).
"""

from __future__ import annotations

import base64
from dataclasses import dataclass

from schemas.audit import AuditEntry, AuditKind, AuditPerson
from schemas.codes import DCM, THO, Canonical, Json, coding, concept

BALP = "https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit."
AUDIT_TAG = "audit-event"
_INTERACTION = "http://hl7.org/fhir/restful-interaction"
_LIFECYCLE = THO + "iso-21089-lifecycle"
_REQUEST_ID = coding("https://profiles.ihe.net/ITI/BALP/CodeSystem/BasicAuditEntityType", "XrequestId")
_DESTINATION, _SOURCE, _APPLICATION = "110152", "110153", "110150"
_OUTCOME = {"success": "0", "refused": "4", "failed": "8"}
_URI, _IP, _NAME = "5", "2", "1"


@dataclass(frozen=True)
class AuditAddresses:
    """What the servers of this deployment are called in AuditEvents; empty where there is none."""

    fhir: str
    inbox: str


@dataclass(frozen=True)
class Pattern:
    """How a kind of entry is told: event type and subtype, action, and the BALP profile that fits."""

    type: Json
    subtype: Json | None
    action: str
    profile: str | None = None


def _rest(interaction: str, action: str, profile: str | None = None) -> Pattern:
    return Pattern(coding(THO + "audit-event-type", "rest"), coding(_INTERACTION, interaction), action, profile)


def _authentication(code: str, display: str) -> Pattern:
    return Pattern(coding(DCM, "110114", "User Authentication"), coding(DCM, code, display), "E")


_CREATE, _UPDATE = _rest("create", "C", "PatientCreate"), _rest("update", "U", "PatientUpdate")
_READ, _LOGIN = _rest("read", "R", "PatientRead"), _authentication("110122", "Login")
PATTERNS: dict[AuditKind, Pattern] = {
    "result-posted": _CREATE,
    "addendum-posted": _CREATE,
    "review-written": _UPDATE,
    "acknowledgement-written": _UPDATE,
    "escalation-written": _UPDATE,
    "priority-raised": _UPDATE,
    "result-closed": _UPDATE,
    "result-superseded": _UPDATE,
    "result-opened": _READ,
    "result-read": _READ,
    "picture-read": _READ,
    "history-read": _READ,
    "document-read": _READ,
    "list-read": _rest("search-type", "E", "Query"),
    "decision-sent": _rest("operation", "E"),
    "login": _LOGIN,
    "login-refused": _LOGIN,
    "access-refused": _authentication("110122", "Login"),
    "logout": _authentication("110123", "Logout"),
    "payloads-decoded": Pattern(coding(_LIFECYCLE, "decrypt", "Decrypt Record Lifecycle Event"), None, "R"),
    "audit-read": Pattern(coding(DCM, "110101", "Audit Log Used"), None, "R"),
}


def build_audit_event(
    canonical: Canonical, addresses: AuditAddresses, entry: AuditEntry, *, seq: int, chain: str
) -> Json:
    """`seq` and `chain` are the entry's place in the trail and its hash: whoever holds the AuditEvents can prove that the trail still says so."""
    pattern = PATTERNS[entry.kind]
    resource: Json = {
        "resourceType": "AuditEvent",
        "meta": _meta(canonical, pattern, entry),
        "type": pattern.type,
        "subtype": [pattern.subtype] if pattern.subtype else None,
        "action": pattern.action,
        "recorded": entry.at,
        "outcome": _OUTCOME[entry.outcome],
        "outcomeDesc": entry.code,
        "agent": _agents(canonical, addresses, entry),
        "source": {
            "observer": _service(canonical, entry.process),
            "type": [coding(THO + "security-source-type", "4", "Application Server")],
        },
        "entity": [*_entities(entry), _transaction(entry, seq, chain)],
    }
    return {name: value for name, value in resource.items() if value is not None}


def _meta(canonical: Canonical, pattern: Pattern, entry: AuditEntry) -> Json:
    """The tag that keys it; the tags of the result and of the act that it belongs to."""
    tags = [coding(canonical.sid(AUDIT_TAG), entry.event_id)]
    tags += [coding(canonical.sid("ai-result"), entry.result_id)] if entry.result_id else []
    tags += [coding(canonical.sid("review-act"), entry.act_id)] if entry.act_id else []
    fits = pattern.profile and entry.outcome == "success" and (entry.patient or pattern.profile == "Query")
    return ({"profile": [BALP + str(pattern.profile)]} if fits else {}) | {"tag": tags}


# -- who ------------------------------------------------------------------------------------------------------------------


def _agents(canonical: Canonical, addresses: AuditAddresses, entry: AuditEntry) -> list[Json]:
    """Client and server as BALP sees them: of a read the server is the source and the client the destination, of a write the other way round.

    A search is told like a write: `Query.fsh` has the client as source.
    """
    pattern = PATTERNS[entry.kind]
    writes = entry.process == "worker"
    if pattern.type["code"] != "rest":
        agents = [_agent(_APPLICATION, _service(canonical, entry.process), _NAME, f"longview-{entry.process}")]
        return agents + _user(entry, "IRCP")
    client, server = (_DESTINATION, _SOURCE) if pattern.action == "R" else (_SOURCE, _DESTINATION)
    return [
        _client(canonical, client, entry),
        _server(canonical, server, addresses, entry),
        *_user(entry, "AUT" if writes else "IRCP"),
    ]


def _client(canonical: Canonical, role: str, entry: AuditEntry) -> Json:
    """Who asked: a service of ours, or the program of a person."""
    if entry.process in ("worker", "operator"):
        return _agent(role, _service(canonical, entry.process), _NAME, f"longview-{entry.process}")
    return _agent(role, {"display": "program of the person"}, _IP, entry.address or "unknown")


def _server(canonical: Canonical, role: str, addresses: AuditAddresses, entry: AuditEntry) -> Json:
    """Who held the data: the FHIR server, or the inbox with its copy."""
    if entry.process == "inbox":
        return _agent(role, _service(canonical, "inbox"), _URI, addresses.inbox or "urn:longview:inbox")
    return _agent(role, {"display": "FHIR server"}, _URI, addresses.fhir or "urn:longview:fhir")


def _agent(role: str, who: Json, network: str, address: str) -> Json:
    return {
        "type": concept(coding(DCM, role)),
        "who": who,
        "requestor": False,
        "network": {"address": address, "type": network},
    }


def _user(entry: AuditEntry, role: str) -> list[Json]:
    if entry.person is None:
        return []
    purpose = "HOPERAT" if entry.process in ("operator", "codec") else "TREAT"
    return [
        {
            "type": concept(coding(THO + "v3-ParticipationType", role)),
            "who": _person(entry.person),
            "name": entry.person.name,
            "requestor": True,
            "purposeOfUse": [concept(coding(THO + "v3-ActReason", purpose))],
        }
    ]


def _person(person: AuditPerson) -> Json:
    if person.subject is None:
        return {"display": person.name}
    identifier = {"value": person.subject} | ({"system": person.issuer} if person.issuer else {})
    return {"identifier": identifier, "display": person.name}


def _service(canonical: Canonical, process: str) -> Json:
    return {"identifier": {"system": canonical.sid("service"), "value": f"longview-{process}"}}


# -- what -----------------------------------------------------------------------------------------------------------------


def _entities(entry: AuditEntry) -> list[Json]:
    found = []
    if entry.patient is not None:
        found.append(_entity({"what": {"reference": entry.patient}}, "1", "1"))
    if entry.query is not None:
        query = base64.b64encode(entry.query.encode()).decode()
        found.append(_entity({"query": query}, "2", "24"))
    elif entry.data is not None:
        described = {"description": entry.part} if entry.part else {}
        found.append(_entity({"what": {"reference": entry.data}} | described, "2", "4"))
    return found


def _entity(body: Json, kind: str, role: str) -> Json:
    return body | {"type": coding(THO + "audit-entity-type", kind), "role": coding(THO + "object-role", role)}


def _transaction(entry: AuditEntry, seq: int, chain: str) -> Json:
    """What ties the entries of one act together, and this one to its place in the trail."""
    details = {"seq": str(seq), "chain": chain} | ({"part": entry.part} if entry.part and not entry.data else {})
    return {
        "what": {"identifier": {"value": entry.act_id or entry.event_id}},
        "type": _REQUEST_ID,
        "detail": [{"type": name, "valueString": value} for name, value in details.items()],
    }
