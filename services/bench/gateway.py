"""The gateway's intake beside a bare signal-with-start loop: the same events, the same Temporal server, the same patients at a time, in one run.

The gateway's side is the real one: records from the embedded Kafka broker through `consume` and `Intake`, validated, in order for each patient,
committed. The bare loop signals records that are decoded already. No worker runs, so both meet a server with nothing else to do; rounds alternate.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import statistics
import tempfile
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from temporalio.client import Client

from schemas.errors import InvalidEvent, PartUnavailable
from schemas.events import OBSERVATION_AVAILABLE, CloudEvent, dataschema, now_rfc3339
from schemas.facts import PatientEvent, PatientInput
from schemas.identifiers import Namespace, patient_workflow_id
from services.adapters import temporal
from services.bench import rounds
from services.clients.kafka import Consumer, Producer, Record, ensure_topics
from services.gateway.intake import Intake
from services.gateway.routing import routed
from services.gateway.service import consume
from services.parts.launcher import Launcher
from services.settings import Settings
from services.telemetry.process import NOISY_LOGGERS
from workflows.patient.workflow import PatientWorkflow

EVENTS, PATIENTS, ROUNDS = 1500, 50, 5
QUEUE = "bench"
SEED = 5


def run() -> dict[str, Any]:
    """`ratios.to_bare_signal`: events a second through the gateway over those of the bare loop, the median of the rounds' own ratios."""
    events = int(os.environ.get("LONGVIEW_BENCH_EVENTS", EVENTS))
    for name in ("services.gateway", *NOISY_LOGGERS):
        logging.getLogger(name).setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="longview-bench-") as folder, _parts(Path(folder)) as settings:
        rates = asyncio.run(_measure(settings, events))
    medians = {name: statistics.median(found) for name, found in rates.items()}
    pairs = [ours / bare for ours, bare in zip(rates["gateway"], rates["bare"], strict=True)]
    return {
        "ratios": {"to_bare_signal": round(statistics.median(pairs), 3)},
        "events_a_second": {name: round(median, 1) for name, median in medians.items()},
        "rounds": {name: [round(rate, 1) for rate in found] for name, found in rates.items()},
        "events": events,
        "patients": PATIENTS,
    }


@contextmanager
def _parts(folder: Path) -> Iterator[Settings]:
    launcher = Launcher(Settings(state_dir=str(folder / "state")))
    try:
        launcher.up(("broker", "temporal"))
        yield launcher.settings
    finally:
        launcher.down()


async def _measure(settings: Settings, events: int) -> dict[str, list[float]]:
    client = await temporal(settings)
    rates: dict[str, list[float]] = {"bare": [], "gateway": []}
    await _bare(client, settings, _events(settings, PATIENTS, "warm-up"))
    for number in range(rounds(ROUNDS)):
        for name, measure in (("bare", _bare), ("gateway", _gateway)):
            told = _events(settings, events, f"{name}-{number}")
            seconds = await measure(client, settings, told)
            rates[name].append(events / seconds)
    return rates


def _events(settings: Settings, count: int, label: str) -> list[CloudEvent]:
    """Observations of PATIENTS patients in a random order; other patients for each label, so that every round begins alike."""
    chance, space = random.Random(SEED), settings.namespace  # noqa: S311 (no secret)
    made = []
    for number in range(count):
        patient = f"Patient/{label}-{chance.randrange(PATIENTS)}"
        made.append(observation_event(space, f"Observation/{label}-{number}", patient))
    return made


def observation_event(space: Namespace, name: str, patient: str) -> CloudEvent:
    """That an observation of a patient is final (both as references), as a laboratory's system says it."""
    key = space.patient_key(patient)
    return CloudEvent(
        id=space.event_id(OBSERVATION_AVAILABLE, name),
        source="urn:longview:bench",
        type=OBSERVATION_AVAILABLE,
        subject=f"patient/{key}",
        time=now_rfc3339(),
        dataschema=dataschema(space.base, OBSERVATION_AVAILABLE),
        partitionkey=key,
        tenant=space.tenant,
        data={
            "observation": name,
            "patient": patient,
            "status": "final",
            "source": {"kind": "poll", "messageId": name},
        },
    )


# -- the peer ------------------------------------------------------------------------------------------------------------------


async def _bare(client: Client, settings: Settings, told: list[CloudEvent]) -> float:
    """Seconds for signal-with-start of every event: one after the other for a patient, all patients at once."""
    chains: dict[str, list[PatientEvent]] = {}
    for event in told:
        chains.setdefault(event.partitionkey, []).append(routed(event, settings.namespace))
    began = time.perf_counter()
    await asyncio.gather(*(_signal_all(client, key, chain) for key, chain in chains.items()))
    return time.perf_counter() - began


async def _signal_all(client: Client, patient_key: str, chain: list[PatientEvent]) -> None:
    for event in chain:
        await client.start_workflow(
            PatientWorkflow.run,
            PatientInput(patient_key=patient_key),
            id=patient_workflow_id(patient_key),
            task_queue=QUEUE,
            start_signal="event_available",
            start_signal_args=[event],
        )


# -- the gateway ---------------------------------------------------------------------------------------------------------------


async def _gateway(client: Client, settings: Settings, told: list[CloudEvent]) -> float:
    """Seconds from the first record that is handled to the commit of the last."""
    topic = f"bench.{told[0].id}"
    await asyncio.to_thread(_publish, settings, topic, told)
    consumer = await asyncio.to_thread(_Watched, settings.kafka_bootstrap, topic)
    intake = Intake(client, settings.namespace, QUEUE, settings.event_source, _NoDeadLetters())
    stop = asyncio.Event()
    consuming = asyncio.create_task(consume(consumer, intake, stop))
    try:
        while consumer.committed < len(told):
            if consuming.done():
                consuming.result()
            await asyncio.sleep(0.02)
    finally:
        stop.set()
        await consuming
        consumer.close()
    return consumer.last_commit - consumer.first_poll


def _publish(settings: Settings, topic: str, told: list[CloudEvent]) -> None:
    ensure_topics(settings.kafka_bootstrap, [topic])
    producer = Producer(settings.kafka_bootstrap)
    try:
        for event in told:
            producer.send_event(topic, event)
    finally:
        producer.close()


class _Watched(Consumer):
    """The gateway's consumer, with a look at the clock when records come and when they are committed."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        super().__init__(bootstrap, f"group-{topic}", [topic])
        self.first_poll = self.last_commit = 0.0
        self.committed = 0

    def poll(self, timeout_ms: int = 500, without: Collection[str] = ()) -> list[Record]:
        asked = time.perf_counter()
        records = super().poll(timeout_ms, without)
        if records and not self.first_poll:
            self.first_poll = (
                asked if time.perf_counter() - asked < 0.1 else time.perf_counter()
            )  # not the wait to join
        return records

    def commit(self, handled: Any) -> None:
        records = list(handled)
        super().commit(records)
        self.committed += len(records)
        self.last_commit = time.perf_counter()


class _NoDeadLetters:
    """Every event of the benchmark is good."""

    def keep(self, record: Record, invalid: InvalidEvent, event: CloudEvent) -> None:
        raise PartUnavailable("bench-dead-letter", f"an event of the benchmark was refused: {invalid.code}.")
