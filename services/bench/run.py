"""Runs a benchmark of the registry and says on which machine; every ratio comes from one run."""

from __future__ import annotations

import os
import platform
from importlib import import_module
from pathlib import Path
from typing import Any

from schemas.errors import PartUnavailable
from services.bench import BENCHES


def known_benches() -> list[str]:
    return sorted(BENCHES)


def run_bench(name: str) -> dict[str, Any]:
    """`{"bench", "machine", "ratios"}` and whatever else the benchmark tells; `PartUnavailable` for a name that is not known."""
    if name not in BENCHES:
        raise PartUnavailable("bench-unknown", f"there is no such benchmark: name one of {', '.join(known_benches())}.")
    module, _, function = BENCHES[name].partition(":")
    result = getattr(import_module(module), function)()
    told = result if "ratios" in result else {"ratios": result}
    return {"bench": name, "machine": machine(), **told}


def machine() -> dict[str, Any]:
    """What a reader must know to weigh the numbers."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
