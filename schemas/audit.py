"""An entry of the audit trail: who did what to whose data, when, and how it ended. References and codes only: no name of a patient, no chart text.

The trail is ours; `workflows.report.audit` says it as a FHIR AuditEvent (IHE BALP) for a hospital's audit repository.
"""

from __future__ import annotations

import re
import uuid
from typing import Literal

from schemas.identifiers import without_version
from schemas.model import Record

_PATIENT = re.compile(r"Patient/[A-Za-z0-9.-]{1,64}")
"""FHIR R4 2.24.0.1, id."""
_RESULT = re.compile(r"[A-Za-z0-9-]{1,64}")

AuditKind = Literal[
    "result-posted",
    "addendum-posted",
    "review-written",
    "acknowledgement-written",
    "escalation-written",
    "priority-raised",
    "result-closed",
    "result-superseded",
    "result-opened",
    "result-read",
    "picture-read",
    "list-read",
    "history-read",
    "document-read",
    "decision-sent",
    "login",
    "logout",
    "login-refused",
    "access-refused",
    "payloads-decoded",
    "audit-read",
]
"""`*-written`, `*-posted` and the like: the worker has changed FHIR. `decision-sent`: a person asked for such a change, and this is how it ended."""

AuditOutcome = Literal["success", "refused", "failed"]
"""`refused`: by a rule of ours (no right, stale, incomplete); `failed`: a part was away or broke."""

AuditProcess = Literal["inbox", "worker", "codec", "operator"]


class AuditPerson(Record):
    """A person as the issuer of their login names them; without a login only the name that they typed."""

    name: str
    subject: str | None = None
    """The issuer's own id of the person (OpenID Connect `sub`), or the account of the operator."""
    issuer: str | None = None

    @property
    def key(self) -> str:
        """The same person again: by the issuer's word, without a login by the name."""
        return f"{self.issuer}|{self.subject}" if self.subject else self.name


class AuditEntry(Record):
    """One fact. `event_id` keys it: recorded or sent twice, it stands once."""

    event_id: str
    kind: AuditKind
    at: str
    """RFC 3339, UTC, milliseconds."""
    process: AuditProcess
    outcome: AuditOutcome = "success"
    code: str | None = None
    """Our code of a refusal or failure, the outcome of a review, or why a result was closed."""
    person: AuditPerson | None = None
    address: str | None = None
    """Network address of the person's program."""
    patient: str | None = None
    """`Patient/<id>`"""
    data: str | None = None
    """What was read or written: `Type/<id>` or `Type/<id>/_history/<version>`."""
    part: str | None = None
    """Which part of it: a picture's place, or how many payloads."""
    query: str | None = None
    """The filter of a list; never what a person typed."""
    result_id: str | None = None
    act_id: str | None = None


class NotAsked(ValueError):
    """What was typed names no patient and no result."""


def patient_asked(typed: str) -> str | None:
    """`Patient/<id>` for what an auditor typed, with or without the type; None for nothing. `NotAsked`: a name stays out of the trail."""
    if not typed.strip():
        return None
    reference = without_version(typed.strip())
    reference = reference if "/" in reference else f"Patient/{reference}"
    if not _PATIENT.fullmatch(reference):
        raise NotAsked
    return reference


def result_asked(typed: str) -> str | None:
    """The id of a result; None for nothing. `NotAsked`."""
    if not typed.strip():
        return None
    if not _RESULT.fullmatch(typed.strip()):
        raise NotAsked
    return typed.strip()


def audit_id(kind: AuditKind, *key: str) -> str:
    """Id of an entry that tells of one fact, whoever says it and how often."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, "|".join(("longview-audit", kind, *key))))


def new_audit_id() -> str:
    """Id of an entry for something that each time is another fact: a view, a login."""
    return str(uuid.uuid4())
