"""How long a CT takes to become grey levels: by numpy, as the publisher's notebooks do it, and by the model's own code on the device at hand."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import torch

from model_runtime.windows import HU_WINDOWS, PIXELS_AT_ONCE, grey_channels, grey_table
from schemas.errors import PartUnavailable

SHAPE = (85, 512, 512)
ROUNDS = 7

Voxels = npt.NDArray[np.int16]
Grey = npt.NDArray[np.uint8]


def window_seconds() -> dict[str, float]:
    """Medians of interleaved rounds, `numpy` and `device`; the copy to a GPU and back counts. `PartUnavailable` if the two differ in a grey level."""
    voxels = np.random.default_rng(6).integers(-1100, 2000, SHAPE).astype(np.int16)
    makers: dict[str, Callable[[Voxels], Iterator[Grey]]] = {"numpy": _numpy, "device": _device}
    one, other = (np.concatenate(list(make(voxels))) for make in makers.values())
    if not np.array_equal(one, other):
        raise PartUnavailable("bench-unequal", "windows differ between numpy and the device: it would be other work.")
    seconds: dict[str, list[float]] = {name: [] for name in makers}
    for _ in range(ROUNDS):
        for name, make in makers.items():
            begun = time.perf_counter()
            for _grey in make(voxels):
                pass
            seconds[name].append(time.perf_counter() - begun)
    return {name: statistics.median(times) for name, times in seconds.items()}


def _numpy(voxels: Voxels) -> Iterator[Grey]:
    """Slice by slice, uint8 [1, 3, H, W]."""
    for values in voxels.astype(np.float32):
        scaled = [np.round((np.clip(values, low, high) - low) / (high - low) * 255) for low, high in HU_WINDOWS]
        yield np.stack(scaled).astype(np.uint8)[None]


def _device(voxels: Voxels) -> Iterator[Grey]:
    there = torch.from_numpy(voxels).to("cuda" if torch.cuda.is_available() else "cpu")
    table = grey_table(there, hounsfield=True)
    for some in there.split(PIXELS_AT_ONCE // (SHAPE[1] * SHAPE[2])):
        yield grey_channels(some, table).cpu().numpy()
