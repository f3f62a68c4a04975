"""From the outbox to the bus: an event that can never be sent is set aside with its reason, and those behind it are sent."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from schemas.errors import InvalidEvent, PermanentFailure, TransientFailure
from schemas.events import CloudEvent, parse_event
from services.db import DeadLetterRecords, Lease, OutboxRecords, WaitingEvent, open_migrated
from services.db.outbox import write_event
from services.gateway.dead_letters import DeadLetterKeeper, send_again
from services.gateway.relay import Relay
from services.gateway.service import publish
from services.store import FolderObjectStore
from tests import inbox_samples as samples


def event(name: str, uid: str = "1.2.840.99.8") -> CloudEvent:
    """A result that is announced; a UID with a leading zero, as old archives hold them, breaks the schema of events."""
    told = samples.available(samples.result(name, name))
    return told.model_copy(update={"data": told.data | {"studyInstanceUid": uid}})


@dataclass
class Bus:
    """Takes what is sent, and fails as it was told."""

    faults: list[Exception] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)

    def send(self, topic: str, key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes]]) -> None:
        if self.faults:
            raise self.faults.pop(0)
        self.sent.append(parse_event(headers, value).id)


@dataclass
class House:
    folder: Path
    bus: Bus = field(default_factory=Bus)

    def __post_init__(self) -> None:
        self.database = open_migrated(f"sqlite:///{self.folder / 'longview.db'}")
        self.outbox, self.letters = OutboxRecords(self.database), DeadLetterRecords(self.database)
        self.store = FolderObjectStore(self.folder / "store")

    def write(self, *events: CloudEvent) -> None:
        for one in events:
            with self.database.writing() as session:
                write_event(session, one)

    def relay(self) -> Relay:
        """Of one gateway."""
        keeper = DeadLetterKeeper(self.store, self.letters, self.bus)  # type: ignore[arg-type]
        return Relay(self.outbox, Lease(self.database, "outbox"), self.bus, keeper)  # type: ignore[arg-type]


def test_one_invalid_event_of_ours_stops_nothing(tmp_path: Path) -> None:
    """It ended the gateway at every start."""
    house, before, broken, behind = House(tmp_path), event("a"), event("b", "1.2.840.099.7"), event("c")
    house.write(before, broken, behind)
    assert house.relay().send_waiting() == 3
    assert house.bus.sent == [before.id, behind.id]
    assert house.outbox.unpublished(10) == []
    [letter] = house.letters.list_dead_letters()
    assert (letter.id, letter.reason, letter.code) == (broken.id, "schema-invalid", "event-schema-invalid")


def test_what_the_broker_never_takes_is_kept_and_can_be_sent_again(tmp_path: Path) -> None:
    house, one = House(tmp_path, Bus([PermanentFailure("kafka-too-large", "too large")])), event("a")
    house.write(one)
    house.relay().send_waiting()
    [letter] = house.letters.list_dead_letters()
    assert (letter.code, letter.topic) == ("kafka-too-large", "longview.ai-result.v1")
    send_again(letter.id, house.letters, house.store, house.bus)  # type: ignore[arg-type]
    assert house.bus.sent == [one.id]


@pytest.mark.parametrize("fault", [TransientFailure("kafka-send", "away"), AssertionError("producer already closed")])
def test_while_the_broker_is_away_nothing_is_set_aside(tmp_path: Path, fault: Exception) -> None:
    house, one = House(tmp_path, Bus([fault])), event("a")
    house.write(one)
    relay = house.relay()
    with pytest.raises(type(fault)):
        relay.send_waiting()
    assert house.letters.list_dead_letters() == []
    assert relay.send_waiting() == 1
    assert house.bus.sent == [one.id]


async def test_a_database_that_is_away_for_a_moment_does_not_end_the_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.gateway.service.RELAY_SECONDS", 0.01)
    house, one, stop = House(tmp_path), event("a"), asyncio.Event()
    house.write(one)
    asked: list[int] = []

    class Away(OutboxRecords):
        def unpublished(self, limit: int) -> list[WaitingEvent]:
            asked.append(limit)
            if len(asked) < 3:
                raise OSError("gone")
            if len(asked) > 3:
                stop.set()
            return super().unpublished(limit)

    house.outbox = Away(house.database)
    await asyncio.wait_for(publish(house.relay(), stop), 30)
    assert house.bus.sent == [one.id]


def test_an_event_that_is_set_aside_twice_is_kept_once(tmp_path: Path) -> None:
    """A gateway that is killed between the two writes."""
    house = House(tmp_path)
    house.write(event("b", "1.2.840.099.7"))
    [row] = house.outbox.unpublished(1)
    keeper = DeadLetterKeeper(house.store, house.letters, house.bus)  # type: ignore[arg-type]
    for _ in range(2):
        keeper.set_aside(row, InvalidEvent("schema-invalid", "event-schema-invalid", "x"))
    assert len(house.letters.list_dead_letters()) == 1


def test_of_two_gateways_one_sends(tmp_path: Path) -> None:
    """Both sent every event: 122 of 150 went out twice."""
    house, events = House(tmp_path), [event(f"e{n}") for n in range(4)]
    one, other = house.relay(), house.relay()
    house.write(*events[:2])
    assert [one.send_waiting(), other.send_waiting()] == [2, 0]
    house.write(events[2])
    assert [other.send_waiting(), one.send_waiting()] == [0, 1]
    one.close()
    house.write(events[3])
    assert other.send_waiting() == 1
    assert house.bus.sent == [each.id for each in events]


def test_a_gateway_that_died_is_replaced_when_its_time_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    house = House(tmp_path)
    monkeypatch.setattr("services.gateway.relay.HOLD_SECONDS", 0.05)
    house.write(event("a"))
    assert house.relay().send_waiting() == 1
    house.write(event("b"))
    other = house.relay()
    while not other.send_waiting():
        time.sleep(0.01)
    assert len(house.bus.sent) == 2


def test_a_gateway_that_slept_through_its_time_sends_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its process was frozen in the middle of a batch; meanwhile another has taken over."""
    monkeypatch.setattr("services.gateway.relay.HOLD_SECONDS", 0.05)
    house = House(tmp_path)
    slept, other = house.relay(), house.relay()
    house.write(event("a"), event("b"), event("c"))

    def beat() -> None:
        if len(house.bus.sent) == 1:
            time.sleep(0.06)
            monkeypatch.setattr("services.gateway.relay.HOLD_SECONDS", 60.0)
            assert other.send_waiting() == 2

    assert slept.send_waiting(beat) == 1
    assert len(house.bus.sent) == 3
