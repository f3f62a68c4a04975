"""Studies an hour through one worker without a model's time, and how that grows with the chart and with workflows that are open.

Everything is real but the model, which answers by rule (services.scripted_model): broker, gateway, Temporal, worker, FHIR server, archive and
database, on one machine. Each figure is the time from the first event to the last inbox entry of a batch of studies, each of a patient of its own.

Of each kind the least disturbed round counts.

- `to_activity_limit`: studies a second over no-op workflows a second with as many activities, on the same Temporal, one worker with as many threads.
- `growth_history_10x`: time a study with HISTORY * 10 observations in the chart over the time with HISTORY.
- `growth_open_<n>`: time a study with n open patient entities over the time before they were there; n is what was run, nothing is extrapolated.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from schemas.errors import PartUnavailable
from schemas.events import STUDY_TOPIC
from schemas.facts import PatientInput
from schemas.identifiers import patient_workflow_id, study_workflow_id
from services.adapters import temporal
from services.bench import rounds
from services.bench.small_studies import SmallStudies, count_entries
from services.clients.kafka import Producer
from services.parts.launcher import Launcher
from services.scripted_model.part import with_scripted_model
from services.settings import Settings
from services.worker.service import ACTIVITY_THREADS
from workflows.patient.workflow import PatientWorkflow

STUDIES, HISTORY, OPEN, ROUNDS = 20, 20, 10_000, 3
OURS = ("broker", "temporal", "fhir", "archive", "database", "model", "gateway", "worker")
LIMIT_QUEUE = "bench-limit"
PATIENCE = 300.0
STARTS_AT_A_TIME = 64


@dataclass(frozen=True)
class Size:
    """What is run; LONGVIEW_BENCH_STUDIES, LONGVIEW_BENCH_HISTORY and LONGVIEW_BENCH_OPEN change it."""

    studies: int
    history: int
    open: int


def run() -> dict[str, Any]:
    """`ratios` as above, and the figures that they are made of."""
    size = Size(
        studies=int(os.environ.get("LONGVIEW_BENCH_STUDIES", STUDIES)),
        history=int(os.environ.get("LONGVIEW_BENCH_HISTORY", HISTORY)),
        open=int(os.environ.get("LONGVIEW_BENCH_OPEN", OPEN)),
    )
    with tempfile.TemporaryDirectory(prefix="longview-bench-") as folder, _parts(Path(folder)) as settings:
        return _Bench(settings, size).run()


@contextmanager
def _parts(folder: Path) -> Iterator[Settings]:
    launcher = Launcher(Settings(state_dir=str(folder / "state")), parts=with_scripted_model())
    try:
        launcher.up(OURS)
        yield launcher.settings
    finally:
        launcher.down()


class _Bench:
    def __init__(self, settings: Settings, size: Size) -> None:
        self._settings = settings
        self._size = size
        self._studies = SmallStudies(settings, "bench")

    def run(self) -> dict[str, Any]:
        size = self._size
        self._batch(size.studies, size.history)  # the first studies are slower: caches fill, connections open
        plain, tenfold, limit = [], [], []
        activities = 0
        for _ in range(rounds(ROUNDS)):
            seconds, activities = self._batch(size.studies, size.history)
            plain.append(seconds)
            limit.append(asyncio.run(self._limit(activities)))
            tenfold.append(self._batch(size.studies, size.history * 10)[0])
        opened = asyncio.run(self._open())
        beside = [self._batch(size.studies, size.history)[0] for _ in range(rounds(ROUNDS))]
        alone = min(plain)
        return {
            "ratios": {
                "to_activity_limit": round(min(limit) / alone, 3),
                "growth_history_10x": round(min(tenfold) / alone, 3),
                f"growth_open_{_short(size.open)}": round(min(beside) / alone, 3),
            },
            "studies_an_hour_and_worker": round(3600 / alone),
            "seconds_a_study": {
                "plain": _rounded(plain),
                "no_op_workflow": _rounded(limit),
                "history_10x": _rounded(tenfold),
                "beside_open_workflows": _rounded(beside),
            },
            "run": {
                "studies": size.studies,
                "activities_a_study": activities,
                "observations_a_chart": [size.history, size.history * 10],
                "open_workflows": size.open,
                "seconds_to_open": round(opened, 1),
            },
        }

    # -- studies -------------------------------------------------------------------------------------------------------------

    def _batch(self, studies: int, history: int) -> tuple[float, int]:
        """Seconds a study, and the activities of one."""
        events = [self._studies.load(history) for _ in range(studies)]
        producer = Producer(self._settings.kafka_bootstrap)
        before = count_entries(self._settings)
        began = time.perf_counter()
        for event in events:
            producer.send_event(STUDY_TOPIC, event)
        while count_entries(self._settings) < before + studies:
            if time.perf_counter() - began > PATIENCE:
                raise PartUnavailable("bench-stuck", "the studies of the benchmark were not all read: see the logs.")
            time.sleep(0.02)
        seconds = (time.perf_counter() - began) / studies
        producer.close()
        return seconds, asyncio.run(self._activities(study_workflow_id(events[-1].partitionkey)))

    async def _activities(self, workflow_id: str) -> int:
        client = await temporal(self._settings)
        history = await client.get_workflow_handle(workflow_id).fetch_history()
        return sum(event.HasField("activity_task_scheduled_event_attributes") for event in history.events)

    # -- the limit -----------------------------------------------------------------------------------------------------------

    async def _limit(self, activities: int) -> float:
        """Seconds for a workflow that does nothing in as many activities."""
        client = await temporal(self._settings)
        with ThreadPoolExecutor(ACTIVITY_THREADS) as executor:
            worker = Worker(
                client,
                task_queue=LIMIT_QUEUE,
                workflows=[NoOpWorkflow],
                activities=[no_op],
                activity_executor=executor,
                max_concurrent_activities=ACTIVITY_THREADS,
                workflow_runner=UnsandboxedWorkflowRunner(),
            )
            async with worker:
                began = time.perf_counter()
                await asyncio.gather(*(self._no_op(client, activities, began, n) for n in range(self._size.studies)))
                return (time.perf_counter() - began) / self._size.studies

    async def _no_op(self, client: Client, activities: int, label: float, number: int) -> None:
        workflow_id = f"no-op-{label}-{number}"
        await client.execute_workflow(NoOpWorkflow.run, activities, id=workflow_id, task_queue=LIMIT_QUEUE)

    # -- open workflows --------------------------------------------------------------------------------------------------------

    async def _open(self) -> float:
        """Start as many patient entities, which stay open, and wait until the worker has taken each of them up; seconds."""
        client, began = await temporal(self._settings), time.perf_counter()
        limit = asyncio.Semaphore(STARTS_AT_A_TIME)
        keys = [self._settings.namespace.key("bench-open", str(number)) for number in range(self._size.open)]

        async def start(key: str) -> None:
            async with limit:
                await client.start_workflow(
                    PatientWorkflow.run,
                    PatientInput(patient_key=key),
                    id=patient_workflow_id(key),
                    task_queue=self._settings.task_queue,
                )

        async def taken_up(key: str) -> None:
            async with limit:
                while True:
                    described = await client.get_workflow_handle(patient_workflow_id(key)).describe()
                    if not described.raw_description.HasField("pending_workflow_task"):
                        return
                    await asyncio.sleep(0.5)

        await asyncio.gather(*map(start, keys))
        await asyncio.gather(*map(taken_up, keys))
        return time.perf_counter() - began


def _short(number: int) -> str:
    return f"{number // 1000}k" if number >= 1000 and number % 1000 == 0 else str(number)


def _rounded(seconds: list[float]) -> list[float]:
    return [round(each, 3) for each in seconds]


@activity.defn(name="no_op")
def no_op(number: int) -> int:
    """What an activity costs before it does anything."""
    return number


@workflow.defn
class NoOpWorkflow:
    """As many activities one after the other, as a study has."""

    @workflow.run
    async def run(self, activities: int) -> None:
        for number in range(activities):
            await workflow.execute_activity(no_op, number, start_to_close_timeout=timedelta(minutes=2))
