"""From an event of the bus to what the patient's entity is told: the facts without the envelope, and which study they are about. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from schemas.errors import InvalidEvent
from schemas.events import (
    OBSERVATION_AVAILABLE,
    ORDER_CHANGED,
    PATIENT_MERGED,
    REPORT_FINALISED,
    STUDY_AVAILABLE,
    CloudEvent,
)
from schemas.facts import (
    ObservationAvailable,
    OrderChanged,
    PatientEvent,
    PatientMerged,
    ReportFinalised,
    StudyAddress,
    StudyAvailable,
)
from schemas.identifiers import Namespace

Fact = StudyAvailable | ObservationAvailable | OrderChanged | ReportFinalised | PatientMerged


def routed(event: CloudEvent, namespace: Namespace) -> PatientEvent:
    """`InvalidEvent` for a type that is not taken; pydantic's `ValidationError` for data that the schema lets pass and we cannot read."""
    fact = _FACTS.get(event.type)
    if fact is None:
        raise InvalidEvent("unknown-type", "event-type-not-taken", "events of this type are not taken from this topic")
    told = fact(event.id, event.data, namespace)
    if isinstance(told, StudyAvailable):
        told = told.model_copy(update={"announced_at": event.time})
    return PatientEvent(event=told, address=_address(event.data, namespace))


def patient_of(event: PatientEvent) -> str:
    """Whose entity takes the event: after a merge, the survivor's."""
    fact = event.event
    return fact.survivor if isinstance(fact, PatientMerged) else fact.patient


def _address(data: dict[str, Any], namespace: Namespace) -> StudyAddress:
    """An accession number is unique only with its issuer (contract 1.1)."""
    uid, accession = data.get("studyInstanceUid"), data.get("accession")
    return StudyAddress(
        study_key=namespace.study_key(uid) if uid else None,
        thread_id=namespace.thread_id(uid) if uid else None,
        study_instance_uid=uid,
        accession=f"{accession['system']}|{accession['value']}" if accession else None,
    )


def _study_available(event_id: str, data: dict[str, Any], namespace: Namespace) -> StudyAvailable:
    return StudyAvailable(
        event_id=event_id,
        study_instance_uid=data["studyInstanceUid"],
        patient=data["patient"],
        inventory_digest=data["inventoryDigest"],
        completeness=data["completeness"],
        instance_count=data["instanceCount"],
        imaging_study=data.get("imagingStudy"),
        service_request=data.get("serviceRequest"),
        accession=(data.get("accession") or {}).get("value"),
    )


def _observation_available(event_id: str, data: dict[str, Any], namespace: Namespace) -> ObservationAvailable:
    return ObservationAvailable(
        event_id=event_id, observation=data["observation"], patient=data["patient"], status=data["status"]
    )


def _order_changed(event_id: str, data: dict[str, Any], namespace: Namespace) -> OrderChanged:
    return OrderChanged(
        event_id=event_id,
        service_request=data["serviceRequest"],
        patient=data["patient"],
        change=data["change"],
        priority=data["priority"],
    )


def _report_finalised(event_id: str, data: dict[str, Any], namespace: Namespace) -> ReportFinalised:
    return ReportFinalised(event_id=event_id, diagnostic_report=data["diagnosticReport"], patient=data["patient"])


def _patient_merged(event_id: str, data: dict[str, Any], namespace: Namespace) -> PatientMerged:
    if namespace.patient_key(data["survivor"]) == namespace.patient_key(data["retired"]):
        raise InvalidEvent("permanent-error", "event-merge-with-itself", "a patient cannot be merged into itself")
    return PatientMerged(
        event_id=event_id,
        survivor=data["survivor"],
        retired=data["retired"],
        survivor_key=namespace.patient_key(data["survivor"]),
        retired_key=namespace.patient_key(data["retired"]),
    )


_FACTS: dict[str, Callable[[str, dict[str, Any], Namespace], Fact]] = {
    STUDY_AVAILABLE: _study_available,
    OBSERVATION_AVAILABLE: _observation_available,
    ORDER_CHANGED: _order_changed,
    REPORT_FINALISED: _report_finalised,
    PATIENT_MERGED: _patient_merged,
}
