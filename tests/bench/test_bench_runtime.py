"""The speeds that are promised of the model runtime, in one run on one server."""

from __future__ import annotations

import pytest

from services.bench.run import run_bench
from services.bench.runtime import DEPTHS


@pytest.mark.bench
@pytest.mark.timeout(1200)
def test_known_priors_cost_little_and_a_stat_study_does_not_wait() -> None:
    told = run_bench("runtime")
    ratios = told["ratios"]
    assert ratios["images_to_volume_first"] >= 1.5
    assert ratios["images_to_volume_repeat"] >= 5
    assert ratios["cached_priors_to_none"] <= 1.2
    assert ratios["stat_to_idle"] <= 1.3
    assert ratios["stat_to_fifo"] <= 0.5
    assert ratios["numpy_to_device"] >= 1
    assert told["counters"]["3 cached"]["encoded"] == 1
    assert told["counters"]["3 cached"]["prefix_hits"] >= 0.7 * told["counters"]["3 cached"]["prompt"]
    assert told["counters"]["3 new"]["encoded"] == 4
    assert max(told["growth"]["slices"][str(depth)] for depth in DEPTHS) <= 1.5, "beyond 85 slices nothing grows"
