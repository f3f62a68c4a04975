"""docs/upgrade.md from its first line to its last: a release in the place of another while a study waits for review, on the embedded parts."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from temporalio.api.enums.v1 import EventType

from schemas.errors import PermanentFailure
from schemas.report import ReviewAct
from services.adapters import temporal
from services.db import InboxReader, open_database
from services.demo.subject import Subject
from services.deploy import ensure_schedules, list_worker_versions, migrate_database, promote_workers
from services.deployed import examine_deployed
from services.parts.catalog import PARTS, TEMPORAL
from services.parts.environment import child_environment
from services.parts.part import Command, Launch
from services.scripted_model.part import with_scripted_model
from services.settings import Settings
from services.worker.versions import Version
from tests.integration.journeys import decide, phantom, uid_of
from tests.integration.system import System, until

pytestmark = [pytest.mark.integration, pytest.mark.long]
OLD, NEW = "0.1.0-old", "0.2.0-new"
QUEUES = ("reading", "background")
PARTS_WITHOUT_WORKER = ("broker", "temporal", "fhir", "archive", "database", "model", "gateway", "inbox")


def _quick_drainage(launch: Launch) -> Command:
    """Temporal looks every three minutes whether a version is drained; here every second."""
    assert TEMPORAL.command is not None
    command = TEMPORAL.command(launch)
    quick = [f'matching.wv.VersionDrainageStatus{name}="1s"' for name in ("VisibilityGracePeriod", "RefreshInterval")]
    more = [argument for value in quick for argument in ("--dynamic-config-value", value)]
    return Command([*command.arguments, *more], command.environment)


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """Everything but workers: each test brings its releases."""
    settings = Settings(state_dir=str(tmp_path_factory.mktemp("upgrade") / "state"), worker_deployment="longview")
    parts = tuple(replace(part, command=_quick_drainage) if part is TEMPORAL else part for part in PARTS)
    started = System(settings, parts=with_scripted_model(parts))
    started.up(*PARTS_WITHOUT_WORKER)
    try:
        yield started
    finally:
        started.down()


class Release:
    """The workers of one release as its two Deployments run them."""

    def __init__(self, system: System, build: str) -> None:
        self.settings = replace(system.settings, worker_build_id=build)
        self._logs = system.logs
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    @contextmanager
    def running(self) -> Iterator[Release]:
        with ExitStack() as stack:
            for queue in QUEUES:
                self.start(queue)
            stack.callback(self.stop)
            yield self

    def start(self, queue: str) -> None:
        build = self.settings.worker_build_id
        ready = self.settings.state / f"{build}-{queue}.ready"
        ready.unlink(missing_ok=True)
        environment = child_environment(replace(self.settings, worker_queues=queue), ready_file=ready)
        with (self._logs / f"worker-{build}-{queue}.log").open("ab") as log:
            command = [sys.executable, "-P", "-m", "services.cli", "worker"]
            self.processes[queue] = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        until(lambda: ready.exists() or None, f"the {queue} worker of {build}")

    def stop(self) -> None:
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            assert process.wait(30) == 0, "a worker that is told to end ends well"

    def promote(self, *, force: bool = False) -> tuple[str, bool]:
        return promote_workers(self.settings, wait=60.0, force=force)

    def seen(self) -> Version | None:
        return next(
            (v for v in list_worker_versions(self.settings) if v.build_id == self.settings.worker_build_id), None
        )


async def builds(system: System, workflow_id: str) -> list[str]:
    """The build id of every workflow task that was done."""
    client = await temporal(system.settings)
    done = EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
    history = await client.get_workflow_handle(workflow_id).fetch_history()
    attributes = [e.workflow_task_completed_event_attributes for e in history.events if e.event_type == done]
    return [each.deployment_version.build_id for each in attributes]


def until_in_inbox(system: System, subject: Subject) -> None:
    """Without a query to the workflow: on a busy machine a worker that has just started answers those too late."""
    until(lambda: system.inbox_entries(uid_of(subject)) or None, "the result")


def accept(system: System, subject: Subject, workflow_id: str) -> None:
    [(result_id, _)] = system.inbox_entries(uid_of(subject))
    database = open_database(system.settings.database)
    entry = InboxReader(database).get(result_id)
    database.close()
    assert entry is not None
    act = ReviewAct(
        act_id=str(uuid.uuid4()),
        result_id=result_id,
        outcome="accepted",
        reviewer="Dr Upgrade",
        at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        report_version=entry.result.report,
    )
    asyncio.run(decide(system, workflow_id, act))


def test_a_release_takes_over_while_a_study_waits_and_the_old_one_goes_when_it_is_drained(hospital: System) -> None:
    old, new = Release(hospital, OLD), Release(hospital, NEW)
    waiting, next_one = phantom(hospital), phantom(hospital)
    for subject in (waiting, next_one):
        hospital.load(subject)
    with old.running():
        assert old.promote() == (OLD, True)
        ensure_schedules(old.settings)
        first = hospital.announce(waiting).workflow_id
        until_in_inbox(hospital, waiting)

        migrate_database(new.settings)
        with new.running():
            assert new.promote() == (NEW, True)
            with pytest.raises(PermanentFailure, match="--force"):
                old.promote()
            second = hospital.announce(next_one).workflow_id
            until_in_inbox(hospital, next_one)
            assert set(asyncio.run(builds(hospital, second))) == {NEW}
            assert (seen := old.seen()) is not None
            assert (seen.state, seen.open_workflows, seen.may_go) == ("draining", 1, False)

            old.processes["reading"].kill()
            old.processes["reading"].wait(30)
            with ThreadPoolExecutor(1) as desk:
                deciding = desk.submit(accept, hospital, waiting, first)
                with pytest.raises(TimeoutError):
                    deciding.result(timeout=4.0)
                old.start("reading")
                deciding.result(timeout=60.0)
            assert set(asyncio.run(builds(hospital, first))) == {OLD}
            assert [r["status"] for r in hospital.reports(uid_of(waiting))] == ["preliminary"]

            until(lambda: ((seen := old.seen()) and seen.may_go) or None, "the old release to be drained", 60.0)
            old.stop()
            old.processes.clear()
            accept(hospital, next_one, second)
            assert [r["status"] for r in hospital.reports(uid_of(next_one))] == ["preliminary"]
            checks = {check.name: check.mend for check in examine_deployed(new.settings)}
            assert [mend for name, mend in checks.items() if "workers" in name and mend] == []


def test_a_version_whose_workers_went_too_early_is_named_by_the_doctor(
    hospital: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    older, newer = Release(hospital, "0.3.0-a"), Release(hospital, "0.4.0-b")
    subject = phantom(hospital)
    hospital.load(subject)
    with newer.running():
        with older.running():
            older.promote(force=True)
            workflow_id = hospital.announce(subject).workflow_id
            until_in_inbox(hospital, subject)
            newer.promote(force=True)
        monkeypatch.setattr("services.worker.versions.POLL_AGE", timedelta(seconds=0.5))
        mends = [check.mend for check in examine_deployed(newer.settings) if check.name == "older workers"]
        assert any("0.3.0-a" in mend and "start its workers again" in mend for mend in mends), mends
        with older.running():
            accept(hospital, subject, workflow_id)
