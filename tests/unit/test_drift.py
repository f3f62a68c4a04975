"""Drift: a release that changes is noticed, one that does not is left in peace, at the rate that is stated."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows.shadow.drift import ALPHA, FEWEST_RECENT, Rate, fisher, holm, matters, watch


def test_fishers_exact_test_by_hand() -> None:
    """The lady tasting tea: 3 of 4 against 1 of 4, p = (16 + 16 + 1 + 1) / 70."""
    assert fisher(Rate(3, 4), Rate(1, 4)) == pytest.approx(34 / 70)
    assert fisher(Rate(4, 4), Rate(0, 4)) == pytest.approx(2 / 70)


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 60), st.integers(0, 60))
def test_the_test_is_symmetric_and_a_probability(a: int, more_a: int, b: int, more_b: int) -> None:
    one, other = Rate(a, a + more_a), Rate(b, b + more_b)
    p = fisher(one, other)
    assert 0 < p <= 1
    assert p == pytest.approx(fisher(other, one))
    assert p == pytest.approx(fisher(Rate(more_a, one.n), Rate(more_b, other.n)))


def test_holm_steps_down() -> None:
    assert holm({"a": 0.01, "b": 0.02, "c": 0.9}, 0.05) == {"a", "b"}
    assert holm({"a": 0.02, "b": 0.02, "c": 0.9}, 0.05) == set()
    assert holm({}, 0.05) == set()


METRICS = {
    "detected:nodule": 0.2,
    "detected:effusion": 0.1,
    "abstained": 0.02,
    "dropped-answer": 0.05,
    "rejected": 0.12,
}


def drawn(source: random.Random, rates: dict[str, float], n: int) -> dict[str, Rate]:
    return {name: Rate(sum(source.random() < p for _ in range(n)), n) for name, p in rates.items()}


def test_a_stable_stream_alarms_no_oftener_than_stated() -> None:
    """3,000 looks at five rates that do not change: 3 false alarms are allowed on average; more than 9 would break the promise."""
    source, alarms = random.Random(7), 0
    for _ in range(3000):
        found = watch(drawn(source, METRICS, 100), drawn(source, METRICS, 400))
        alarms += any(each.verdict == "alarm" for each in found)
    assert alarms <= 9
    assert ALPHA == 0.001


def test_a_real_shift_alarms() -> None:
    """The rate of detected nodules doubles in a week of 300 studies: 95 of 100 such weeks are noticed, and the right metric is named."""
    source, noticed = random.Random(11), 0
    for _ in range(100):
        found = watch(drawn(source, METRICS | {"detected:nodule": 0.4}, 300), drawn(source, METRICS, 1200))
        noticed += [f.metric for f in found if f.verdict == "alarm"] == ["detected:nodule"]
    assert noticed >= 95


def test_too_few_studies_say_nothing() -> None:
    [found] = watch({"abstained": Rate(FEWEST_RECENT - 1, FEWEST_RECENT - 1)}, {"abstained": Rate(0, 500)})
    assert (found.verdict, found.p) == ("few", None)
    [gone] = watch({}, {"detected:nodule": Rate(1, 500)})
    assert gone.verdict == "few"


def test_a_proved_change_of_a_hairs_breadth_does_not_alarm() -> None:
    recent, reference = Rate(21_000, 100_000), Rate(80_000, 400_000)
    assert fisher(recent, reference) < 1e-6
    assert not matters(recent, reference)
    assert [f.verdict for f in watch({"x": recent}, {"x": reference})] == ["stable"]


def test_an_alarm_where_nothing_was_ever_dropped_before() -> None:
    [found] = watch({"dropped-answer": Rate(12, 300)}, {"dropped-answer": Rate(0, 1200)})
    assert found.verdict == "alarm"
