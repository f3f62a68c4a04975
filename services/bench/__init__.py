"""Benchmarks. Each is a function without arguments that returns `{"ratios": {KEY: number}}` and whatever else it tells; imported when it is run."""

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
