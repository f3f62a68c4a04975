"""What is under way between a poll and its commit, whatever order the keys come and fail in."""

from __future__ import annotations

import asyncio
from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import TransientFailure
from services.clients.kafka import Record
from services.gateway.window import PARALLEL, Window

TOPIC = "hospital.observation.v1"


def records(keys: list[int]) -> list[Record]:
    """One record for each number, which is its key; a key lives in one partition."""
    offsets: dict[int, int] = defaultdict(int)
    made = []
    for key in keys:
        partition = key % 3
        made.append(Record(TOPIC, partition, offsets[partition], bytes([key]), b""))
        offsets[partition] += 1
    return made


class Handler:
    """Handles each record after some turns of the loop; `fails` are the places of the calls that fail, counted from 0."""

    def __init__(self, delays: list[int], fails: set[int] = frozenset()) -> None:  # type: ignore[assignment]
        self.delays, self.fails = delays, fails
        self.began = 0
        self.under_way = self.most = 0
        self.handled: list[Record] = []

    async def __call__(self, record: Record) -> None:
        number, self.began = self.began, self.began + 1
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        for _ in range(self.delays[number % len(self.delays)] if self.delays else 0):
            await asyncio.sleep(0)
        self.under_way -= 1
        if number in self.fails:
            raise TransientFailure("temporal-unavailable", "away")
        self.handled.append(record)


async def settle(window: Window, count: int) -> None:
    while window.ready < count and not window.failed:
        await window.progress()


KEYS = st.lists(st.integers(0, 7), min_size=1, max_size=60)


@given(KEYS, st.lists(st.integers(0, 5), max_size=8), st.integers(1, 60))
def test_every_record_is_handled_once_in_order_of_its_key(keys: list[int], delays: list[int], cut: int) -> None:
    polled, handler = records(keys), Handler(delays)

    async def day() -> list[Record]:
        window = Window(handler)
        window.add(polled[:cut])
        await asyncio.sleep(0)
        window.add(polled[cut:])
        await settle(window, len(polled))
        taken = window.take_ready()
        assert (window.size, window.unhandled()) == (0, [])
        return taken

    taken = asyncio.run(day())
    assert sorted(taken, key=id) == sorted(polled, key=id)
    for key in set(keys):
        assert [r for r in handler.handled if r.key == bytes([key])] == [r for r in polled if r.key == bytes([key])]


@given(KEYS, st.lists(st.integers(0, 5), max_size=8), st.sets(st.integers(0, 59), min_size=1, max_size=3))
def test_nothing_behind_an_unhandled_record_is_committed(keys: list[int], delays: list[int], fails: set[int]) -> None:
    """And nothing is lost: what is not committed is given back, and of a key that is every record from its first unhandled one on."""
    polled, handler = records(keys), Handler(delays, fails)

    async def day() -> tuple[list[Record], list[Record]]:
        window = Window(handler)
        window.add(polled)
        await settle(window, len(polled))
        await window.close()
        return window.take_ready(), window.unhandled()

    committed, back = asyncio.run(day())
    assert {id(r) for r in handler.handled} | {id(r) for r in back} == {id(r) for r in polled}
    for partition in range(3):
        first = min((r.offset for r in back if r.partition == partition), default=len(polled))
        assert all(r.offset < first for r in committed if r.partition == partition)
        done = [r for r in polled if r.partition == partition and r.offset < first]
        assert [r for r in committed if r.partition == partition] == done
    for key in set(keys):
        chain = [r for r in polled if r.key == bytes([key])]
        left = [r for r in chain if r in back]
        assert left == chain[len(chain) - len(left) :]


async def test_a_fault_that_nobody_has_named_makes_the_record_come_again() -> None:
    """An error of ours that ended the task alone would hold up the key, and then its partition, for ever."""

    async def broken(record: Record) -> None:
        raise OSError("remounted")

    window, polled = Window(broken), records([1, 1])
    window.add(polled)
    await settle(window, 2)
    await window.close()
    assert window.failed
    assert (window.take_ready(), window.unhandled()) == ([], polled)


async def test_so_many_calls_are_under_way_and_no_more() -> None:
    handler = Handler([3])
    window = Window(handler)
    window.add(Record(TOPIC, 0, number, str(number).encode(), b"") for number in range(3 * PARALLEL))
    await settle(window, 3 * PARALLEL)
    assert handler.most == PARALLEL


async def test_a_record_that_comes_again_after_a_rebalance_does_no_harm() -> None:
    polled, handler = records([1, 1, 1]), Handler([2])
    window = Window(handler)
    window.add(polled)
    window.add(polled[1:])
    await settle(window, 5)
    assert [r.offset for r in handler.handled] == [0, 1, 2, 1, 2]
    assert [r.offset for r in window.take_ready()] == [0, 1, 2, 1, 2]
    assert window.size == 0
