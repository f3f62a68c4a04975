"""The whole system on its embedded parts, with what a test does to it: load, announce, hold still, kill, bring up again, count."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import text

from schemas.codes import Canonical
from schemas.events import CloudEvent
from schemas.runs import StudyProgress
from services.adapters import archive, fhir
from services.clients.kafka import Producer
from services.db import RunRow, open_database
from services.db.runs import RunRecords
from services.demo.load import Index, load_chart, store_images
from services.demo.progress import TemporalProgress
from services.demo.publish import Published, publish_study
from services.demo.subject import Subject
from services.parts.catalog import PARTS
from services.parts.environment import child_environment
from services.parts.launcher import Launcher
from services.parts.part import Part
from services.parts.process import members
from services.settings import Settings

PATIENCE = 300.0
Found = TypeVar("Found")


class System:
    """Parts that run in one state folder."""

    def __init__(self, settings: Settings, *, parts: tuple[Part, ...] = PARTS) -> None:
        self.launcher = Launcher(settings, parts=parts)
        self._clients = ExitStack()

    def up(self, *parts: str) -> None:
        self.launcher.up(parts)
        self.fhir = self._clients.enter_context(closing(fhir(self.settings)))
        self.archive = self._clients.enter_context(closing(archive(self.settings)))

    def down(self) -> None:
        self._clients.close()
        self.launcher.down()

    @property
    def settings(self) -> Settings:
        return self.launcher.settings

    @property
    def logs(self) -> Path:
        return self.settings.state / "logs"

    # -- what a hospital does

    def load(self, subject: Subject) -> None:
        store_images(self.archive, subject.files())
        index = Index(self.settings.canonical_base, self.settings.accessions)
        load_chart(self.fhir, subject.bundle, subject.patient, subject.studies, index)

    def announce(self, subject: Subject) -> Published:
        return publish_study(self.settings, subject.studies[-1].uid, subject.patient)

    def publish(self, topic: str, event: CloudEvent) -> None:
        producer = Producer(self.settings.kafka_bootstrap)
        try:
            producer.send_event(topic, event)
        finally:
            producer.close()

    # -- what befalls it

    def pid(self, part: str) -> int:
        pid = self.launcher.records()[part].pid
        assert pid is not None
        return pid

    def kill(self, part: str) -> None:
        """`kill -9` of the part's process; returns once it is gone."""
        process = self.launcher.records()[part].process
        assert process is not None
        os.kill(process.pid, signal.SIGKILL)
        until(lambda: not list(members(process)) or None, f"{part} to be gone")

    def restart(self, *parts: str) -> None:
        """What an operator types after a crash: `longview up`."""
        self.launcher.up(parts or ("gateway", "worker", "model"))

    @contextmanager
    def held(self, part: str) -> Iterator[None]:
        """The part neither answers nor refuses while this lasts."""
        pid = self.pid(part)
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            with suppress(ProcessLookupError):  # the test has killed it
                os.kill(pid, signal.SIGCONT)

    @contextmanager
    def another_worker(self, **changed: str) -> Iterator[None]:
        """A second worker process with some settings changed."""
        with another_process(replace(self.settings, **changed), "worker"):
            yield

    # -- what came of it

    def progress(self, workflow_id: str) -> StudyProgress | None:
        source = TemporalProgress(self.settings, workflow_id)
        try:
            return source.progress()
        finally:
            source.close()

    def reached(self, workflow_id: str, step: str) -> StudyProgress:
        """Wait until the newest run has begun this step."""

        def begun() -> StudyProgress | None:
            progress = self.progress(workflow_id)
            return progress if progress and any(s.step == step for s in progress.steps) else None

        return until(begun, f"the step {step}")

    def result(self, workflow_id: str) -> StudyProgress:
        """Wait until the study's newest run has its entry in the inbox."""

        def done() -> StudyProgress | None:
            progress = self.progress(workflow_id)
            if progress is None:
                return None
            assert progress.failure_code is None, progress.failure_code
            ended = progress.state == "awaiting-review" and all(s.ended for s in progress.steps)
            return progress if ended or progress.state == "unchanged" else None

        return until(done, "the result")

    def failed_run(self, study_key: str) -> RunRow:
        """Wait for the run of this study that `longview runs --failed` shows."""

        def found() -> RunRow | None:
            return next((run for run in self.runs() if run.study_key == study_key and run.state == "failed"), None)

        return until(found, "the failed run")

    def runs(self) -> list[RunRow]:
        database = open_database(self.settings.database)
        try:
            return RunRecords(database).list_runs()
        finally:
            database.close()

    def reports(self, study_instance_uid: str) -> list[dict[str, Any]]:
        """Every AI report of the study in FHIR, whatever its status."""
        thread = self.settings.namespace.thread_id(study_instance_uid)
        system = Canonical(self.settings.canonical_base).sid("ai-report-thread")
        return self.fhir.find("DiagnosticReport", system, thread)

    def inbox_entries(self, study_instance_uid: str) -> list[tuple[str, str]]:
        """(result id, status) of every entry of the study, oldest first."""
        thread = self.settings.namespace.thread_id(study_instance_uid)
        return self.query("SELECT result_id, status FROM inbox_entry WHERE thread_id = :x ORDER BY issued_at", thread)

    def rows(self, sql: str) -> list[dict[str, Any]]:
        database = open_database(self.settings.database)
        try:
            with database.reading() as session:
                return [dict(row._mapping) for row in session.execute(text(sql))]
        finally:
            database.close()

    def query(self, sql: str, x: str = "") -> list[tuple[str, str]]:
        database = open_database(self.settings.database)
        try:
            with database.reading() as session:
                return [tuple(row) for row in session.execute(text(sql), {"x": x})]
        finally:
            database.close()


@contextmanager
def another_process(settings: Settings, name: str) -> Iterator[subprocess.Popen[bytes]]:
    """A second worker or gateway beside the launcher's, which has ended when the block has."""
    ready = settings.state / f"another-{name}.ready"
    environment = child_environment(settings, ready_file=ready)
    with (settings.state / "logs" / f"another-{name}.log").open("ab") as log:
        command = [sys.executable, "-P", "-m", "services.cli", name]
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        until(lambda: ready.exists() or None, f"the second {name}")
        yield process
    finally:
        process.terminate()
        process.wait(30)
        ready.unlink(missing_ok=True)


def until(look: Callable[[], Found | None], what: str, patience: float = PATIENCE) -> Found:
    """Look again and again until something is found."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        found = look()
        if found is not None:
            return found
        time.sleep(0.1)
    raise AssertionError(f"waited {patience:.0f} s for {what}")
