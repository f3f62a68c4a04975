"""The speed that is promised of a series on disk, in one run, beside dicomsdl and MONAI with equal voxels."""

from __future__ import annotations

import pytest

from services.bench.run import run_bench


@pytest.mark.bench
def test_a_series_becomes_a_volume_as_fast_as_promised() -> None:
    ratios = run_bench("volume")["ratios"]
    assert ratios["to_dicomsdl"] <= 1.5
    assert ratios["monai_to_ours"] >= 10
