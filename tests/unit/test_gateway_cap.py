"""From which number and share of dead letters on a topic's intake pauses, and when it goes on."""

from __future__ import annotations

import itertools

from services.gateway.cap import LEAST, MINUTES, DeadLetterCap, Limits

ORDERS, STUDIES = "hospital.order.v1", "hospital.imaging-study.v1"


class Clock:
    seconds = 1_000_000.0

    def __call__(self) -> float:
        return self.seconds


OFFSETS = itertools.count()


def told(cap: DeadLetterCap, topic: str, dead: int, sound: int = 0) -> frozenset[str]:
    for _ in range(sound):
        cap.add(topic, (0, next(OFFSETS)), dead=False)
    for _ in range(dead):
        cap.add(topic, (0, next(OFFSETS)), dead=True)
    return cap.paused()


def test_records_that_come_again_while_the_store_is_away_are_the_same_dead_letters() -> None:
    """A window that has to wait is taken anew, again and again, with what is dead in it: that is no sign of the topic."""
    clock = Clock()
    cap = DeadLetterCap(Limits(), clock)
    for _ in range(20):
        clock.seconds += 10
        for offset in range(LEAST - 1):
            cap.add(ORDERS, (1, offset), dead=True)
        assert cap.paused() == frozenset()
    assert told(cap, ORDERS, dead=1) == {ORDERS}, "one more is one more"
    clock.seconds += 60 * MINUTES
    assert cap.paused() == frozenset()
    for offset in range(LEAST):
        cap.add(ORDERS, (1, offset), dead=True)
    assert cap.paused() == {ORDERS}, "what comes after ten minutes counts anew"


def test_one_record_in_twenty_is_an_everyday_matter_however_many_come() -> None:
    assert told(DeadLetterCap(Limits()), ORDERS, dead=100, sound=1900) == frozenset()


def test_a_few_bad_records_say_nothing_of_the_topic() -> None:
    assert told(DeadLetterCap(Limits()), ORDERS, dead=LEAST - 1) == frozenset()


def test_a_topic_of_which_a_third_is_dead_pauses_and_no_other_does() -> None:
    cap = DeadLetterCap(Limits())
    assert told(cap, STUDIES, dead=1, sound=5) == frozenset()
    assert told(cap, ORDERS, dead=LEAST, sound=2 * LEAST) == {ORDERS}


def test_so_many_are_too_many_whatever_their_share() -> None:
    assert told(DeadLetterCap(Limits(most=1000)), ORDERS, dead=1000, sound=9000) == {ORDERS}


def test_it_goes_on_by_itself_and_pauses_again_if_nothing_is_better() -> None:
    clock = Clock()
    cap = DeadLetterCap(Limits(most=60, share=0), clock)
    assert told(cap, ORDERS, dead=60) == {ORDERS}
    clock.seconds += 60 * MINUTES
    assert cap.paused() == frozenset()
    assert told(cap, ORDERS, dead=59) == frozenset()
    assert told(cap, ORDERS, dead=1) == {ORDERS}


def test_without_limits_nothing_pauses() -> None:
    assert told(DeadLetterCap(Limits(0, 0)), ORDERS, dead=5000) == frozenset()
