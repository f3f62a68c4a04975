"""What must hold after a recovery, looked up in FHIR, the inbox, Temporal and on the bus; each breach is one sentence."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import closing

import httpx
from kafka import KafkaConsumer, TopicPartition
from temporalio.client import WorkflowExecutionStatus
from temporalio.service import RPCError

from schemas.codes import Canonical
from schemas.events import RESULT_AVAILABLE, RESULT_REVIEWED, RESULT_TOPIC, CloudEvent, parse_event
from schemas.identifiers import study_workflow_id
from services.adapters import fhir, temporal
from services.db.inbox import UNREVIEWED
from services.drill.hospital import DrillHospital, Told, Waiting
from services.store import place_of

DECIDED = {"accepted": "preliminary", "rejected": "entered-in-error"}
"""Outcome -> status of the report (contract 2)."""
SILENT_POLLS = 3


def breaches(hospital: DrillHospital) -> list[str]:
    """What was lost or doubled; empty if nothing."""
    entries = hospital.entries()
    return [
        *_results(hospital),
        *_entries(hospital, entries),
        *asyncio.run(_attended(hospital)),
        *_events(hospital),
        *_pages(hospital, entries),
    ]


def without_pictures(hospital: DrillHospital) -> int:
    """Open entries whose pictures are no longer in the store: their reports stand, their pages show none."""
    store = hospital.settings.store
    open_entries = [entry for entry in hospital.entries() if entry.status in UNREVIEWED]
    return sum(any(not place_of(store, d).exists() for d in entry.pictures) for entry in open_entries)


def _results(hospital: DrillHospital) -> Iterator[str]:
    """One report for each study, in the state that its human has left it in."""
    system = Canonical(hospital.settings.canonical_base).sid("ai-report-thread")
    with closing(fhir(hospital.settings)) as server:
        for study in hospital.told:
            statuses = [report["status"] for report in server.find("DiagnosticReport", system, study.thread_id)]
            wanted = [DECIDED.get(study.outcome, "partial")]
            if statuses != wanted:
                yield f"a study has reports {statuses} in FHIR, not {wanted}"


def _entries(hospital: DrillHospital, entries: list[Waiting]) -> Iterator[str]:
    """What is undecided is open once; what is decided is open nowhere."""
    for study in hospital.told:
        mine = [entry.status for entry in entries if entry.thread_id == study.thread_id]
        opened = [status for status in mine if status in UNREVIEWED]
        if len(mine) > 1:
            yield f"a study has {len(mine)} entries in the inbox"
        if not study.outcome and not opened:
            yield "an undecided study has no open entry in the inbox"
        if study.outcome and opened:
            yield f"a study that was {study.outcome} is open in the inbox again"


async def _attended(hospital: DrillHospital) -> list[str]:
    """Each undecided result has a workflow that takes the decision."""
    client = await temporal(hospital.settings)

    async def is_open(study: Told) -> bool:
        try:
            described = await client.get_workflow_handle(study_workflow_id(study.study_key)).describe()
        except RPCError:
            return False
        return described.status is WorkflowExecutionStatus.RUNNING

    undecided = [study for study in hospital.told if not study.outcome]
    found = await asyncio.gather(*map(is_open, undecided))
    return ["an undecided study has no workflow that takes the decision" for there in found if not there]


def _events(hospital: DrillHospital) -> Iterator[str]:
    """The bus tells of a result once and of a decision once, however often the records come."""
    told = {event.id: event for event in read_topic(hospital.settings.kafka_bootstrap, RESULT_TOPIC)}.values()
    for kind in (RESULT_AVAILABLE, RESULT_REVIEWED):
        counted = Counter(str(event.data["resultId"]) for event in told if event.type == kind)
        yield from (f"the bus tells of a result {n} times ({kind})" for n in counted.values() if n > 1)
        if kind == RESULT_AVAILABLE and len(counted) < len(hospital.told):
            yield f"the bus tells of {len(counted)} results of {len(hospital.told)}"


def read_topic(bootstrap: str, topic: str) -> list[CloudEvent]:
    """Every record of a topic, in order within each partition."""
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest", enable_auto_commit=False)
    try:
        partitions = [TopicPartition(topic, p) for p in consumer.partitions_for_topic(topic) or ()]
        consumer.assign(partitions)
        consumer.seek_to_beginning(*partitions)
        found, silent = list[CloudEvent](), 0
        while silent < SILENT_POLLS:
            polled = consumer.poll(timeout_ms=500)
            silent = 0 if polled else silent + 1
            found += [parse_event(m.headers, m.value) for messages in polled.values() for m in messages]
        return found
    finally:
        consumer.close()


def _pages(hospital: DrillHospital, entries: list[Waiting]) -> Iterator[str]:
    """Each open result can be looked at."""
    with httpx.Client(base_url=hospital.settings.inbox_url, trust_env=False, timeout=20.0) as browser:
        for entry in entries:
            if entry.status in UNREVIEWED:
                status = browser.get(f"/results/{entry.result_id}").status_code
                if status != 200:
                    yield f"the page of an open result answers {status}"
