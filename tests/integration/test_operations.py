"""Gateway, worker and inbox as an operator and Kubernetes see them: while they start, work, lose a part, and end."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from contextlib import suppress

import httpx
import pytest

from schemas.events import STUDY_TOPIC
from services.operations.metric import Metric
from services.operations.metrics import METRICS
from services.operations.reference import reference
from services.operations.vitals import PATIENCE_SECONDS
from tests.integration.journeys import phantom, uid_of
from tests.integration.system import until
from tests.integration.watched import House, Watched, house

pytestmark = pytest.mark.integration

ALWAYS_LATER = {
    "longview_reconcile_ended_timestamp_seconds": "there is none before the first pass",
    "temporal_request_failure_total": "no call has failed",
    "temporal_workflow_task_execution_failed_total": "no workflow task has failed",
    "temporal_workflow_failed_total": "no workflow has failed",
}


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with house(tmp_path_factory.mktemp("watched")) as made:
        yield made


def test_one_study_is_seen_in_every_process(watched: House) -> None:
    """From the record of the bus to the open result in the inbox, by numbers alone."""
    system = watched.system
    subject = phantom(system)
    system.load(subject)
    before = watched.worker.value("longview_studies_total", outcome="read")
    system.result(system.announce(subject).workflow_id)
    gateway, worker, inbox = watched.watched
    assert gateway.value("longview_gateway_records_total", topic=STUDY_TOPIC, outcome="accepted") >= 1
    assert worker.value("longview_studies_total", outcome="read", modality="CT", code="none") == before + 1
    assert worker.value("longview_activities_total", activity="create_inbox_entry", outcome="done") >= 1
    waited = worker.value("longview_result_seconds_sum")
    assert 0 < waited < 300
    assert worker.value("longview_request_seconds_count", server="model", kind="ask", outcome="ok") >= 1
    assert worker.value("longview_request_seconds_count", server="fhir", kind="write", outcome="ok") >= 1
    until(lambda: inbox.value("longview_inbox_open_results") or None, "the inbox's metrics", 30)
    until(lambda: gateway.value("longview_outbox_sent_total") or None, "the outbox", 30)
    assert gateway.value("longview_gateway_lag_records") == 0
    pages = "".join(process.get("/metrics").text for process in watched.watched)
    assert subject.patient not in pages
    assert uid_of(subject) not in pages


def test_the_same_event_again_is_counted_as_dropped(watched: House) -> None:
    system = watched.system
    subject = phantom(system)
    system.load(subject)
    system.result(system.announce(subject).workflow_id)
    system.announce(subject)  # the same instance set always gives the same event
    until(lambda: watched.worker.value("longview_duplicate_events_total") or None, "the second one to be dropped", 30)


def test_each_process_gives_exactly_what_the_list_says(watched: House) -> None:
    """Every metric of the process, and none that is not in the list; what has not happened yet is named above."""
    for process in watched.watched:
        page = process.get("/metrics").text
        typed = dict(re.findall(r"^# TYPE (\S+) (\S+)$", page, re.M))
        given = {name: kind for name, kind in typed.items() if not name.startswith("process_")}
        listed = {metric.name: metric.kind for metric in METRICS if process.name in metric.processes}
        assert {n: k for n, k in given.items() if n in listed} == {n: k for n, k in listed.items() if n in given}
        assert set(given) <= set(listed)
        assert set(listed) - set(given) <= set(ALWAYS_LATER), process.name
        values = process.values()
        silent = {m.name for m in METRICS if process.name in m.processes and not any(s in values for s in samples(m))}
        assert silent <= set(ALWAYS_LATER), process.name
        assert all(f"`{name}`" in reference() for name in given)


def samples(metric: Metric) -> tuple[str, ...]:
    return (f"{metric.name}_count",) if metric.kind == "histogram" else (metric.name,)


def test_while_temporal_hangs_nothing_is_ready_and_nothing_is_restarted(watched: House) -> None:
    """`/ready` names the part after its patience; `/health` stays well; afterwards everything goes on by itself."""
    with watched.system.held("temporal"):
        for process in watched.watched:
            until(
                lambda process=process: process.missing() == ["temporal"] or None,  # type: ignore[misc]
                f"{process.name} to say what is missing",
                PATIENCE_SECONDS + 20,
            )
            assert process.status("/health") == 200
            assert process.value("longview_need_answers", need="temporal") == 0
            assert process.value("longview_ready") == 0
    for process in watched.watched:
        process.become_ready()
        assert process.process.poll() is None


def test_a_gateway_whose_bus_is_gone_says_so(watched: House) -> None:
    with watched.system.held("broker"):
        until(
            lambda: watched.gateway.missing() == ["bus"] or None, "the gateway to miss the bus", PATIENCE_SECONDS + 20
        )
        assert watched.gateway.status("/health") == 200
        assert watched.worker.status("/ready") == 200
    watched.gateway.become_ready()


def test_a_process_is_asked_before_it_has_reached_anything(watched: House) -> None:
    """While Temporal hangs at the start, `/health` says that the process lives, and `/ready` that it starts."""
    with watched.system.held("temporal"):
        late = Watched(watched.system, "inbox")
        try:
            until(lambda: late.status("/health") == 200 or None, "the port", 30)
            assert late.missing() == ["starting"]
        finally:
            late.process.kill()
            late.process.wait()
    for process in watched.watched:
        process.become_ready()


def test_a_process_that_is_told_to_end_takes_nothing_new_and_ends_well(watched: House) -> None:
    """Last: nobody is left afterwards. The port answers until the end, so that a load balancer hears it."""
    for process in watched.watched:
        process.process.send_signal(signal.SIGTERM)
        said = until(lambda process=process: refused(process), f"{process.name} to refuse", 20)  # type: ignore[misc]
        assert said in (["stopping"], ["ended"])
        assert process.stop() == 0


def refused(process: Watched) -> list[str] | None:
    if process.process.poll() is not None:
        return ["ended"]
    with suppress(httpx.HTTPError):  # it ends while it answers
        return process.missing() or None
    return None
