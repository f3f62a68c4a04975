"""The hospital of the drill: every part on this machine, the scripted model in the place of vLLM, studies that are read and decided about."""

from __future__ import annotations

import asyncio
import shutil
import time
import uuid
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from kafka import KafkaConsumer, TopicPartition
from kafka.structs import OffsetAndMetadata

from schemas.errors import PartUnavailable, StaleWrite
from schemas.events import INBOUND_TOPICS, STUDY_TOPIC
from schemas.identifiers import study_workflow_id
from schemas.oversight import PassOutcome
from schemas.report import ReviewAct
from services.adapters import GATEWAY_GROUP, temporal
from services.backup import Manifest, Part, create_backup, restore_backup
from services.bench.small_studies import SmallStudies
from services.clients.kafka import Producer
from services.clients.reviews import TemporalReviewer
from services.db import Filter, InboxReader, open_database
from services.db.inbox import UNREVIEWED
from services.oversight import reconcile_now
from services.parts.launcher import Launcher
from services.scripted_model.part import with_scripted_model
from services.settings import Settings

OURS = ("gateway", "worker", "inbox")
"""What is stopped for a restore."""
PARTS = ("broker", "temporal", "fhir", "archive", "database", "model", *OURS)
HISTORY = 5
PATIENCE = 180.0
REOPEN_SECONDS = 2.0
PASSPHRASE = b"a passphrase for the drill alone"


@dataclass
class Told:
    """One study that was announced, and what a human has decided about its result."""

    study_instance_uid: str
    study_key: str
    thread_id: str
    outcome: str = ""


class DrillHospital:
    """Lives in `folder`; the backup lies beside the state, where a disaster does not reach it."""

    def __init__(self, folder: Path) -> None:
        self._given = Settings(
            state_dir=str(folder / "state"),
            reconcile_minutes="0",
            reconcile_grace_minutes="0",
            reconcile_cap="1000",
        )
        self._backup = folder / "backup"
        self._launcher = Launcher(self._given, parts=with_scripted_model())
        self.told: list[Told] = []
        self._studies: SmallStudies | None = None

    @property
    def settings(self) -> Settings:
        return self._launcher.settings

    def open(self) -> None:
        self._launcher.up(PARTS)
        self._studies = SmallStudies(self.settings, f"drill{uuid.uuid4().hex[:6]}", datetime.now(UTC))

    def close(self) -> None:
        self._launcher.down()

    # -- a day's work

    def announce(self, count: int) -> list[Told]:
        """So many studies more."""
        assert self._studies is not None, "open() comes first"
        space, new = self.settings.namespace, []
        with closing(Producer(self.settings.kafka_bootstrap)) as producer:
            for _ in range(count):
                event = self._studies.load(HISTORY)
                producer.send_event(STUDY_TOPIC, event)
                uid = str(event.data["studyInstanceUid"])
                new.append(Told(uid, event.partitionkey, space.thread_id(uid)))
        self.told += new
        return new

    def wait_until_read(self, studies: list[Told]) -> None:
        """Until each has an entry in the inbox."""
        wanted = {study.thread_id for study in studies}
        until(lambda: wanted <= {row.thread_id for row in self.entries()}, "the studies to be read")

    def decide(self, studies: list[Told], outcome: str = "accepted") -> None:
        """A radiologist decides about the result of each, as the inbox would send it."""
        asyncio.run(self._decide(studies, outcome))

    async def _decide(self, studies: list[Told], outcome: str) -> None:
        reviewer = TemporalReviewer(await temporal(self.settings), self.settings.task_queue)
        for study in studies:
            await self._decide_about(reviewer, study, outcome)

    async def _decide_about(self, reviewer: TemporalReviewer, study: Told, outcome: str) -> None:
        """As a human would: a result that a new reading has replaced since the page was opened is looked at again."""
        for last in (False, False, True):
            entry = self.open_entry(study)
            act = ReviewAct.model_validate(
                {
                    "act_id": str(uuid.uuid4()),
                    "result_id": entry.result_id,
                    "outcome": outcome,
                    "reviewer": "Dr Drill",
                    "reason_code": "other" if outcome == "rejected" else None,
                    "reason_text": "a drill" if outcome == "rejected" else None,
                    "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
                    "report_version": entry.report,
                }
            )
            try:
                await reviewer.submit(study_workflow_id(study.study_key), act)
            except StaleWrite:
                if last:
                    raise
                await asyncio.sleep(REOPEN_SECONDS)
            else:
                study.outcome = outcome
                return

    def open_entry(self, study: Told) -> Waiting:
        """The entry of the study's result that waits for a human; `PartUnavailable` if there is not exactly one."""
        found = [row for row in self.entries() if row.thread_id == study.thread_id and row.status in UNREVIEWED]
        if len(found) != 1:
            raise PartUnavailable("drill-entry", f"a study that waits for a human has {len(found)} open entries.")
        return found[0]

    def entries(self) -> list[Waiting]:
        """Every entry of the inbox."""
        database = open_database(self.settings.database)
        try:
            reader, found = InboxReader(database), []
            for row in reader.list_entries(Filter(shown="all", limit=1000)).rows:
                entry = reader.get(row.result_id)
                if entry is not None:
                    report, thread = entry.result.report, entry.result.thread_id
                    pictures = tuple(image.png_digest for image in entry.result.reading.evidence)
                    found.append(Waiting(row.result_id, thread, row.status, report, pictures))
            return found
        finally:
            database.close()

    # -- backup, disaster, recovery

    def back_up(self) -> Manifest:
        return create_backup(self.settings, self._backup, PASSPHRASE)

    def stop(self, *more: str) -> None:
        self._launcher.stop_parts([*OURS, *more])

    def start(self) -> None:
        self._launcher.up(PARTS)

    def lose_database(self) -> None:
        for path in self._given.state.glob("longview.db*"):
            path.unlink()

    def lose_store(self) -> None:
        shutil.rmtree(self._given.store)

    def lose_temporal(self) -> None:
        for path in (self._given.state / "temporal").glob("temporal.db*"):
            path.unlink()

    def lose_keys(self) -> None:
        (self._given.state / "payload.key").unlink()

    def restore(self, *parts: Part) -> None:
        key = str(self._given.state / "payload.key")
        restore_backup(replace(self._given, payload_key_file=key), self._backup, PASSPHRASE, parts=parts)

    def rewind(self) -> None:
        """The gateway, which is stopped, will read every record of the bus again."""
        consumer = KafkaConsumer(
            bootstrap_servers=self.settings.kafka_bootstrap, group_id=GATEWAY_GROUP, enable_auto_commit=False
        )
        try:
            partitions = [TopicPartition(t, p) for t in INBOUND_TOPICS for p in consumer.partitions_for_topic(t) or ()]
            consumer.assign(partitions)
            consumer.commit({partition: OffsetAndMetadata(0, "", -1) for partition in partitions})
        finally:
            consumer.close()

    def reconcile(self) -> PassOutcome:
        return reconcile_now(self.settings)


@dataclass(frozen=True)
class Waiting:
    """An entry, without its patient."""

    result_id: str
    thread_id: str
    status: str
    report: str
    pictures: tuple[str, ...]


def until(look: Callable[[], bool], what: str, patience: float = PATIENCE) -> None:
    deadline = time.monotonic() + patience
    while not look():
        if time.monotonic() > deadline:
            raise PartUnavailable("drill-stuck", f"waited {patience:.0f} s for {what}: see the logs.")
        time.sleep(0.3)
