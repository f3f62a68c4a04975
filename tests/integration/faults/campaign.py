"""2,000 records of which one in twenty is poison of every kind that was met, while the store goes away twice and one of two gateways is killed.

Each sound record is an observation of its own, so what reached a patient's entity can be counted; each poison record has a key of its own, by
which its dead letter is found.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from kafka import KafkaProducer
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from schemas.events import OBSERVATION_TOPIC, RESULT_TOPIC, binary_form
from schemas.identifiers import Namespace, patient_workflow_id
from services.adapters import GATEWAY_GROUP, temporal
from services.bench.gateway import observation_event
from services.clients.kafka import Consumer
from services.db import DeadLetterRecords, open_migrated
from services.db.outbox import write_event
from services.parts.launcher import Launcher
from services.settings import Settings
from services.store import FolderObjectStore
from tests import inbox_samples as samples
from tests.integration.system import another_process, until
from tests.unit.test_kafka_client import Raw
from workflows.patient.workflow import PatientWorkflow

RECORDS, PATIENTS, ONE_IN = 2000, 40, 20
RESULTS, BAD_RESULT = 60, 20
AWAY_SECONDS = 4.0
CODECS = (None, "gzip", "snappy", "lz4", "zstd")
Headers = list[tuple[str, bytes]]


@dataclass
class Sent:
    """What was put on the bus and into the outbox."""

    sound: dict[str, set[str]] = field(default_factory=dict)
    """Observations of each patient."""
    poison: dict[bytes, str] = field(default_factory=dict)
    """Key of the record, and the code that its dead letter must have."""
    results: list[str] = field(default_factory=list)
    """Sound events of ours, in their order; the ids of the bad ones."""
    bad_results: list[str] = field(default_factory=list)


@dataclass
class Found:
    """What came of it."""

    observed: dict[str, list[str]]
    letters: dict[bytes, list[str]]
    kept: int
    """Dead letters whose bytes lie in the store."""
    results: list[str]
    bad_results: list[str]
    unread: int
    """Records of the bus that no gateway has committed."""


def live_through(settings: Settings, chance: random.Random) -> tuple[Sent, Found]:
    """The whole campaign on the broker that `settings` name, or the embedded one."""
    launcher = Launcher(settings)
    launcher.up(("gateway",))
    try:
        given = launcher.settings
        with another_process(given, "gateway") as other:
            came = asyncio.run(_live_through(launcher, given, chance))
        assert other.returncode == 0
        return came
    finally:
        launcher.down()


async def _live_through(launcher: Launcher, settings: Settings, chance: random.Random) -> tuple[Sent, Found]:
    client = await temporal(settings)
    sent = Sent()
    worker = Worker(
        client,
        task_queue=settings.task_queue,
        workflows=[PatientWorkflow],
        workflow_runner=UnsandboxedWorkflowRunner(),
    )
    async with worker:
        await asyncio.to_thread(_suffer, launcher, settings, sent, chance)
        await asyncio.to_thread(until, lambda: _unread(settings) == 0 or None, "every record to be committed", 240)
        await asyncio.to_thread(until, lambda: _all_sent(settings) or None, "the outbox to be empty", 120)
        return sent, await _found(client, settings, sent)


def _suffer(launcher: Launcher, settings: Settings, sent: Sent, chance: random.Random) -> None:
    """The store is away from a quarter and from three quarters on; the first gateway dies in the middle."""
    store = Path(settings.store)
    space = Namespace(settings.canonical_base, settings.tenant)
    producers = [KafkaProducer(bootstrap_servers=settings.kafka_bootstrap, compression_type=c) for c in CODECS]
    for number in range(RECORDS):
        if number in (RECORDS // 4, 3 * RECORDS // 4):
            store.rename(store.with_suffix(".away"))
            gone = time.monotonic()
        if number == RECORDS // 2:
            os.kill(launcher.records()["gateway"].pid or 0, signal.SIGKILL)
        if number % (RECORDS // RESULTS) == 0:
            _write_result(settings, sent, number)
        kind = KINDS[number // ONE_IN % len(KINDS)] if number % ONE_IN == 7 else None
        key, headers, value = _record(space, number, chance)
        if kind is None:
            patient = f"Patient/campaign-{number % PATIENTS}"
            sent.sound.setdefault(patient, set()).add(f"Observation/campaign-{number}")
        else:
            key = b"poison-%d" % number
            headers, value = kind.spoil(headers, value)
            sent.poison[key] = kind.code
        # a record with a bad header goes alone: nothing that is sound stands in its batch
        producers[0 if kind else number % len(CODECS)].send(OBSERVATION_TOPIC, value, key=key, headers=headers)
        if number % 50 == 49:
            for producer in producers:
                producer.flush()
        away = store.with_suffix(".away")
        if away.exists() and number % (RECORDS // 4) == RECORDS // 10:
            time.sleep(max(gone + AWAY_SECONDS - time.monotonic(), 0))
            away.rename(store)
    for producer in producers:
        producer.close()


def _record(space: Namespace, number: int, chance: random.Random) -> tuple[bytes, Headers, bytes]:
    """A sound observation as hospitals send them: with a charset, with headers of other systems."""
    event = observation_event(space, f"Observation/campaign-{number}", f"Patient/campaign-{number % PATIENTS}")
    told, headers, value = binary_form(event)
    if chance.random() < 0.2:
        headers = [(n, b"application/json; charset=utf-8" if n == "content-type" else v) for n, v in headers]
    if chance.random() < 0.2:
        headers = [*headers, ("x-lab", b"\xff\xfe\x00")]
    return told or b"", list(headers), value


@dataclass(frozen=True)
class Kind:
    """A way in which a record is no event, and the code of its dead letter."""

    code: str
    spoil: Callable[[Headers, bytes], tuple[Headers, bytes | None]]


def _with(headers: Headers, name: str, value: bytes) -> Headers:
    return [(n, value if n == name else v) for n, v in headers]


KINDS = (
    Kind("event-not-json", lambda headers, value: (headers, b"nonsense")),
    Kind("event-empty", lambda headers, value: (headers, None)),
    Kind("event-schema-invalid", lambda headers, value: (headers, value.replace(b'"final"', b'"well"'))),
    Kind("event-type-unknown", lambda headers, value: (_with(headers, "ce_type", b"org.example.odd.v1"), value)),
    Kind("event-other-tenant", lambda headers, value: (_with(headers, "ce_tenant", b"elsewhere"), value)),
    Kind("record-structure", lambda headers, value: ([*headers, (Raw("x"), b"1")], value)),
    Kind("event-schema-invalid", lambda headers, value: (headers, value.replace(b"Patient/", b"Patient/\\n"))),
)


def _write_result(settings: Settings, sent: Sent, number: int) -> None:
    """An event of ours about a result; some break their own schema, as one with an old archive's UID does."""
    event = samples.available(samples.result(f"c{number}", f"c{number}"))
    if len(sent.results) + len(sent.bad_results) in range(BAD_RESULT - 1, RESULTS, BAD_RESULT):
        event = event.model_copy(update={"data": event.data | {"studyInstanceUid": "1.2.840.099.7"}})
        sent.bad_results.append(event.id)
    else:
        sent.results.append(event.id)
    database = open_migrated(settings.database)
    with database.writing() as session:
        write_event(session, event)
    database.close()


# -- what came of it -----------------------------------------------------------------------------------------------------


def _unread(settings: Settings) -> int:
    """As the broker says; tansu may know the end of a partition late."""
    asking = Consumer(settings.kafka_bootstrap, GATEWAY_GROUP, [OBSERVATION_TOPIC])
    try:
        return asking.group_lag().unread
    finally:
        asking.close()


def _all_sent(settings: Settings) -> bool:
    from services.db import OutboxRecords

    database = open_migrated(settings.database)
    try:
        return OutboxRecords(database).unpublished(1) == []
    finally:
        database.close()


async def _found(client: Client, settings: Settings, sent: Sent) -> Found:
    space = Namespace(settings.canonical_base, settings.tenant)
    observed: dict[str, list[str]] = {}
    for patient in sent.sound:
        entity = client.get_workflow_handle(patient_workflow_id(space.patient_key(patient)))
        observed[patient] = [o.observation for o in await entity.query(PatientWorkflow.observations)]
    database = open_migrated(settings.database)
    rows = DeadLetterRecords(database).list_dead_letters(limit=RECORDS)
    database.close()
    store = FolderObjectStore(Path(settings.store))
    letters: dict[bytes, list[str]] = {}
    for row in rows:
        if row.topic == OBSERVATION_TOPIC:
            letters.setdefault(row.key or b"", []).append(row.code)
    kept = sum(store.get(row.object_key) is not None for row in rows)
    bad = [row.id for row in rows if row.topic == RESULT_TOPIC]
    return Found(observed, letters, kept, _results_on_the_bus(settings, len(sent.results)), bad, _unread(settings))


def _results_on_the_bus(settings: Settings, expected: int) -> list[str]:
    """In their order; looked for until all are there, and a little longer for those that came twice."""
    reader, found = Consumer(settings.kafka_bootstrap, "campaign", [RESULT_TOPIC]), list[str]()
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        records = reader.poll(500)
        found += [dict(record.headers)["ce_id"].decode() for record in records]
        if not records and len(found) >= expected:
            break
    reader.close()
    return found


def told_twice(found: Found) -> int:
    """A gateway that is killed between the broker's word and its own mark sends one event again, and no more."""
    return sum(times - 1 for times in Counter(found.results).values())
