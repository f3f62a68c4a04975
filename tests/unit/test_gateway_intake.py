"""The gateway with a bus and a Temporal that misbehave: nothing is committed too early, nothing stops the records behind."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from temporalio.service import RPCError, RPCStatusCode

from schemas.errors import InvalidEvent, PermanentFailure, TransientFailure
from schemas.events import (
    ORDER_CHANGED,
    ORDER_TOPIC,
    PATIENT_MERGED,
    REPORT_FINALISED,
    RUN_FAILED,
    STUDY_AVAILABLE,
    STUDY_TOPIC,
    CloudEvent,
    binary_form,
    dataschema,
)
from schemas.facts import OrderChanged, PatientMerged
from schemas.identifiers import Namespace, instance_set_digest
from services.clients.kafka import GroupLag, Reach, Record
from services.gateway.cap import DeadLetterCap, Limits
from services.gateway.dead_letters import send_again
from services.gateway.intake import Intake
from services.gateway.progress import QUIET_SECONDS, Standstill
from services.gateway.routing import patient_of, routed
from services.gateway.service import consume
from services.store import FolderObjectStore

SPACE = Namespace("https://ai.example.org/fhir", "hospital")


def announced(offset: int, uid: str = "1.2.3") -> Record:
    key = SPACE.study_key(uid)
    event = CloudEvent(
        id=SPACE.event_id(STUDY_AVAILABLE, f"{uid}|{offset}"),
        source="urn:longview:hospital:archive",
        type=STUDY_AVAILABLE,
        subject=f"study/{key}",
        time="2026-11-24T08:00:00Z",
        dataschema=dataschema(SPACE.base, STUDY_AVAILABLE),
        partitionkey=key,
        tenant="hospital",
        data={
            "studyInstanceUid": uid,
            "patient": "Patient/p-1",
            "modalities": ["CT"],
            "seriesCount": 1,
            "instanceCount": 1,
            "inventoryDigest": instance_set_digest(["1.2.3.4"]),
            "completeness": "quiescent",
            "source": {"kind": "dicomweb", "messageId": "m"},
        },
    )
    key_bytes, headers, value = binary_form(event)
    return Record(STUDY_TOPIC, 0, offset, key_bytes, value, headers)


@dataclass
class Temporal:
    """Takes signals, or raises what it was given, call by call."""

    faults: list[Exception] = field(default_factory=list)
    started: list[str] = field(default_factory=list)

    async def start_workflow(self, *_: Any, id: str, **__: Any) -> None:
        if self.faults:
            raise self.faults.pop(0)
        self.started.append(id)


@dataclass
class Letters:
    kept: list[InvalidEvent] = field(default_factory=list)
    failure: Exception | None = None

    def keep(self, record: Record, invalid: InvalidEvent, event: CloudEvent) -> None:
        if self.failure is not None:
            raise self.failure
        self.kept.append(invalid)


def intake(temporal: Temporal, letters: Letters) -> Intake:
    return Intake(temporal, SPACE, "longview", "urn:longview:hospital:ai", letters)  # type: ignore[arg-type]


async def test_a_study_goes_to_its_patients_entity_under_an_id_that_names_nobody() -> None:
    temporal = Temporal()
    await intake(temporal, Letters()).handle(announced(0))
    assert temporal.started == [f"patient-{SPACE.patient_key('Patient/p-1')}"]
    assert "p-1" not in temporal.started[0]


def hospital(kind: str, subject: str, **data: Any) -> CloudEvent:
    return CloudEvent(
        id=SPACE.event_id(kind, str(data)),
        source="urn:longview:hospital:ris",
        type=kind,
        subject=subject,
        time="2026-11-24T08:00:00Z",
        dataschema=dataschema(SPACE.base, kind),
        partitionkey=subject.partition("/")[2],
        tenant="hospital",
        data=data | {"source": {"kind": "hl7v2", "messageId": "m"}},
    )


ORDER = {"serviceRequest": "ServiceRequest/o", "patient": "Patient/p-1", "change": "cancelled", "priority": "stat"}
REPORT = {"diagnosticReport": "DiagnosticReport/r", "patient": "Patient/p-1", "status": "final"}


def test_orders_and_reports_say_which_study_they_are_about_as_far_as_they_can() -> None:
    key = SPACE.study_key("1.2.3")
    named = routed(hospital(REPORT_FINALISED, f"study/{key}", **REPORT, studyInstanceUid="1.2.3"), SPACE)
    assert (named.address.study_key, named.address.thread_id) == (key, SPACE.thread_id("1.2.3"))
    accession = {"system": "https://hospital.example.org/sid/accession", "value": "A1"}
    by_number = routed(hospital(ORDER_CHANGED, "order/o", **ORDER, accession=accession), SPACE)
    assert by_number.address.study_key is None
    assert by_number.address.accession == "https://hospital.example.org/sid/accession|A1"
    assert isinstance(by_number.event, OrderChanged)
    assert (by_number.event.change, by_number.event.priority) == ("cancelled", "stat")


def test_a_merge_is_the_survivors_business_and_leaves_record_numbers_behind() -> None:
    merge = hospital(
        PATIENT_MERGED,
        "patient/x",
        survivor="Patient/p-1",
        retired="Patient/p-9",
        survivorIdentifier={"system": "urn:mrn", "value": "M0001"},
        retiredIdentifier={"system": "urn:mrn", "value": "M0009"},
    )
    told = routed(merge, SPACE)
    assert patient_of(told) == "Patient/p-1"
    assert isinstance(told.event, PatientMerged)
    assert told.event.retired_key == SPACE.patient_key("Patient/p-9")
    assert "M000" not in told.model_dump_json()


def test_a_patient_cannot_be_merged_into_itself() -> None:
    with pytest.raises(InvalidEvent):
        routed(hospital(PATIENT_MERGED, "patient/x", survivor="Patient/p", retired="Patient/p/_history/2"), SPACE)


def test_what_we_publish_ourselves_is_not_taken_from_a_hospitals_topic() -> None:
    with pytest.raises(InvalidEvent) as refused:
        routed(hospital(RUN_FAILED, "study/x"), SPACE)
    assert refused.value.reason == "unknown-type"


async def test_temporal_away_means_the_record_must_come_again() -> None:
    away = RPCError("away", RPCStatusCode.UNAVAILABLE, b"")
    letters = Letters()
    with pytest.raises(TransientFailure):
        await intake(Temporal([away]), letters).handle(announced(0))
    assert not letters.kept


async def test_what_temporal_refuses_for_good_is_a_dead_letter() -> None:
    letters = Letters()
    await intake(Temporal([RPCError("no", RPCStatusCode.INVALID_ARGUMENT, b"")]), letters).handle(announced(0))
    assert [letter.code for letter in letters.kept] == ["temporal-refused"]


async def test_a_fault_of_ours_is_a_dead_letter_and_not_a_crash_loop() -> None:
    letters = Letters()
    await intake(Temporal([ZeroDivisionError("1.2.3")]), letters).handle(announced(0))
    assert [letter.code for letter in letters.kept] == ["event-fault-zerodivisionerror"]
    assert "1.2.3" not in str(letters.kept[0])


async def test_a_dead_letter_that_cannot_be_kept_is_not_forgotten() -> None:
    letters = Letters(failure=PermanentFailure("database-refused"))
    with pytest.raises(TransientFailure):
        await intake(Temporal(), letters).handle(Record(STUDY_TOPIC, 0, 0, None, b"nonsense"))


async def test_a_record_that_could_not_be_decoded_is_a_dead_letter_with_the_reason() -> None:
    letters = Letters()
    broken = Record(STUDY_TOPIC, 0, 7, None, b"raw", [], None, "record-compression")
    await intake(Temporal(), letters).handle(broken)
    assert [(letter.reason, letter.code) for letter in letters.kept] == [("permanent-error", "record-compression")]


@dataclass
class Kept:
    """One dead letter in the database, and what was sent to the bus."""

    code: str
    sent: list[bytes | None] = field(default_factory=list)
    topic: str = STUDY_TOPIC
    key: bytes | None = b"k"
    object_key: str = ""
    headers: tuple[tuple[str, bytes], ...] = ()

    def get(self, _: str) -> Any:
        return self

    def mark_replayed(self, _: str) -> None: ...

    def send(self, topic: str, key: bytes | None, value: bytes | None, headers: Any) -> None:
        self.sent.append(value)


def test_what_is_sent_again_is_what_came(tmp_path: Path) -> None:
    """A record without a value is one again; one that was never decoded is not sent at all."""
    store = FolderObjectStore(tmp_path)
    empty, sound, broken = Kept("event-empty"), Kept("event-not-json"), Kept("record-structure")
    sound.object_key = store.put(b"nonsense")
    for one in (empty, sound):
        send_again("id", one, store, one)  # type: ignore[arg-type]
    assert (empty.sent, sound.sent) == ([None], [b"nonsense"])
    with pytest.raises(PermanentFailure, match="dead-letter-undecodable"):
        send_again("id", broken, store, broken)  # type: ignore[arg-type]
    assert broken.sent == []


async def test_an_event_of_another_tenant_is_not_ours() -> None:
    letters = Letters()
    theirs = Intake(Temporal(), Namespace(SPACE.base, "clinic"), "q", "urn:longview:clinic:ai", letters)  # type: ignore[arg-type]
    await theirs.handle(announced(0))
    assert [letter.code for letter in letters.kept] == ["event-other-tenant"]


def test_a_group_that_leaves_records_unread_is_noticed_and_a_quiet_bus_is_not() -> None:
    """After another gateway's death a consumer came round and round, and got nothing of what lay there."""
    now = [0.0]
    standstill = Standstill(lambda: now[0])

    def quiet_for(seconds: float) -> bool:
        now[0] += seconds
        return standstill.is_due()

    def at(offset: int, unread: int) -> GroupLag:
        return GroupLag(unread, ((STUDY_TOPIC, 0, offset),))

    assert not quiet_for(QUIET_SECONDS / 2)
    assert quiet_for(QUIET_SECONDS / 2)
    assert not standstill.proves(at(7, unread=0))
    assert not quiet_for(1)
    assert quiet_for(QUIET_SECONDS)
    assert not standstill.proves(at(7, unread=3)), "it may have come this moment"
    assert quiet_for(QUIET_SECONDS)
    assert not standstill.proves(at(8, unread=2)), "another gateway reads"
    standstill.polled(0)
    assert quiet_for(QUIET_SECONDS)
    assert standstill.proves(at(8, unread=2))
    standstill.polled(1)
    assert not quiet_for(1)


class Bus:
    """One partition; remembers what was committed, and begins again at what was rewound."""

    def __init__(self, records: list[Record], stop: asyncio.Event) -> None:
        self.records, self.stop = records, stop
        self.position = 0
        self.committed: list[int] = []
        self.left_out = asyncio.Event()

    def poll(self, timeout_ms: int, without: Collection[str] = ()) -> list[Record]:
        self.without = frozenset(without)
        if without:
            self.left_out.set()
        polled = [record for record in self.records if record.offset >= self.position and record.topic not in without]
        self.position = len(self.records)
        if len(set(self.committed)) == len(self.records):
            self.stop.set()
        return polled

    def commit(self, records: list[Record]) -> None:
        self.committed += [record.offset for record in records]

    def rewind(self, records: list[Record]) -> None:
        self.position = min(record.offset for record in records)

    def reach(self) -> dict[tuple[str, int], Reach]:
        return {(STUDY_TOPIC, 0): Reach(self.position, len(self.records))}


async def test_nothing_is_committed_past_a_record_that_temporal_has_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three events of one study: the second meets Temporal's absence, so it and the third come again, in order."""
    monkeypatch.setattr("services.gateway.service.RETRY_SECONDS", 0.01)
    stop = asyncio.Event()
    bus = Bus([announced(offset) for offset in range(3)], stop)

    class Moody(Temporal):
        async def start_workflow(self, *args: Any, id: str, **more: Any) -> None:
            if len(self.started) == 1 and not self.faults:
                self.faults = [RPCError("away", RPCStatusCode.UNAVAILABLE, b"")]
                raise self.faults[0]
            self.started.append(id)

    temporal = Moody()
    await asyncio.wait_for(consume(bus, intake(temporal, Letters()), stop), 10)  # type: ignore[arg-type]
    assert bus.committed == [0, 1, 2]
    assert len(temporal.started) == 3


async def test_a_topic_of_poison_pauses_instead_of_being_emptied(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is refused by the cap is not committed; a study of another topic is read all the same."""
    monkeypatch.setattr("services.gateway.service.RETRY_SECONDS", 0.01)
    stop, letters, temporal = asyncio.Event(), Letters(), Temporal()
    poison = [Record(ORDER_TOPIC, 1, offset, b"k", b"nonsense") for offset in range(20)]
    bus = Bus([*poison, announced(0)], stop)
    capped = Intake(
        temporal, SPACE, "longview", "urn:longview:hospital:ai", letters, DeadLetterCap(Limits(most=5, share=0))  # type: ignore[arg-type]
    )  # fmt: skip
    going = asyncio.create_task(consume(bus, capped, stop))  # type: ignore[arg-type]
    await asyncio.wait_for(bus.left_out.wait(), 20)
    stop.set()
    await asyncio.wait_for(going, 20)
    assert len(temporal.started) == 1
    assert len(letters.kept) == 5
    assert bus.without == {ORDER_TOPIC}
    assert len(bus.committed) == 6
