"""What the gateway costs beside a bare signal-with-start loop on the same Temporal server."""

from __future__ import annotations

import pytest

from services.bench.run import run_bench


@pytest.mark.bench
def test_the_gateway_takes_events_nearly_as_fast_as_temporal_does() -> None:
    assert run_bench("gateway")["ratios"]["to_bare_signal"] >= 0.9
