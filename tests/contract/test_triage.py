"""Triage: a pneumothorax that nobody expected goes before what was ordered as urgent and shows nothing.

The real steps of two studies in one hospital, from the model's answer to the inbox, the bus and FHIR.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import select
from temporalio.testing import ActivityEnvironment

from schemas.events import RESULT_AVAILABLE, validate
from schemas.facts import StudyAvailable
from schemas.inference import ModelAnswer, ModelRelease, ModelRequest
from schemas.lifecycle import EscalationPolicy
from schemas.report import Priority, resulting_priority
from schemas.runs import (
    AskModel,
    BuildResult,
    CheckAnswer,
    CreateInboxEntry,
    FetchPrior,
    FetchStudy,
    GatherTimeline,
    IntegrateHistory,
    PolicyQuery,
    ReadingChecked,
    ResultWritten,
    TakeInventory,
)
from services.critical_list import default_list
from services.db import BuildRecords, Database, EntryRow, Filter, InboxReader, InboxRecords, RunRecords, open_migrated
from services.db.models import Outbox
from services.escalation import escalation_policies
from services.inbox.raised import raised_of
from services.settings import Settings
from tests.contract.written_bundles import CANONICAL, TRAINED, UNTRAINED
from tests.unit.injection.house import (
    HONEST,
    ISSUED,
    NAMESPACE,
    NOTHING,
    SITE,
    STUDY,
    Hospital,
    MemoryStore,
    NoReader,
    phantom,
    series_files,
)
from tests.unit.injection.house import chart as small_chart
from workflows.report.raised_task import raise_on
from workflows.report_study.activities import ReportStudyActivities
from workflows.report_study.records import RecordActivities

POLICIES = escalation_policies(Settings())
TRIAGE = replace(SITE, critical=default_list(), escalation=POLICIES)
FILES = series_files(phantom())


@dataclass
class Finds:
    """A model that detects the labels it is told, as `probable`, and nothing else."""

    labels: tuple[str, ...] = ()
    model: ModelRelease = TRAINED
    requests: list[ModelRequest] = field(default_factory=list)

    def release(self) -> ModelRelease:
        return self.model

    def ask(self, request: ModelRequest) -> ModelAnswer:
        asked = request.answer_schema["properties"]["findings"]["properties"]
        answer = {label: HONEST if label in self.labels else NOTHING for label in asked}
        if not request.volumes:
            answer = {label: {"chart": "unrelated", "cites": []} for label in asked}
        return ModelAnswer(
            text=orjson.dumps({"findings": answer}).decode(),
            finish_reason="stop",
            prompt_tokens=1,
            completion_tokens=1,
            served_model_name=self.model.served_model_name,
        )


class Ward(Hospital):
    """One patient's chart; what stands in FHIR is not asked here."""

    def read(self, reference: str) -> dict[str, Any]:
        return {"conclusion": "AI-generated, not verified."}


@dataclass
class Told:
    """What became of one study."""

    row: EntryRow
    task: dict[str, Any]
    report: dict[str, Any]
    event: dict[str, Any]
    policy: EscalationPolicy


@dataclass
class Clinic:
    """The steps of any number of studies, and the one inbox that they end in."""

    database: Database

    def read(self, name: str, order: Priority, *labels: str, model: ModelRelease = TRAINED) -> str:
        """A study that was ordered as `order` and shows `labels`; its result id."""
        ward = Ward(_ordered(order), FILES)
        anything: Any = ward
        steps = ReportStudyActivities(
            TRIAGE,
            fhir=anything,
            archive=anything,
            model=Finds(labels, model),
            store=(store := MemoryStore()),
            memory=anything,
            runs=RunRecords(self.database),
            inbox=InboxRecords(self.database),
            builds=BuildRecords(self.database),
            text_in_pixels=NoReader(),
        )
        event = StudyAvailable(
            event_id=NAMESPACE.key("event", name),
            study_instance_uid=STUDY,
            patient="Patient/p",
            inventory_digest="ni:///sha-256;x",
            completeness="quiescent",
            instance_count=1,
        )
        study, thread = NAMESPACE.key("study", name), NAMESPACE.key("thread", name)
        gathered = steps.gather_timeline(GatherTimeline(patient_key="p", event=event))
        run = {"run_id": f"run-{name}", "study_key": study, "event": event, "timeline": gathered.timeline}
        steps.take_inventory(TakeInventory(thread_id=thread, reread=True, **run))
        current = steps.fetch_study(FetchStudy(study_instance_uid=STUDY, timeline=gathered.timeline))
        prior = steps.fetch_prior(FetchPrior(timeline=gathered.timeline, current=current))
        about = {"timeline": gathered.timeline, "current": current, "prior": prior}
        answered = steps.ask_model(AskModel(priority=gathered.priority, **about))
        checked = steps.check_answer(CheckAnswer(answered=answered, **about))
        weigh = IntegrateHistory(timeline=gathered.timeline, checked=checked, priority=gathered.priority)
        checked = ActivityEnvironment().run(steps.integrate_history, weigh)
        known = about | {"event": event, "issued": ISSUED, "checked": checked, "priority": gathered.priority}
        built = steps.build_result(BuildResult(thread_id=thread, answered=answered, **known))
        bundle = orjson.loads(store.get(built.bundle))
        written = ResultWritten(
            result_id=built.result_id,
            thread_id=thread,
            report=f"DiagnosticReport/r-{name}/_history/1",
            task=f"Task/t-{name}/_history/1",
            observations=[],
            provenance=f"Provenance/p-{name}/_history/1",
            created=len(bundle["entry"]),
        )
        shown = {"run_id": f"run-{name}", "study_key": study, "workflow_id": f"study-{name}"}
        steps.create_inbox_entry(CreateInboxEntry(built=built, written=written, **shown, **known))
        self.bundles[built.result_id] = bundle
        self.checks[built.result_id] = (gathered.priority, checked)
        return built.result_id

    def __post_init__(self) -> None:
        self.bundles: dict[str, dict[str, Any]] = {}
        self.checks: dict[str, tuple[Priority, ReadingChecked]] = {}

    def told(self, result_id: str) -> Told:
        row = next(row for row in self.list() if row.result_id == result_id)
        of = {e["resource"]["resourceType"]: e["resource"] for e in self.bundles[result_id]["entry"]}
        with self.database.reading() as session:
            events = [dict(each.event) for each in session.scalars(select(Outbox))]
        [event] = [e for e in events if e["type"] == RESULT_AVAILABLE and e["data"]["resultId"] == result_id]
        validate(event)
        order, checked = self.checks[result_id]
        nobody: Any = None
        records = RecordActivities(TRIAGE, fhir=nobody, runs=nobody, inbox=nobody, builds=nobody)
        policy = records.escalation_policy(PolicyQuery(priority=resulting_priority(order, checked.critical)))
        return Told(row, of["Task"], of["DiagnosticReport"], event["data"], policy)

    def list(self) -> list[EntryRow]:
        return InboxReader(self.database).list_entries(Filter()).rows


def _ordered(order: Priority) -> list[dict[str, Any]]:
    return [r | {"priority": order} if r["resourceType"] == "ServiceRequest" else r for r in small_chart()]


@pytest.fixture
def clinic(tmp_path: Path) -> Iterator[Clinic]:
    database = open_migrated(f"sqlite:///{tmp_path / 'longview.db'}")
    yield Clinic(database)
    database.close()


def test_a_pneumothorax_in_a_routine_study_overtakes_an_urgent_one_that_shows_nothing(clinic: Clinic) -> None:
    nothing = clinic.read("urgent-nothing", "urgent")
    pneumothorax = clinic.read("routine-pneumothorax", "routine", "pneumothorax")

    assert [row.result_id for row in clinic.list()] == [pneumothorax, nothing]
    raised, plain = clinic.told(pneumothorax), clinic.told(nothing)
    line = "Order ROUTINE, AI-raised STAT: Pneumothorax, probable (list v1)"
    assert (raised.row.priority, raised_of(raised.row)) == ("stat", line)
    assert (plain.row.priority, raised_of(plain.row)) == ("urgent", "")

    assert (raised.task["priority"], plain.task["priority"]) == ("stat", "urgent")
    given = {i["type"]["coding"][0]["code"]: i for i in raised.task["input"]}
    assert given["order-priority"]["valueCode"] == "routine"
    assert given["critical-priority"]["valueCode"] == "stat"
    assert given["critical-finding"]["valueCodeableConcept"]["coding"][0]["display"] == "Pneumothorax"
    assert given["critical-likelihood"]["valueCodeableConcept"]["coding"][0]["display"] == "Probable"
    assert given["critical-list"]["valueString"] == "longview@v1"
    assert len(plain.task["input"]) == 1
    assert "priority" not in raised.report

    assert raised.event["priority"] == "stat"
    assert raised.event["raised"] == {
        "orderPriority": "routine",
        "finding": "pneumothorax",
        "likelihood": "probable",
        "criticalList": "longview@v1",
    }
    assert (plain.event["priority"], "raised" in plain.event) == ("urgent", False)

    assert raised.policy == POLICIES["stat"]
    assert raised.policy.steps[0].wait_minutes < plain.policy.steps[0].wait_minutes
    assert given["escalation-policy"]["valueString"] == raised.policy.name


def test_what_is_actionable_goes_before_routine_and_behind_the_emergency(clinic: Clinic) -> None:
    routine = clinic.read("routine", "routine")
    consolidation = clinic.read("consolidation", "routine", "consolidation")
    pneumothorax = clinic.read("pneumothorax", "routine", "pneumothorax")
    rows = clinic.list()
    assert [row.result_id for row in rows] == [pneumothorax, consolidation, routine]
    assert [row.priority for row in rows] == ["stat", "urgent", "routine"]


def test_a_stat_order_stays_what_it_is_whatever_was_found(clinic: Clinic) -> None:
    told = clinic.told(clinic.read("stat", "stat", "pneumothorax"))
    assert (told.row.priority, told.row.raised, told.task["priority"]) == ("stat", None, "stat")
    assert "raised" not in told.event
    assert raise_on(CANONICAL, told.task) is None


def test_an_untrained_release_raises_nothing(clinic: Clinic) -> None:
    told = clinic.told(clinic.read("untrained", "routine", "pneumothorax", model=UNTRAINED))
    assert (told.row.priority, told.row.raised) == ("routine", None)
    assert (told.task["priority"], len(told.task["input"])) == ("routine", 1)
    assert "raised" not in told.event
    assert told.policy.steps == []
