"""One slice as a PNG of 8 bits, pixel for pixel: box coordinates of the slice are coordinates of the picture."""

from __future__ import annotations

import re
from io import BytesIO

import numpy as np
from PIL import Image

from schemas.imaging import SeriesVolume
from schemas.volume import Volume

BRAIN = (40.0, 80.0)
SOFT_TISSUE = (40.0, 400.0)
LUNG = (-600.0, 1500.0)
PERCENTILES = (1.0, 99.0)
SAMPLED_VOXELS = 1 << 20


def render_slice(volume: Volume, series: SeriesVolume, k: int) -> bytes:
    """PNG, greyscale, `series.columns` x `series.rows`, by the window of slice `k` (PS3.3 C.11.2.1.2) or one that suits the modality."""
    center, width = window_of(volume, series, k)
    span = max(width - 1.0, 1e-6)
    shown = (volume.voxels[k].astype(np.float32) - (center - 0.5)) * (255.0 / span) + 127.5
    return png_of(Image.fromarray(np.clip(shown, 0, 255).astype(np.uint8)))


def png_of(picture: Image.Image) -> bytes:
    file = BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def window_of(volume: Volume, series: SeriesVolume, k: int) -> tuple[float, float]:
    """Centre and width, in the units of the voxels."""
    frame = series.frames[k]
    if frame.window_center is not None and frame.window_width is not None:
        return frame.window_center, frame.window_width
    if volume.units == "HU":
        return _ct_window(f"{series.body_part or ''} {series.description or ''}")
    return _percentile_window(volume)


def _ct_window(named: str) -> tuple[float, float]:
    if re.search(r"lung|pulmo", named, re.IGNORECASE):
        return LUNG
    return BRAIN if re.search(r"head|brain|skull|cereb|neuro", named, re.IGNORECASE) else SOFT_TISSUE


def _percentile_window(volume: Volume) -> tuple[float, float]:
    """Of the whole volume, so that its slices look alike; background of the least value, often most of the picture, does not count."""
    step = max(1, round((volume.voxels.size / SAMPLED_VOXELS) ** (1 / 3)))
    sample = volume.voxels[::step, ::step, ::step]
    inside = sample[sample > sample.min()]
    low, high = np.percentile(inside if inside.size else sample, PERCENTILES)
    return float(low + high) / 2, max(float(high - low), 1.0) + 1.0
