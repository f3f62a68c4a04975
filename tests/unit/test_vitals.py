"""Whether a process lives and can work: what Kubernetes is told, in each state that an operator meets."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import httpx
import pytest

from schemas.errors import PartUnavailable, TransientFailure
from services.operations.server import OperationsServer
from services.operations.vitals import PATIENCE_SECONDS, Vitals
from services.parts.ports import free_port


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Part:
    """Answers, refuses or hangs, as the test says."""

    def __init__(self) -> None:
        self.away = False
        self.hangs = threading.Event()
        self.hangs.set()
        self.asked = 0

    def ask(self) -> None:
        self.asked += 1
        self.hangs.wait()
        if self.away:
            raise TransientFailure("temporal-unavailable", "away")


def soon(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def vitals(clock: Clock) -> Iterator[Vitals]:
    made = Vitals(clock)
    yield made
    made.stop()


def test_a_process_is_not_ready_before_it_says_so(vitals: Vitals) -> None:
    assert vitals.missing() == ["starting"]
    vitals.ready()
    assert vitals.missing() == []


def test_a_part_that_never_answered_is_named_beside_the_start(vitals: Vitals) -> None:
    part = Part()
    part.away = True
    vitals.needs("temporal", part.ask, every=0.01)
    soon(lambda: part.asked > 1)
    assert vitals.missing() == ["starting", "temporal"]


def test_an_outage_is_told_after_its_patience_and_ends_by_itself(vitals: Vitals, clock: Clock) -> None:
    """A part that misses one answer is not away; one that misses three is; nothing is restarted for it."""
    vitals.ready()
    beat = vitals.loop("consume")
    part = Part()
    vitals.needs("temporal", part.ask, every=0.01)
    soon(lambda: vitals.missing() == [])
    part.away = True
    soon_asked = part.asked + 3
    soon(lambda: part.asked > soon_asked)
    assert vitals.missing() == []
    clock.now += PATIENCE_SECONDS + 1
    beat()
    assert vitals.missing() == ["temporal"]
    assert vitals.stalled() == []
    part.away = False
    soon(lambda: vitals.missing() == [])


def test_a_part_that_hangs_is_noticed_by_the_age_of_its_answer(vitals: Vitals, clock: Clock) -> None:
    """A question that never returns holds up neither the probe nor the questions to other parts."""
    vitals.ready()
    hanging, other = Part(), Part()
    vitals.needs("database", hanging.ask, every=0.01)
    vitals.needs("bus", other.ask, every=0.01)
    soon(lambda: vitals.missing() == [])
    hanging.hangs.clear()
    soon_asked = hanging.asked
    soon(lambda: hanging.asked > soon_asked)
    clock.now += PATIENCE_SECONDS + 1
    soon(lambda: vitals.missing() == ["database"])
    hanging.hangs.set()
    soon(lambda: vitals.missing() == [])


def test_a_loop_that_does_not_come_round_is_named(vitals: Vitals, clock: Clock) -> None:
    beat = vitals.loop("consume", 180)
    vitals.loop("event-loop", 60)
    clock.now += 61
    assert vitals.stalled() == ["event-loop"]
    clock.now += 120
    assert vitals.stalled() == ["consume", "event-loop"]
    beat()
    assert vitals.stalled() == ["event-loop"]
    assert vitals.loop_ages() == {"consume": 0.0, "event-loop": 181.0}


def test_a_process_that_was_told_to_end_takes_nothing_new_and_is_not_killed_early(vitals: Vitals, clock: Clock) -> None:
    vitals.ready()
    vitals.loop("consume")
    vitals.stop()
    clock.now += 1000
    assert vitals.missing() == ["stopping"]
    assert vitals.stalled() == []


# -- over HTTP -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def server(vitals: Vitals) -> Iterator[OperationsServer]:
    started = OperationsServer("127.0.0.1", 0, vitals, lambda: b"a_metric 1.0\n")
    yield started
    started.close()


def get(server: OperationsServer, path: str) -> httpx.Response:
    return httpx.get(f"http://127.0.0.1:{server.port}{path}", timeout=60, trust_env=False)


def test_probes_are_answered_as_kubernetes_reads_them(server: OperationsServer, vitals: Vitals, clock: Clock) -> None:
    answer = get(server, "/ready")
    assert (answer.status_code, answer.json()) == (503, {"ready": False, "missing": ["starting"]})
    vitals.ready()
    assert get(server, "/ready").status_code == 200
    assert get(server, "/health").json() == {"healthy": True, "stalled": []}
    vitals.loop("feed")
    clock.now += 181
    answer = get(server, "/health")
    assert (answer.status_code, answer.json()) == (503, {"healthy": False, "stalled": ["feed"]})
    assert get(server, "/ready").status_code == 200


def test_metrics_are_text_of_prometheus_and_nothing_else_is_there(server: OperationsServer) -> None:
    answer = get(server, "/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert answer.text == "a_metric 1.0\n"
    for path in ("/", "/health/", "/metrics?x=1", "/../etc/passwd"):
        assert get(server, path).status_code == 404
    assert httpx.post(f"http://127.0.0.1:{server.port}/ready", trust_env=False).status_code == 501
    assert "Python" not in answer.headers["server"]


def test_a_scrape_that_fails_says_so_without_its_reason(vitals: Vitals, caplog: pytest.LogCaptureFixture) -> None:
    def scrape() -> bytes:
        raise ValueError("Patient/123")

    server = OperationsServer("127.0.0.1", 0, vitals, scrape)
    try:
        answer = get(server, "/metrics")
    finally:
        server.close()
    assert answer.status_code == 500
    assert "Patient" not in answer.text + caplog.text


def test_a_port_that_is_taken_is_one_sentence(server: OperationsServer, vitals: Vitals) -> None:
    with pytest.raises(PartUnavailable, match="choose another"):
        OperationsServer("127.0.0.1", server.port, vitals, lambda: b"")
    OperationsServer("127.0.0.1", free_port(), vitals, lambda: b"").close()
