"""How long a CT takes to become grey levels: by numpy, as the publisher's notebooks do it, and by the model's own code on the device at hand."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from model_runtime.windows import HU_WINDOWS, PIXELS_AT_ONCE, grey_channels, grey_table
from schemas.errors import PartUnavailable

SHAPE = (85, 512, 512)
ROUNDS = 5


def window_seconds() -> dict[str, float]:
    """Medians of interleaved rounds, `numpy` and `device`; the copy to a GPU and back counts. `PartUnavailable` if the two differ in a grey level."""
    voxels = np.random.default_rng(6).integers(-1100, 2000, SHAPE).astype(np.int16)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    makers: dict[str, Callable[[], Any]] = {
        "numpy": lambda: _numpy(voxels),
        "device": lambda: _device(torch.from_numpy(voxels), device),
    }
    if not np.array_equal(makers["numpy"](), makers["device"]()):
        raise PartUnavailable("bench-unequal", "windows differ between numpy and the device: it would be other work.")
    seconds: dict[str, list[float]] = {name: [] for name in makers}
    for _ in range(ROUNDS):
        for name, make in makers.items():
            begun = time.perf_counter()
            make()
            seconds[name].append(time.perf_counter() - begun)
    return {name: statistics.median(times) for name, times in seconds.items()}


def _numpy(voxels: np.ndarray[Any, np.dtype[np.int16]]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    values = voxels.astype(np.float32)
    scaled = [np.round((np.clip(values, low, high) - low) / (high - low) * 255) for low, high in HU_WINDOWS]
    return np.stack(scaled, axis=1).astype(np.uint8)


def _device(voxels: torch.Tensor, device: str) -> np.ndarray[Any, np.dtype[np.uint8]]:
    there = voxels.to(device)
    table = grey_table(there, hounsfield=True)
    few = PIXELS_AT_ONCE // (voxels.shape[1] * voxels.shape[2])
    return torch.cat([grey_channels(some, table) for some in there.split(few)]).cpu().numpy()
