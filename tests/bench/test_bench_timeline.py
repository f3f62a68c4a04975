"""The speed that is promised of a history: beside orjson on the same bytes, in one run, and linear."""

from __future__ import annotations

import pytest

from services.bench.run import run_bench


@pytest.mark.bench
def test_a_history_is_understood_as_fast_as_promised() -> None:
    ratios = run_bench("timeline")["ratios"]
    assert ratios["to_orjson"] <= 3.0
    assert ratios["growth_100k_per_1k"] <= 2.5
