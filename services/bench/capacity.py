"""What one study costs the systems around the model: the measured constants of `services.plan`, taken anew.

Everything is real but the model (services.scripted_model). Small CT studies of two sizes are read, one patient each; what grows with
the pixels is told apart from what does not. Counts are exact; bytes are those of SQLite and of our own records.

- `temporal_*`: events, state transitions and bytes of history of the study's and the patient's workflow together, until the result waits for a human.
- `fhir_*`: requests of the worker to the FHIR server, by kind, and resources of one result.
- `store_fixed_bytes`, `store_bytes_per_pixel_byte`: objects of one study.
- `database_bytes`, `bus_bytes`: growth of the database, records of the bus.
"""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
from kafka import KafkaConsumer, TopicPartition
from sqlalchemy import text
from temporalio.client import Client

from schemas.codes import Canonical
from schemas.errors import PartUnavailable
from schemas.events import OUTBOUND_TOPICS, STUDY_TOPIC, CloudEvent
from schemas.identifiers import patient_workflow_id, study_workflow_id
from services.adapters import fhir, temporal
from services.bench.small_studies import GRID, SmallStudies, count_entries
from services.clients.kafka import Producer
from services.db import open_database
from services.demo.phantom import Grid
from services.parts.environment import child_environment
from services.parts.launcher import Launcher
from services.parts.ports import free_port
from services.scripted_model.part import with_scripted_model
from services.settings import Settings
from services.store import objects_in

STUDIES, HISTORY = 10, 20
LARGE = Grid(slices=40, thickness=2.0, first_z=-40.0, rows=128, columns=128, pixel=2.5)
PARTS = ("broker", "temporal", "fhir", "archive", "database", "model", "gateway")
PATIENCE = 300.0
QUIET_SECONDS = 5.0
"""What a study still does after its entry (escalation, shadow plan) is done by then."""
BYTES_A_VOXEL = 2
_REQUESTS = re.compile(r"longview_request_seconds_count\{([^}]*)\} ([0-9.e+]+)")


def run() -> dict[str, Any]:
    """`ratios` holds the figures a study, under the names that `services.plan.constants` gives them."""
    with tempfile.TemporaryDirectory(prefix="longview-bench-") as folder, _parts(Path(folder)) as (settings, metrics):
        return _Capacity(settings, metrics).run()


@contextmanager
def _parts(folder: Path) -> Iterator[tuple[Settings, str]]:
    """The worker is started here, with an operations port at which its requests are counted."""
    launcher = Launcher(Settings(state_dir=str(folder / "state"), reconcile_minutes="0"), parts=with_scripted_model())
    try:
        launcher.up(PARTS)
        port, ready = free_port(), folder / "worker.ready"
        environment = child_environment(replace(launcher.settings, operations_port=str(port)), ready_file=ready)
        command = [sys.executable, "-P", "-m", "services.cli", "worker"]
        with (
            (folder / "worker.log").open("wb") as log,
            subprocess.Popen(command, env=environment, stderr=log) as worker,
        ):
            try:
                _wait(ready.exists)
                yield launcher.settings, f"http://127.0.0.1:{port}/metrics"
            finally:
                worker.terminate()
    finally:
        launcher.down()


def _wait(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not done():
        if time.monotonic() > deadline:
            raise PartUnavailable("bench-stuck", "the benchmark does not go on: see the logs.")
        time.sleep(0.1)


class _Capacity:
    def __init__(self, settings: Settings, metrics: str) -> None:
        self._settings = settings
        self._metrics = metrics

    def run(self) -> dict[str, Any]:
        self._read(SmallStudies(self._settings, "warm"), 2)
        small = self._figures("small", GRID)
        large = self._figures("large", LARGE)
        pixels = [BYTES_A_VOXEL * grid.slices * grid.rows * grid.columns for grid in (GRID, LARGE)]
        slope = (large["store"] - small["store"]) / (pixels[1] - pixels[0])
        figures = {name: round(small[name], 1) for name in small if name != "store"}
        figures |= {
            "store_fixed_bytes": round(small["store"] - slope * pixels[0]),
            "store_bytes_per_pixel_byte": round(slope, 3),
        }
        return {"ratios": figures, "run": {"studies": STUDIES, "observations_a_chart": HISTORY, "pixel_bytes": pixels}}

    def _figures(self, name: str, grid: Grid) -> dict[str, float]:
        """Each a study: what the batch has added, divided by its number."""
        before, asked = self._sizes(), self._requests()
        events = self._read(SmallStudies(self._settings, name, grid=grid), STUDIES)
        time.sleep(QUIET_SECONDS)
        sizes, requests = self._sizes(), self._requests()
        figures = {key: (sizes[key] - before[key]) / STUDIES for key in sizes}
        figures |= {
            "fhir_reads": (requests["read"] + requests["search"] - asked["read"] - asked["search"]) / STUDIES,
            "fhir_transactions": (requests["write"] - asked["write"]) / STUDIES,
            "fhir_resources": self._resources(events[-1]),
        }
        return figures | asyncio.run(self._histories(events))

    def _read(self, studies: SmallStudies, count: int) -> list[CloudEvent]:
        events = [studies.load(HISTORY) for _ in range(count)]
        wanted = count_entries(self._settings) + count
        with closing(Producer(self._settings.kafka_bootstrap)) as producer:
            for event in events:
                producer.send_event(STUDY_TOPIC, event)
        _wait(lambda: count_entries(self._settings) >= wanted)
        return events

    # -- counting

    def _sizes(self) -> dict[str, float]:
        objects = list(objects_in(self._settings.store))
        return {
            "store": sum(path.stat().st_size for path in objects),
            "store_objects": len(objects),
            "database_bytes": self._database_bytes(),
            "bus_bytes": _bus_bytes(self._settings.kafka_bootstrap),
        }

    def _database_bytes(self) -> int:
        """Pages in use, indexes included."""
        database = open_database(self._settings.database)
        try:
            with database.reading() as session:
                ask = [
                    int(session.scalar(text(f"PRAGMA {name}")) or 0)
                    for name in ("page_count", "freelist_count", "page_size")
                ]
        finally:
            database.close()
        return (ask[0] - ask[1]) * ask[2]

    def _requests(self) -> Counter[str]:
        """Requests of the worker to the FHIR server so far, by kind: read, search, write."""
        counted: Counter[str] = Counter()
        for labels, value in _REQUESTS.findall(httpx.get(self._metrics, trust_env=False).text):
            if 'server="fhir"' in labels:
                kind = re.search(r'kind="(\w+)"', labels)
                counted[kind[1] if kind else ""] += int(float(value))
        return counted

    def _resources(self, event: CloudEvent) -> int:
        """Resources that one result consists of: report, findings, task, provenance, and what they share."""
        system = Canonical(self._settings.canonical_base).sid("ai-report-thread")
        thread = self._settings.namespace.thread_id(str(event.data["studyInstanceUid"]))
        with closing(fhir(self._settings)) as server:
            [report] = server.find("DiagnosticReport", system, thread)
        return 3 + len(report.get("result", []))

    async def _histories(self, events: list[CloudEvent]) -> dict[str, float]:
        client = await temporal(self._settings)
        space = self._settings.namespace
        found = Counter[str]()
        for event in events:
            patient = patient_workflow_id(space.patient_key(str(event.data["patient"])))
            for workflow_id in (study_workflow_id(event.partitionkey), patient):
                found.update(await _described(client, workflow_id))
        return {f"temporal_{name}": count / len(events) for name, count in found.items()}


async def _described(client: Client, workflow_id: str) -> Counter[str]:
    handle = client.get_workflow_handle(workflow_id)
    info = (await handle.describe()).raw_description.workflow_execution_info
    history = await handle.fetch_history()
    activities = sum(event.HasField("activity_task_scheduled_event_attributes") for event in history.events)
    return Counter(
        events=info.history_length,
        transitions=info.state_transition_count,
        history_bytes=info.history_size_bytes,
        activities=activities,
    )


def _bus_bytes(bootstrap: str) -> int:
    """Keys, headers and values of every record in our topics and of the studies."""
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest", enable_auto_commit=False)
    try:
        topics = (STUDY_TOPIC, *OUTBOUND_TOPICS)
        partitions = [TopicPartition(t, p) for t in topics for p in consumer.partitions_for_topic(t) or ()]
        consumer.assign(partitions)
        consumer.seek_to_beginning(*partitions)
        size, silent = 0, 0
        while silent < 3:
            polled = consumer.poll(timeout_ms=300)
            silent = 0 if polled else silent + 1
            for message in (m for messages in polled.values() for m in messages):
                size += len(message.key or b"") + len(message.value or b"")
                size += sum(len(name) + len(value or b"") for name, value in message.headers)
        return size
    finally:
        consumer.close()
