"""Benchmarks. Each is a function without arguments that returns `{"ratios": {KEY: number}}` and whatever else it tells; imported when it is run."""

from __future__ import annotations

import os

BENCHES: dict[str, str] = {
    "timeline": "services.bench.timeline:run",
    "gateway": "services.bench.gateway:run",
    "throughput": "services.bench.throughput:run",
    "runtime": "services.bench.runtime:run",
    "volume": "services.bench.volume:run",
    "capacity": "services.bench.capacity:run",
    "telemetry": "services.bench.telemetry:run",
    "quantization": "services.bench.quantization:run",
}
"""Name -> "module:function"."""


def rounds(usual: int) -> int:
    """How often a benchmark repeats what it measures: as is usual for it, or LONGVIEW_BENCH_ROUNDS if that is fewer.

    One round proves that the benchmark runs and gives every ratio; what the ratio is, nobody should believe then.
    """
    return min(usual, int(os.environ.get("LONGVIEW_BENCH_ROUNDS") or usual))
