"""The gateway with a bus and a Temporal that misbehave: nothing is committed too early, nothing stops the records behind."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest
from temporalio.service import RPCError, RPCStatusCode

from schemas.errors import InvalidEvent, PermanentFailure, TransientFailure
from schemas.events import STUDY_AVAILABLE, STUDY_TOPIC, CloudEvent, binary_form, dataschema
from schemas.identifiers import Namespace, instance_set_digest
from services.clients.kafka import Record
from services.gateway.intake import Intake
from services.gateway.service import consume

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


async def test_a_study_is_signalled_under_an_id_that_names_nobody() -> None:
    temporal = Temporal()
    await intake(temporal, Letters()).handle(announced(0))
    assert temporal.started == [f"study-{SPACE.study_key('1.2.3')}"]
    assert "1.2.3" not in temporal.started[0]


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


async def test_an_event_of_another_tenant_is_not_ours() -> None:
    letters = Letters()
    theirs = Intake(Temporal(), Namespace(SPACE.base, "clinic"), "q", "urn:longview:clinic:ai", letters)  # type: ignore[arg-type]
    await theirs.handle(announced(0))
    assert [letter.code for letter in letters.kept] == ["event-other-tenant"]


class Bus:
    """One partition; remembers what was committed, and begins again at what was rewound."""

    def __init__(self, records: list[Record], stop: asyncio.Event) -> None:
        self.records, self.stop = records, stop
        self.position = 0
        self.committed: list[int] = []

    def poll(self) -> list[Record]:
        polled = [record for record in self.records if record.offset >= self.position]
        self.position = len(self.records)
        if not polled:
            self.stop.set()
        return polled

    def commit(self, records: list[Record]) -> None:
        self.committed += [record.offset for record in records]

    def rewind(self, records: list[Record]) -> None:
        self.position = min(record.offset for record in records)


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
