"""Announces a study of the archive on the bus, as a hospital's gateway would once the study is complete."""

from __future__ import annotations

import re
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from schemas.errors import PermanentFailure
from schemas.events import STUDY_AVAILABLE, STUDY_TOPIC, CloudEvent, dataschema, now_rfc3339
from schemas.identifiers import instance_set_digest, study_workflow_id
from schemas.imaging import StudyInventory
from services.settings import Settings

_PATIENT = re.compile(r"Patient/[A-Za-z0-9.-]{1,64}")


@dataclass(frozen=True)
class Published:
    """What was announced: the event, and the workflow that will read the study. Free of identifiers of the patient."""

    event_id: str
    study_key: str
    workflow_id: str
    instances: int


def publish_study(settings: Settings, study_instance_uid: str, patient: str) -> Published:
    """Publish the event of a study that the archive holds; the same instance set always gives the same event id."""
    if not _PATIENT.fullmatch(patient):
        raise PermanentFailure("patient-reference", "the patient is not a reference: write it as Patient/ID.")
    from services.adapters import archive, kafka_access
    from services.clients.kafka import Producer

    with closing(archive(settings)) as pacs:
        study = pacs.find_study(study_instance_uid)
    event = study_event(settings, study, patient)
    producer = Producer(settings.require("kafka_bootstrap"), kafka_access(settings))
    try:
        producer.send_event(STUDY_TOPIC, event)
    finally:
        producer.close()
    return Published(event.id, event.partitionkey, study_workflow_id(event.partitionkey), len(study.sop_instance_uids))


def study_event(settings: Settings, study: StudyInventory, patient: str) -> CloudEvent:
    """`imaging.study.available`, declared complete (contract 4)."""
    space = settings.namespace
    key = space.study_key(study.study_instance_uid)
    digest = instance_set_digest(study.sop_instance_uids)
    return CloudEvent(
        id=space.event_id(STUDY_AVAILABLE, f"{key}|{patient}|{digest}|declared-complete"),
        source=settings.event_source.removesuffix(":ai") + ":archive",
        type=STUDY_AVAILABLE,
        subject=f"study/{key}",
        time=now_rfc3339(),
        dataschema=dataschema(settings.canonical_base, STUDY_AVAILABLE),
        partitionkey=key,
        tenant=settings.tenant,
        data=_data(settings, study, patient, digest),
    )


def _data(settings: Settings, study: StudyInventory, patient: str, digest: str) -> dict[str, Any]:
    accession = {"system": settings.accessions, "value": study.accession_number}
    return {
        "studyInstanceUid": study.study_instance_uid,
        "patient": patient,
        "modalities": sorted({series.modality for series in study.series}),
        "seriesCount": len(study.series),
        "instanceCount": len(study.sop_instance_uids),
        "inventoryDigest": digest,
        "completeness": "declared-complete",
        "source": {"kind": "dicomweb", "messageId": digest},
    } | ({"accession": accession} if study.accession_number else {})
