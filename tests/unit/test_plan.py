"""The capacity plan: what more studies need is never less, and one of everything may always be lost."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from services.cli import main
from services.plan import CONSTANTS, Demand, plan

STUDIES = st.integers(min_value=1, max_value=1_000_000)
DEMANDS = st.builds(
    Demand,
    STUDIES,
    peak_factor=st.floats(1, 10),
    headroom=st.floats(0.1, 1),
    gpu_seconds=st.floats(0.1, 600),
    answer_seconds=st.floats(0, 600),
    study_megabytes=st.floats(0.1, 5000),
    priors=st.floats(0, 6),
)
REDUNDANT = ("gateways", "reading workers", "background workers", "GPUs", "inboxes")


def by_name(demand: Demand) -> dict[str, float]:
    return {line.name: line.amount for line in plan(demand).lines}


@given(DEMANDS, STUDIES)
def test_more_studies_never_need_less(demand: Demand, more: int) -> None:
    larger = Demand(**(asdict(demand) | {"studies_per_day": demand.studies_per_day + more}))
    before, after = by_name(demand), by_name(larger)
    assert {name for name in before if after[name] < before[name] - 1e-9} == set()
    ceilings = [{each.name: each.studies_per_day for each in plan(d).ceilings} for d in (demand, larger)]
    for name, carried in ceilings[0].items():  # a ceiling is the part's own, whoever asks
        assert ceilings[1][name] == pytest.approx(carried, rel=1e-3, abs=2)


@given(DEMANDS)
def test_one_of_everything_may_be_lost(demand: Demand) -> None:
    amounts = by_name(demand)
    assert min(amounts[name] for name in REDUNDANT) >= 2
    assert amounts["partitions a topic"] >= max(12, 4 * amounts["gateways"])
    shards = int(amounts["history shards"])
    assert shards >= 512
    assert shards & (shards - 1) == 0
    assert min(amounts.values()) >= 0


@given(DEMANDS, st.floats(1.0, 20.0))
def test_slower_models_and_larger_studies_need_more(demand: Demand, times: float) -> None:
    slower = Demand(
        **(
            asdict(demand)
            | {"gpu_seconds": demand.gpu_seconds * times, "study_megabytes": demand.study_megabytes * times}
        )
    )
    for name in ("GPUs", "DICOMweb", "object store"):
        assert by_name(slower)[name] >= by_name(demand)[name] - 1e-9


@given(DEMANDS)
def test_it_breaks_first_where_the_lowest_ceiling_is(demand: Demand) -> None:
    found = plan(demand)
    carried = [ceiling.studies_per_day for ceiling in found.ceilings]
    assert carried == sorted(carried)
    assert found.carried == (min(carried) >= demand.studies_per_day)


@pytest.mark.parametrize(
    "wrong", [{"studies_per_day": 0}, {"headroom": 0.0}, {"peak_factor": 0.5}, {"gpu_seconds": 0.0}]
)
def test_a_demand_that_is_none_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"demand|headroom"):
        plan(Demand(**({"studies_per_day": 1000} | wrong)))


def test_every_constant_says_where_it_comes_from_and_the_gpu_is_an_assumption() -> None:
    for name, constant in CONSTANTS.items():
        assert constant.value > 0, name
        assert constant.source, name
    assert CONSTANTS["gpu_seconds"].origin == "assumed"
    assert any("ASSUMPTION" in line.why for line in plan(Demand(1000)).lines if line.name == "GPUs")


def test_from_the_command_line() -> None:
    done = CliRunner().invoke(main, ["plan", "--studies-per-day", "10000", "--json", "--gpu-seconds", "20"])
    body = json.loads(done.stdout)
    assert body["demand"]["gpu_seconds"] == 20
    assert body["constants"]["gpu_seconds"]["origin"] == "assumed"
    shown = CliRunner().invoke(main, ["plan", "--studies-per-day", "100000"])
    assert "history shards" in shown.stdout
    assert "where it breaks first" in shown.stdout
