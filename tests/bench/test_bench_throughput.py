"""What everything but the model costs, and that neither a long chart nor many open workflows make it cost much more."""

from __future__ import annotations

import pytest

from services.bench.run import run_bench


@pytest.mark.bench
def test_a_study_costs_little_more_with_a_long_chart_and_many_open_workflows(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small run: 1,000 open workflows; `longview bench throughput` opens 10,000."""
    monkeypatch.setenv("LONGVIEW_BENCH_OPEN", "1000")
    told = run_bench("throughput")
    ratios = told["ratios"]
    assert told["run"]["open_workflows"] == 1000
    assert ratios["to_activity_limit"] >= 0.3
    assert ratios["growth_history_10x"] <= 2.5
    assert ratios["growth_open_1k"] <= 1.5
