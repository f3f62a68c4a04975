"""`kill -9` anywhere on the path, and starting again: one report in FHIR and one entry in the inbox, never none and never two."""

from __future__ import annotations

import os
import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from schemas.codes import Canonical
from services.demo.publish import Published
from services.demo.subject import Subject, phantom_subject
from services.parts.process import is_alive
from tests.integration.system import System, until
from workflows.report_study.policies import HEARTBEAT

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]
SEEDS = range(100, 112)


@pytest.fixture(scope="module")
def subjects(system: System) -> list[Subject]:
    """Patients whose studies nobody has announced yet."""
    settings = system.settings
    made = [phantom_subject(seed, settings.canonical_base, settings.accessions) for seed in SEEDS]
    for subject in made:
        system.load(subject)
    return made


@pytest.fixture
def subject(subjects: list[Subject]) -> Subject:
    """One of them, for this test alone."""
    return subjects.pop()


def assert_one_result(system: System, subject: Subject) -> None:
    """One of everything in FHIR, in the inbox and among the events."""
    uid = subject.studies[-1].uid
    reports = system.reports(uid)
    assert [report["status"] for report in reports] == ["partial"]
    entries = system.inbox_entries(uid)
    assert len(entries) == 1
    canonical = Canonical(system.settings.canonical_base)
    for kind in ("Task", "Provenance"):
        assert len(system.fhir.find_tagged(kind, canonical.sid("ai-result"), entries[0][0])) == 1
    told = system.query("SELECT event_id, topic FROM outbox WHERE key = :x", system.settings.namespace.study_key(uid))
    assert len(told) == 1
    posted = system.query("SELECT run_id, state FROM run WHERE result_id = :x", entries[0][0])
    assert [state for _, state in posted] == ["awaiting-review"]


def test_the_worker_is_killed_while_fhir_is_asked_for_the_history(system: System, subject: Subject) -> None:
    with system.held("fhir"):
        published = system.announce(subject)
        system.reached(published.workflow_id, "gather_timeline")
        system.kill("worker")
    system.restart()
    system.result(published.workflow_id)
    assert_one_result(system, subject)


def test_the_worker_is_killed_while_the_images_are_fetched(system: System, subject: Subject) -> None:
    published = announce_with_archive_held(system, subject)
    system.restart()
    system.result(published.workflow_id)
    assert_one_result(system, subject)


def announce_with_archive_held(system: System, subject: Subject) -> Published:
    """The archive stops answering once the event is out; then the worker dies."""
    published = system.announce(subject)
    with system.held("archive"):
        until(lambda: system.progress(published.workflow_id), "the workflow")
        system.kill("worker")
    return published


def test_the_worker_is_killed_while_the_model_answers(system: System, subject: Subject) -> None:
    with system.held("model"):
        published = system.announce(subject)
        system.reached(published.workflow_id, "ask_model")
        system.kill("worker")
    system.restart()
    system.result(published.workflow_id)
    assert_one_result(system, subject)


def test_the_worker_is_killed_while_the_result_is_written(system: System, subject: Subject) -> None:
    with system.held("model"):
        published = system.announce(subject)
        system.reached(published.workflow_id, "ask_model")
        os.kill(system.pid("fhir"), signal.SIGSTOP)
    try:
        system.reached(published.workflow_id, "build_result")
        system.kill("worker")
    finally:
        os.kill(system.pid("fhir"), signal.SIGCONT)
    system.restart()
    system.result(published.workflow_id)
    assert_one_result(system, subject)


def test_vllm_is_killed_while_it_answers(system: System, subject: Subject) -> None:
    with system.held("model"):
        published = system.announce(subject)
        system.reached(published.workflow_id, "ask_model")
        os.kill(system.pid("model"), signal.SIGKILL)
        process = system.launcher.records()["model"].process
        assert process is not None
        until(lambda: not is_alive(process) or None, "the model server's end")
    system.restart()
    system.result(published.workflow_id)
    assert_one_result(system, subject)


def test_the_gateway_is_killed_before_temporal_has_accepted(system: System, subject: Subject) -> None:
    with system.held("temporal"):
        published = system.announce(subject)
        time.sleep(1.5)  # the gateway has polled the record by now, and waits for Temporal
        system.kill("gateway")
    system.restart()
    system.result(published.workflow_id)
    assert_one_result(system, subject)


def test_the_gateway_is_killed_between_temporals_word_and_the_commit(system: System, subject: Subject) -> None:
    published = system.announce(subject)
    until(lambda: system.progress(published.workflow_id), "the workflow")
    system.kill("gateway")
    system.restart()
    system.result(published.workflow_id)
    time.sleep(1.0)  # a record that was not committed comes again
    assert_one_result(system, subject)


def test_a_storm_of_kills_while_many_studies_are_read(system: System, subjects: list[Subject]) -> None:
    """Wherever the kills fall: in a fetch, between FHIR's commit and its answer, before the inbox."""
    storm = [subjects.pop() for _ in range(4)]
    chance = random.Random(2026)
    with system.held("model"), ThreadPoolExecutor(len(storm)) as pool:
        published = list(pool.map(system.announce, storm))
        for each in published:
            system.reached(each.workflow_id, "ask_model")
    for part in ("worker", "gateway", "worker"):
        time.sleep(chance.uniform(0.3, 0.9))
        system.kill(part)
        system.restart()
        if part == "worker":
            time.sleep(HEARTBEAT.total_seconds() - 2)  # about when what the dead worker held is tried again
    for each in published:
        system.result(each.workflow_id)
    for subject in storm:
        assert_one_result(system, subject)
