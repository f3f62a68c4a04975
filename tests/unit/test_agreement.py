"""Agreement of two readers: hand-computed cases, properties, and cases in which nothing can be said."""

from __future__ import annotations

import math
import random
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.oversight import BoxPair
from workflows.shadow.agreement import (
    ANSWERS,
    VERDICTS,
    Pair,
    agree,
    cohen_kappa,
    iou,
    kappa_interval,
    specific,
    wilson,
)
from workflows.shadow.report import Comparison, agreement_report

YES, NO, OPEN = "detected", "not-detected", "indeterminate"


def pairs(both: int, first: int, second: int, neither: int) -> list[Pair]:
    return [(YES, YES)] * both + [(YES, NO)] * first + [(NO, YES)] * second + [(NO, NO)] * neither


def test_cohens_kappa_by_hand() -> None:
    """20 yes/yes, 5 yes/no, 10 no/yes, 15 no/no: po = 0.7, pe = 0.5 * 0.6 + 0.5 * 0.4 = 0.5, kappa = 0.4."""
    found = agree("nodule", pairs(20, 5, 10, 15))
    assert found.kappa == pytest.approx(0.4)
    assert found.raw == pytest.approx(0.7)
    assert found.positive == pytest.approx(40 / 55)
    assert found.negative == pytest.approx(30 / 45)
    assert found.verdict == "stands"


def test_the_standard_error_is_that_of_fleiss_cohen_and_everitt() -> None:
    """Their other form, A + B - C over n (1 - pe)^4, for the table above; the textbook gives its standard error as 0.127."""
    kappa, po, pe, n = 0.4, 0.7, 0.5, 50
    p = {("y", "y"): 0.4, ("y", "n"): 0.1, ("n", "y"): 0.2, ("n", "n"): 0.3}
    row, column = {"y": 0.5, "n": 0.5}, {"y": 0.6, "n": 0.4}
    a = sum(p[i, i] * ((1 - pe) - (row[i] + column[i]) * (1 - po)) ** 2 for i in "yn")
    b = (1 - po) ** 2 * sum(p[i, j] * (column[i] + row[j]) ** 2 for i in "yn" for j in "yn" if i != j)
    c = (po * pe - 2 * pe + po) ** 2
    error = 1.959963984540054 * math.sqrt((a + b - c) / (n * (1 - pe) ** 4))
    assert error / 1.959963984540054 == pytest.approx(0.127, abs=5e-4)
    assert kappa_interval(Counter(pairs(20, 5, 10, 15))) == pytest.approx((kappa - error, kappa + error))


def test_three_answers_count_as_three() -> None:
    """An indeterminate against a detected is a disagreement: 5 of 6 agree, pe = (3 * 2 + 2 * 2 + 1 * 2) / 36 = 1/3, kappa = 3/4."""
    table = Counter[Pair]([(YES, YES), (YES, YES), (YES, OPEN), (NO, NO), (NO, NO), (OPEN, OPEN)])
    assert cohen_kappa(table) == pytest.approx(0.75)


def test_wilson_by_hand() -> None:
    """8 of 10: centre (0.8 + 3.8415 / 20) / 1.38415 = 0.7168."""
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson(0, 0) is None


def test_kappa_does_not_exist_where_both_always_say_the_same() -> None:
    found = agree("effusion", pairs(0, 0, 0, 200))
    assert (found.kappa, found.kappa_interval, found.positive) == (None, None, None)
    assert found.verdict == "undefined"
    assert "does not exist" in VERDICTS[found.verdict]


def test_few_studies_conclude_nothing_however_well_they_agree() -> None:
    assert agree("nodule", pairs(10, 0, 0, 10)).verdict == "few"
    assert agree("nodule", []).raw is None


def test_perfect_agreement_is_not_certain_agreement() -> None:
    found = agree("nodule", pairs(20, 0, 0, 20))
    assert found.kappa == 1
    assert found.kappa_interval is not None
    assert found.kappa_interval[0] < 0.9


def test_a_finding_that_one_reader_hardly_ever_sees_is_marked() -> None:
    assert agree("pneumothorax", pairs(1, 2, 1, 300)).verdict == "one-sided"


tables = st.lists(st.tuples(st.sampled_from(ANSWERS), st.sampled_from(ANSWERS)), max_size=60)


@given(tables)
def test_agreement_is_symmetric_and_within_its_bounds(seen: list[Pair]) -> None:
    found, turned = agree("x", seen), agree("x", [(b, a) for a, b in seen])
    assert replace(found, kappa_interval=None) == replace(turned, kappa_interval=None)
    if found.kappa is not None and found.kappa_interval is not None and turned.kappa_interval is not None:
        assert found.kappa_interval == pytest.approx(turned.kappa_interval)
        assert -1 <= found.kappa_interval[0] <= found.kappa <= found.kappa_interval[1] <= 1
    if found.raw is not None and found.raw_interval is not None:
        assert 0 <= found.raw_interval[0] <= found.raw <= found.raw_interval[1] <= 1
    for answer in ANSWERS:
        share = specific(Counter(seen), answer)
        assert share is None or 0 <= share <= 1


@given(tables)
def test_kappa_is_undefined_only_where_chance_alone_agrees(seen: list[Pair]) -> None:
    used = {answer for pair in seen for answer in pair}
    assert (cohen_kappa(Counter(seen)) is None) == (len(used) <= 1)


def test_the_interval_holds_the_true_kappa_as_often_as_it_says() -> None:
    """1,000 samples of 150 studies from a known population: 95% are to cover, 93% at least do."""
    cells, weights = [(YES, YES), (YES, NO), (NO, YES), (NO, NO)], [0.25, 0.08, 0.07, 0.60]
    po, pe = 0.85, 0.33 * 0.32 + 0.67 * 0.68
    true, draw, covered = (po - pe) / (1 - pe), random.Random(20261125), 0
    for _ in range(1000):
        interval = kappa_interval(Counter(draw.choices(cells, weights, k=150)))
        covered += interval is not None and interval[0] <= true <= interval[1]
    assert 930 <= covered <= 975


def test_boxes_overlap_on_one_slice_alone() -> None:
    half = BoxPair(area_shown=100, area_shadow=100, intersection=50, slices_apart=0)
    assert iou(half) == pytest.approx(1 / 3)
    beside = half.model_copy(update={"slices_apart": 2})
    assert iou(beside) == 0
    found = agree("nodule", pairs(2, 0, 0, 0), [half, beside])
    assert (found.both_located, found.same_slice, found.slices_apart) == (2, 1, 1)
    assert found.iou == pytest.approx(1 / 3)


# -- the report --------------------------------------------------------------------------------------------------------


def asked(n: int, shown: str | None, shadow: str | None, decision: str | None = None, **more: object) -> Comparison:
    human = shown if decision == "accepted" else None
    fields = {"shadow_asked": True, "human": human} | more
    return Comparison(result_id=str(n), label="nodule", shown=shown, shadow=shadow, decision=decision, **fields)  # type: ignore[arg-type]


def test_a_rejection_enters_the_rates_and_never_a_kappa() -> None:
    seen = [asked(1, YES, YES, "accepted"), asked(2, YES, NO, "rejected"), asked(3, NO, NO), asked(4, YES, None)]
    found = agreement_report("shown-1", "shadow-2", seen)
    [decisions] = found.decisions
    assert (decisions.n, decisions.accepted, decisions.rejected, decisions.detected_accepted) == (2, 1, 1, 1)
    assert found.shadow_and_shown[0].n == 3
    assert [row.n for row in found.shadow_and_human] == [1]
    assert found.shown_and_human == []  # it agrees with every accepted answer by definition
    assert (found.studies, found.unanswered) == (4, 1)


def test_a_finding_that_a_human_has_changed_is_a_disagreement() -> None:
    found = agreement_report("shown-1", None, [asked(1, YES, None, "amended", human=NO, shadow_asked=False)])
    [row] = found.shown_and_human
    assert (row.n, row.agreeing) == (1, 0)


def test_agreement_with_humans_never_stands_by_itself() -> None:
    seen = [asked(n, answer, answer, "accepted") for n, answer in enumerate([YES, NO] * 40)]
    assert [row.verdict for row in agreement_report("a", "b", seen).shadow_and_human] == ["chosen"]
