"""`kill -9` anywhere on the path, and starting again: one report in FHIR and one entry in the inbox, never none and never two."""

from __future__ import annotations

import os
import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from schemas.codes import Canonical
from schemas.events import STUDY_TOPIC, CloudEvent
from services.demo.publish import study_event
from services.demo.subject import Subject
from tests.integration.journeys import phantom
from tests.integration.system import System, until
from workflows.report_study.policies import HEARTBEAT

pytestmark = pytest.mark.integration


def loaded(quick: System) -> Subject:
    """A patient whose study nobody has announced yet."""
    made = phantom(quick)
    quick.load(made)
    return made


@pytest.fixture
def subject(quick: System) -> Subject:
    return loaded(quick)


def assert_one_result(quick: System, subject: Subject) -> None:
    """One of everything in FHIR, in the inbox and among the events."""
    uid = subject.studies[-1].uid
    reports = quick.reports(uid)
    assert [report["status"] for report in reports] == ["partial"]
    entries = quick.inbox_entries(uid)
    assert len(entries) == 1
    canonical = Canonical(quick.settings.canonical_base)
    for kind in ("Task", "Provenance"):
        assert len(quick.fhir.find_tagged(kind, canonical.sid("ai-result"), entries[0][0])) == 1
    told = quick.query("SELECT event_id, topic FROM outbox WHERE key = :x", quick.settings.namespace.study_key(uid))
    assert len(told) == 1
    posted = quick.query("SELECT run_id, state FROM run WHERE result_id = :x", entries[0][0])
    assert [state for _, state in posted] == ["awaiting-review"]


@pytest.fixture(scope="module")
def caught(quick: System) -> dict[str, tuple[Subject, str]]:
    """Three studies, each in another step when the worker is killed. One kill for all, since a dead worker is noticed after a heartbeat alone."""
    told = {step: loaded(quick) for step in ("ask_model", "take_inventory", "gather_timeline")}
    events = {step: event_of(quick, subject) for step, subject in told.items()}
    with ExitStack() as stack:
        for part, (step, event) in zip(("model", "archive", "fhir"), events.items(), strict=True):
            stack.enter_context(quick.held(part))
            quick.publish(STUDY_TOPIC, event)
            quick.reached(f"study-{event.partitionkey}", step)
        quick.kill("worker")
    quick.restart()
    return {step: (subject, f"study-{events[step].partitionkey}") for step, subject in told.items()}


def event_of(quick: System, subject: Subject) -> CloudEvent:
    """What the hospital announces, made while the archive still answers."""
    return study_event(quick.settings, quick.archive.find_study(subject.studies[-1].uid), subject.patient)


@pytest.mark.parametrize("step", ["gather_timeline", "take_inventory", "ask_model"])
def test_the_worker_is_killed_while_fhir_archive_or_model_is_asked(
    quick: System, caught: dict[str, tuple[Subject, str]], step: str
) -> None:
    subject, workflow_id = caught[step]
    quick.result(workflow_id)
    assert_one_result(quick, subject)


def test_the_worker_is_killed_while_the_result_is_written(quick: System, subject: Subject) -> None:
    with quick.held("model"):
        published = quick.announce(subject)
        quick.reached(published.workflow_id, "ask_model")
        os.kill(quick.pid("fhir"), signal.SIGSTOP)
    try:
        quick.reached(published.workflow_id, "build_result")
        quick.kill("worker")
    finally:
        os.kill(quick.pid("fhir"), signal.SIGCONT)
    quick.restart()
    quick.result(published.workflow_id)
    assert_one_result(quick, subject)


def test_the_gateway_is_killed_before_temporal_has_accepted(quick: System, subject: Subject) -> None:
    with quick.held("temporal"):
        published = quick.announce(subject)
        time.sleep(1.5)  # the gateway has polled the record by now, and waits for Temporal
        quick.kill("gateway")
    quick.restart()
    quick.result(published.workflow_id)
    assert_one_result(quick, subject)


def test_the_gateway_is_killed_between_temporals_word_and_the_commit(quick: System, subject: Subject) -> None:
    published = quick.announce(subject)
    until(lambda: quick.progress(published.workflow_id), "the workflow")
    quick.kill("gateway")
    quick.restart()
    quick.result(published.workflow_id)
    time.sleep(1.0)  # a record that was not committed comes again
    assert_one_result(quick, subject)


@pytest.mark.long
def test_a_storm_of_kills_while_many_studies_are_read(quick: System) -> None:
    """Wherever the kills fall: in a fetch, between FHIR's commit and its answer, before the inbox."""
    storm = [loaded(quick) for _ in range(4)]
    chance = random.Random(2026)
    with quick.held("model"), ThreadPoolExecutor(len(storm)) as pool:
        published = list(pool.map(quick.announce, storm))
        for each in published:
            quick.reached(each.workflow_id, "ask_model")
    for part, wait in (("worker", HEARTBEAT.total_seconds() - 2), ("gateway", 0.0), ("worker", 0.0)):
        time.sleep(chance.uniform(0.3, 0.9))
        quick.kill(part)
        quick.restart()
        time.sleep(wait)  # after the first kill until about when what the dead worker held is tried again
    for each in published:
        quick.result(each.workflow_id)
    for subject in storm:
        assert_one_result(quick, subject)
