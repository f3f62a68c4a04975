"""The day happens while the processes die: publishing with repetition, `kill -9` at seeded moments, and waiting until everything is still."""

from __future__ import annotations

import random
import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import httpx
import orjson
from kafka import KafkaProducer

from schemas.events import binary_form
from services.clients.dicomweb import DicomWebArchive
from tests.integration.faults.hospital import Fact, Hospital, Resource
from tests.integration.faults.witness import bearer
from tests.integration.system import System, until

REPEATED = 0.1
"""Share of the events that are sent twice: at once, or some events later."""
LATER = 20
VICTIMS = ("worker", "gateway", "fhir", "temporal")


@dataclass(frozen=True)
class Size:
    """How much happens, how often each victim dies, and how fast events are published."""

    events: int
    patients: int
    kills: int = 1
    events_a_second: float = 5.0


@dataclass
class Told:
    """What went over the bus: records by topic and partition, and how often each event was sent."""

    last_offset: dict[tuple[str, int], int] = field(default_factory=dict)
    sent: Counter[str] = field(default_factory=Counter)
    killed: Counter[str] = field(default_factory=Counter)


class Storm:
    """One run. `fhir_url` is the server itself, not the proxy: the hospital's own systems have no faults here."""

    def __init__(self, system: System, hospital: Hospital, size: Size, seed: int, fhir_url: str) -> None:
        self._system = system
        self._hospital = hospital
        self._size = size
        self._chance = random.Random(seed)
        self._fhir = httpx.Client(
            base_url=fhir_url, headers=_JSON | bearer(system.settings.fhir_token), timeout=30.0, trust_env=False
        )
        self._archive = DicomWebArchive(system.settings.dicomweb_url, token=system.settings.dicomweb_token)
        self.told = Told()

    def prepare(self) -> None:
        """What stands before the day begins."""
        for start in range(0, len(self._hospital.before), 100):
            self._write(self._hospital.before[start : start + 100])

    def rage(self, victims: tuple[str, ...] = VICTIMS) -> None:
        """Publish everything; at seeded places a victim is killed and started again, beside the publishing."""
        facts = self._with_repetitions()
        deaths = self._deaths(len(facts), victims)
        producer = KafkaProducer(bootstrap_servers=self._system.settings.kafka_bootstrap, acks="all")
        began = time.monotonic()
        with ThreadPoolExecutor(1, thread_name_prefix="reaper") as reaper:
            killed: list[Future[None]] = []
            for number, (fact, first) in enumerate(facts):
                killed += [reaper.submit(self._kill, victim) for victim in deaths.get(number, [])]
                self._happen(producer, fact, first)
                time.sleep(max(0.0, began + (number + 1) / self._size.events_a_second - time.monotonic()))
            for each in killed:
                each.result()
        producer.close()

    def _with_repetitions(self) -> list[tuple[Fact, bool]]:
        """(fact, whether it is new). A repeated event comes again at once or later, never before itself."""
        twice = set(self._chance.sample(range(len(self._hospital.facts)), round(REPEATED * len(self._hospital.facts))))
        repeated: dict[int, list[Fact]] = {}
        facts: list[tuple[Fact, bool]] = []
        for place, fact in enumerate(self._hospital.facts):
            facts.append((fact, True))
            if place in twice:
                repeated.setdefault(place + self._chance.choice((0, 0, self._chance.randint(1, LATER))), []).append(
                    fact
                )
            facts += [(again, False) for again in repeated.pop(place, [])]
        return facts + [(again, False) for rest in repeated.values() for again in rest]

    def _deaths(self, count: int, victims: tuple[str, ...]) -> dict[int, list[str]]:
        """Every victim dies `kills` times, spread over the day."""
        order = [victim for _ in range(self._size.kills) for victim in self._chance.sample(victims, len(victims))]
        deaths: dict[int, list[str]] = {}
        for number, victim in enumerate(order):
            span = count / len(order)
            place = int(number * span + self._chance.uniform(0.2, 0.8) * span)
            deaths.setdefault(place, []).append(victim)
        return deaths

    def _kill(self, victim: str) -> None:
        self._system.kill(victim)
        self.told.killed[victim] += 1
        self._system.launcher.restart(victim)

    def _happen(self, producer: KafkaProducer, fact: Fact, first: bool) -> None:
        if first and fact.files:
            self._archive.store(fact.files)
        if first and fact.writes:
            self._write(list(fact.writes))
        key, headers, value = binary_form(fact.event)
        placed = producer.send(fact.topic, key=key, value=value, headers=headers).get(timeout=30)
        place = (placed.topic, placed.partition)
        self.told.last_offset[place] = max(self.told.last_offset.get(place, -1), placed.offset)
        self.told.sent[fact.event.id] += 1

    def _write(self, resources: list[Resource]) -> None:
        """One transaction of PUTs, until the server has it: it may be dead for a while."""
        entries = [
            {"resource": resource, "request": {"method": "PUT", "url": f"{resource['resourceType']}/{resource['id']}"}}
            for resource in resources
        ]
        bundle = orjson.dumps({"resourceType": "Bundle", "type": "transaction", "entry": entries})
        until(lambda: self._written(bundle), "the hospital's own write")

    def _written(self, bundle: bytes) -> bool | None:
        try:
            answer = self._fhir.post("", content=bundle)
        except httpx.HTTPError:
            return None
        if answer.status_code >= 500 or answer.status_code == 409:
            return None
        assert answer.status_code == 200, answer.text[:300]
        return True

    def close(self) -> None:
        self._fhir.close()
        self._archive.close()


_JSON: dict[str, Any] = {"accept": "application/fhir+json", "content-type": "application/fhir+json"}
