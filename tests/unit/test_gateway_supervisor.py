"""A loop of the gateway that fails or hangs is begun anew, `/ready` says so, and nothing that hangs keeps the process from ending."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
from collections.abc import Callable

import pytest

from schemas.errors import PartUnavailable
from services.gateway import supervisor
from services.gateway.blocking import BlockingCalls
from services.gateway.supervisor import keep_going
from services.operations.vitals import Beat, Vitals


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOOK_SECONDS", "AGAIN_SECONDS"):
        monkeypatch.setattr(supervisor, name, 0.005)
    monkeypatch.setattr(supervisor, "STALL_SECONDS", 0.1)


def started() -> Vitals:
    vitals = Vitals()
    vitals.ready()
    return vitals


async def until(there: Callable[[], object]) -> None:
    for _ in range(4000):
        if there():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it did not come about")


async def test_a_loop_that_raises_is_begun_anew() -> None:
    stop, vitals, runs = asyncio.Event(), started(), 0

    async def loop(beat: Beat) -> None:
        nonlocal runs
        runs += 1
        if runs < 4:
            raise OSError("remounted")
        stop.set()

    await asyncio.wait_for(keep_going("consume", loop, stop, vitals), 20)
    assert runs == 4


async def test_a_poll_that_never_returns_is_left_behind_and_ready_says_no_until_the_next_has_come_round() -> None:
    stop, vitals, hung, goes_on = asyncio.Event(), started(), threading.Event(), asyncio.Event()
    runs, seen = 0, list[list[str]]()

    async def loop(beat: Beat) -> None:
        nonlocal runs
        runs += 1
        beat()
        if runs == 1:
            await BlockingCalls(1).run(hung.wait)
        seen.append(vitals.missing())
        await goes_on.wait()
        while not stop.is_set():
            beat()
            await asyncio.sleep(0.005)

    going = asyncio.create_task(keep_going("consume", loop, stop, vitals))
    await until(lambda: seen)
    assert seen == [["consume"]]
    goes_on.set()
    await until(lambda: not vitals.missing())
    stop.set()
    await asyncio.wait_for(going, 20)
    hung.set()
    assert runs == 2


async def test_a_loop_that_hangs_every_time_ends_the_process_in_words() -> None:
    async def loop(beat: Beat) -> None:
        beat()
        await asyncio.Event().wait()

    with pytest.raises(PartUnavailable, match="gateway-stalled"):
        await asyncio.wait_for(keep_going("publish", loop, asyncio.Event(), started()), 20)


async def test_calls_that_hang_do_not_pile_up() -> None:
    calls, hung, begun = BlockingCalls(2), threading.Event(), list[int]()

    def call() -> None:
        begun.append(1)
        hung.wait()

    for _ in range(5):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(calls.run(call), 0.02)
    assert len(begun) == 2
    hung.set()
    assert await asyncio.wait_for(calls.run(lambda: "again"), 20) == "again"


HANGS = """
import asyncio, os, signal, threading, time
from services.bootstrap import _until_told
from services.settings import Settings

async def gateway(settings, stop, operations):
    print("up", flush=True)
    await asyncio.to_thread(time.sleep, 600)

asyncio.run(_until_told(gateway, Settings(grace_seconds="1")))
"""


def test_sigterm_ends_a_process_in_which_a_thread_hangs() -> None:
    with subprocess.Popen([sys.executable, "-c", HANGS], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 75
