"""Whole journeys on the embedded parts: what a hospital announces, and what then stands in FHIR, in the inbox and on the bus."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import httpx
import pydicom
import pytest
from temporalio.service import RPCError

from schemas.codes import Canonical
from schemas.errors import PermanentFailure, StaleWrite
from schemas.events import (
    OBSERVATION_AVAILABLE,
    OBSERVATION_TOPIC,
    RESULT_REVIEWED,
    RESULT_TOPIC,
    STUDY_TOPIC,
    CloudEvent,
    dataschema,
    now_rfc3339,
)
from schemas.facts import ObservationAvailable
from schemas.identifiers import patient_workflow_id
from schemas.report import ReviewAct
from services.adapters import temporal
from services.clients.kafka import Producer
from services.demo.load import Index, load_chart, store_images
from services.demo.own_chart import read_chart
from services.demo.publish import publish_study, study_event
from services.demo.subject import Subject, own_subject
from services.operate import list_dead_letters, replay_dead_letter
from tests.integration.journeys import ABSENT, DETECTED, answering_model, codes, decide, phantom, start_on, uid_of
from tests.integration.system import System, until
from workflows.patient.workflow import PatientWorkflow

pytestmark = pytest.mark.integration


@pytest.fixture
def subject(quick: System) -> Subject:
    """A patient with a story, loaded, whose study nobody has announced yet."""
    made = phantom(quick)
    quick.load(made)
    return made


# -- one result -------------------------------------------------------------------------------------------------------


def test_the_same_event_twice_and_two_events_of_one_unchanged_study(quick: System, subject: Subject) -> None:
    published = quick.announce(subject)
    quick.result(published.workflow_id)
    assert quick.announce(subject).event_id == published.event_id
    study = quick.archive.find_study(uid_of(subject))
    again = study_event(quick.settings, study, subject.patient).model_copy(update={"id": str(uuid.uuid4())})
    quick.publish(STUDY_TOPIC, again)
    key = published.study_key
    unchanged = until(
        lambda: [r for r in quick.runs() if (r.study_key, r.state) == (key, "unchanged")] or None, "the re-run"
    )
    assert len(unchanged) == 1
    assert len(quick.reports(uid_of(subject))) == len(quick.inbox_entries(uid_of(subject))) == 1


def test_images_that_arrive_late_make_a_new_result_that_supersedes_the_unread_one(
    quick: System, subject: Subject
) -> None:
    published = quick.announce(subject)
    first = quick.result(published.workflow_id).written
    quick.archive.store([one_more_instance(subject)])
    assert publish_study(quick.settings, uid_of(subject), subject.patient).event_id != published.event_id
    until(lambda: True if len(quick.inbox_entries(uid_of(subject))) == 2 else None, "the second entry")
    second = quick.result(published.workflow_id).written
    assert first is not None
    assert second is not None
    assert [status for _, status in quick.inbox_entries(uid_of(subject))] == ["superseded", "unread"]
    canonical = Canonical(quick.settings.canonical_base)
    statuses = {
        identifier["value"]: report["status"]
        for report in quick.reports(uid_of(subject))
        for identifier in report["identifier"]
        if identifier["system"] == canonical.sid("ai-result")
    }
    assert statuses == {first.result_id: "cancelled", second.result_id: "partial"}
    old_task = quick.fhir.read(first.task.partition("/_history")[0])
    assert old_task["status"] == "cancelled"


def one_more_instance(subject: Subject) -> bytes:
    """A localizer of one slice: the series that is read stays the same, the study does not."""
    ds = pydicom.dcmread(BytesIO(list(subject.files())[-1]))
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    ds.SeriesInstanceUID, ds.SeriesNumber, ds.SeriesDescription = pydicom.uid.generate_uid(), 99, "LOCALIZER"
    buffer = BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def test_a_reviewer_accepts_and_nobody_can_decide_again(quick: System, subject: Subject) -> None:
    published = quick.announce(subject)
    written = quick.result(published.workflow_id).written
    assert written is not None
    act = ReviewAct(
        act_id=str(uuid.uuid4()),
        result_id=written.result_id,
        outcome="accepted",
        reviewer="Dr. R. Test",
        at=now_rfc3339(),
        report_version=written.report,
    )
    done = asyncio.run(decide(quick, published.workflow_id, act))
    assert done.outcome == "accepted"
    [report] = quick.reports(uid_of(subject))
    assert report["status"] == "preliminary"
    assert {label["code"] for label in report["meta"]["security"]} == {"AIAST", "CLINAST"}
    assert quick.inbox_entries(uid_of(subject)) == [(written.result_id, "accepted")]
    other = act.model_copy(update={"act_id": str(uuid.uuid4()), "outcome": "rejected"})
    with pytest.raises((StaleWrite, PermanentFailure)) as refused:
        asyncio.run(decide(quick, published.workflow_id, other))
    assert refused.value.code in ("already-reviewed", "review-stale", "review-closed")
    told = quick.query("SELECT topic, event FROM outbox WHERE key = :x ORDER BY seq", published.study_key)
    assert [topic for topic, _ in told] == [RESULT_TOPIC, RESULT_TOPIC]
    assert RESULT_REVIEWED in told[-1][1]


# -- observations -----------------------------------------------------------------------------------------------------


def test_an_announced_observation_is_known_to_the_patients_memory(quick: System, subject: Subject) -> None:
    space = quick.settings.namespace
    chart = quick.fhir.patient_record(subject.patient)
    newest = next(r for r in chart if r["resourceType"] == "Observation")
    reference, key = f"Observation/{newest['id']}", space.patient_key(subject.patient)
    event = CloudEvent(
        id=space.event_id(OBSERVATION_AVAILABLE, reference),
        source="urn:longview:hospital:lab",
        type=OBSERVATION_AVAILABLE,
        subject=f"patient/{key}",
        time=now_rfc3339(),
        dataschema=dataschema(space.base, OBSERVATION_AVAILABLE),
        partitionkey=key,
        tenant=space.tenant,
        data={
            "observation": reference,
            "patient": subject.patient,
            "status": "final",
            "source": {"kind": "fhir-subscription", "messageId": "1"},
        },
    )
    for _ in range(2):
        quick.publish(OBSERVATION_TOPIC, event)
    known = until(lambda: asyncio.run(remembered(quick, key)) or None, "the patient's memory")
    assert [o.observation for o in known] == [reference]
    quick.result(quick.announce(subject).workflow_id)


async def remembered(quick: System, patient_key: str) -> list[ObservationAvailable]:
    client = await temporal(quick.settings)
    handle = client.get_workflow_handle_for(PatientWorkflow.run, patient_workflow_id(patient_key))
    try:
        return await handle.query(PatientWorkflow.observations)
    except RPCError:
        return []


# -- bad input --------------------------------------------------------------------------------------------------------


def test_a_study_that_the_archive_does_not_know(quick: System, subject: Subject) -> None:
    missing = pydicom.uid.generate_uid()
    study = quick.archive.find_study(uid_of(subject)).model_copy(update={"study_instance_uid": missing})
    event = study_event(quick.settings, study, subject.patient)
    quick.publish(STUDY_TOPIC, event)
    run = quick.failed_run(event.partitionkey)
    assert (run.stage, run.code) == ("fetch-images", "study-not-found")
    assert not quick.reports(missing)
    [(_, told)] = quick.query("SELECT topic, event FROM outbox WHERE key = :x", event.partitionkey)
    assert '"study-not-found"' in told.replace("\\", "")
    assert missing not in str(run)


def test_a_patient_whom_fhir_does_not_know(quick: System) -> None:
    stranger = phantom(quick)
    store_images(quick.archive, stranger.files())
    published = publish_study(quick.settings, uid_of(stranger), "Patient/nobody")
    run = quick.failed_run(published.study_key)
    assert (run.stage, run.code) == ("fetch-history", "patient-not-found")


def test_another_patients_study(quick: System, subject: Subject) -> None:
    other = phantom(quick)
    quick.load(other)
    published = publish_study(quick.settings, uid_of(subject), other.patient)
    run = quick.failed_run(published.study_key)
    assert (run.stage, run.code) == ("fetch-images", "patient-mismatch")
    assert not quick.reports(uid_of(subject))


@pytest.mark.parametrize(("fault", "code"), [("scattered", "geometry-shear"), ("gapped", "geometry-gap")])
def test_a_stack_that_cannot_be_read_is_left_to_people(quick: System, fault: str, code: str) -> None:
    """The run fails by name; inbox and FHIR say that somebody has to look."""
    subject = phantom(quick)
    store_images(quick.archive, spoiled(subject, fault))
    index = Index(quick.settings.canonical_base, quick.settings.accessions)
    load_chart(quick.fhir, subject.bundle, subject.patient, subject.studies, index)
    run = quick.failed_run(publish_study(quick.settings, uid_of(subject), subject.patient).study_key)
    assert (run.stage, run.code, run.retryable) == ("fetch-images", code, False)
    [(notice, _)] = until(lambda: quick.inbox_entries(uid_of(subject)) or None, "the notice")
    shown = httpx.get(f"{quick.settings.inbox_url}/api/results/{notice}", trust_env=False).json()
    assert shown["headline"].startswith("The AI could not read this study: ")
    assert {(row["outcome"], row["code"]) for row in shown["series"]} == {("refused", code), ("left-out", "localizer")}
    task = quick.fhir.read(shown["result"]["task"])
    assert (task["status"], codes(task["code"])) == ("requested", ["read-unread-study"])
    assert "Look at it yourself." in task["description"]


def spoiled(subject: Subject, fault: str) -> Iterator[bytes]:
    """The current study with every other slice shifted by three centimetres, or with a slice missing."""
    for data in subject.files():
        ds = pydicom.dcmread(BytesIO(data))
        if uid_of(subject) == ds.StudyInstanceUID:
            if fault == "gapped" and ds.InstanceNumber == 7:
                continue
            if fault == "scattered" and ds.InstanceNumber % 2:
                x, y, z = (float(value) for value in ds.ImagePositionPatient)
                ds.ImagePositionPatient = [f"{x + 30:.3f}", f"{y:.3f}", f"{z:.3f}"]
        buffer = BytesIO()
        ds.save_as(buffer, enforce_file_format=True)
        yield buffer.getvalue()
    yield one_more_instance(subject)  # a localizer, which is a plain grid of one slice and must not stand in


def test_an_event_that_breaks_the_schema_is_kept_and_can_be_replayed(quick: System, subject: Subject) -> None:
    """It stands among the dead letters with its reason, the consumer goes on, and a replay sends the very same bytes."""
    before = len(list_dead_letters(quick.settings))
    producer = Producer(quick.settings.kafka_bootstrap)
    try:
        producer.send(STUDY_TOPIC, b"k", b'{"specversion": "1.0", "name": "DOE^JANE"}', [])
    finally:
        producer.close()
    quick.result(quick.announce(subject).workflow_id)
    letter, *older = list_dead_letters(quick.settings)
    assert len(older) == before
    assert (letter["reason"], letter["code"], letter["topic"]) == (
        "schema-invalid",
        "event-schema-invalid",
        STUDY_TOPIC,
    )
    assert "DOE" not in str(letter)
    replay_dead_letter(quick.settings, letter["id"])
    until(lambda: True if len(list_dead_letters(quick.settings)) == before + 2 else None, "the same record, dead again")


def test_a_located_finding_reaches_fhir_and_inbox_with_its_box(quick: System, subject: Subject) -> None:
    """The phantom's nodule, as a trained model would report it: on slice 26, in the right lung, larger than before."""
    with (
        answering_model(quick, json.dumps({"findings": NODULE_SEEN})) as url,
        quick.another_worker(model_url=url, task_queue="nodule"),
    ):
        asyncio.run(start_on(quick, subject, "nodule"))
        until(lambda: quick.inbox_entries(uid_of(subject)) or None, "the entry")
    [report] = quick.reports(uid_of(subject))
    findings = [quick.fhir.read(link["reference"]) for link in report["result"]]
    [nodule] = [f for f in findings if f["valueCodeableConcept"]["coding"][0]["code"] == DETECTED]
    [region] = [e for e in nodule["extension"] if e["url"].endswith("/image-region")]
    parts = {part["url"]: part for part in region["extension"]}
    seen = next(ds for ds in slices(subject) if parts["instanceUid"]["valueId"] == ds.SOPInstanceUID)
    assert float(seen.ImagePositionPatient[2]) == pytest.approx(-78.0 + 25 * 4.0)
    assert "14 mm" in report["conclusion"]
    assert len(report["media"]) == 1
    [(result, _)] = quick.inbox_entries(uid_of(subject))
    page = httpx.get(f"{quick.settings.inbox_url}/results/{result}", trust_env=False).text
    assert '<rect x="61.44" y="97.28" width="12.8" height="12.8"' in page
    assert "Pulmonary nodule" in page


NODULE_SEEN = {
    "pulmonary-nodule": {
        "presence": "detected",
        "likelihood": "probable",
        "side": "right",
        "change": "worse",
        "location": {"slice": 26, "box_2d": [380, 240, 430, 290], "long_axis_mm": 14},
    }
} | dict.fromkeys(("pleural-effusion", "consolidation", "pneumothorax"), ABSENT)


def slices(subject: Subject) -> list[pydicom.Dataset]:
    sets = [pydicom.dcmread(BytesIO(data), stop_before_pixels=True) for data in subject.files()]
    return [ds for ds in sets if uid_of(subject) == ds.StudyInstanceUID]


def test_an_answer_that_breaks_the_schema_is_never_written(quick: System, subject: Subject) -> None:
    """Another model server answers beside the JSON that was asked for: the run says so, no result reaches FHIR, and people are told to look."""
    with (
        answering_model(quick, "The chest looks fine.") as url,
        quick.another_worker(model_url=url, task_queue="babble"),
    ):
        asyncio.run(start_on(quick, subject, "babble"))
        run = quick.failed_run(quick.settings.namespace.study_key(uid_of(subject)))
        [(notice, status)] = until(lambda: quick.inbox_entries(uid_of(subject)) or None, "the notice")
    assert (run.stage, run.code, run.retryable) == ("validate", "model-output-invalid", False)
    assert not quick.reports(uid_of(subject))
    assert status == "unread"
    shown = httpx.get(f"{quick.settings.inbox_url}/api/results/{notice}", trust_env=False).json()
    assert shown["headline"] == "The AI could not read this study: a step of the system failed. Look at it yourself."


# -- real cases -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("series", ["ct/head_5mm", "mr/t1"])
def test_real_images_with_a_synthetic_patient(quick: System, test_data: Path, series: str) -> None:
    charts = sorted((test_data / "fhir" / "synthea").glob("*.json"))
    subject = own_subject(test_data / series, charts[0 if series.startswith("mr") else 1])
    quick.load(subject)
    progress = quick.result(quick.announce(subject).workflow_id)
    assert progress.written is not None
    assert [report["status"] for report in quick.reports(uid_of(subject))] == ["partial"]


def test_a_real_tilted_ct_is_read_and_the_result_says_so(quick: System, test_data: Path) -> None:
    """It comes from the scanner and under the PatientID of head_5mm, hence the same patient."""
    charts = sorted((test_data / "fhir" / "synthea").glob("*.json"))
    subject = own_subject(test_data / "ct" / "head_tilted", charts[1])
    quick.load(subject)
    quick.result(quick.announce(subject).workflow_id)
    [report] = quick.reports(uid_of(subject))
    assert "slices tilted by 19 degrees, read one by one" in report["conclusion"]


@pytest.mark.long
def test_every_synthetic_patient_goes_the_whole_way(quick: System, test_data: Path) -> None:
    """Each with the phantom's images, under a PatientID of their own."""
    announced = []
    for chart in sorted((test_data / "fhir" / "synthea").glob("*.json")):
        own = read_chart(chart)
        subject = replace(phantom(quick), bundle=own.bundle, patient=own.patient)
        quick.load(subject)
        announced.append((subject, quick.announce(subject).workflow_id))
    assert announced
    for subject, workflow_id in announced:
        quick.result(workflow_id)
        assert len(quick.inbox_entries(uid_of(subject))) == 1
