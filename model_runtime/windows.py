"""Voxels and pictures to what SigLIP sees, in MedGemma 1.5's order: window, then uint8, then resize. (Resizing raw HU first changes the logits.)

Windows are tables from int16 to uint8, made in double precision: a table gives the same bytes on every device, a division need not.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torchvision.transforms.v2 import functional as transforms

HU_WINDOWS = ((-1024, 1024), (-135, 215), (0, 80))
"""Low and high HU of the channels R, G and B (MedGemma 1.5 model card: wide, soft tissue, brain)."""
SLICES_AT_ONCE = 16
PIXELS_AT_ONCE = 16 * 1024 * 1024
INT16_LOW, INT16_COUNT = -(2**15), 2**16


@lru_cache(maxsize=64)
def window_table(low: int, high: int) -> npt.NDArray[np.uint8]:
    """uint8 [65536]: the grey level of each int16, indexed by value + 32768; `low` and below are 0, `high` and above 255."""
    values = np.arange(INT16_LOW, INT16_LOW + INT16_COUNT, dtype=np.float64)
    grey = np.clip((values - low) / max(high - low, 1), 0.0, 1.0) * 255.0
    return np.rint(grey).astype(np.uint8)


def channel_tables(voxels: torch.Tensor, *, hounsfield: bool) -> torch.Tensor:
    """uint8 [3, 65536] on the voxels' device. Without an absolute scale: minimum to maximum of the whole volume, three equal channels."""
    if hounsfield:
        windows = HU_WINDOWS
    else:
        low, high = (int(extreme) for extreme in torch.aminmax(voxels))
        windows = ((low, high),) * 3
    tables = np.stack([window_table(low, high) for low, high in windows])
    return torch.from_numpy(tables).to(voxels.device)


def grey_channels(voxels: torch.Tensor, tables: torch.Tensor) -> torch.Tensor:
    """int16 [D, H, W] -> uint8 [D, 3, H, W]."""
    index = voxels.to(torch.int32) - INT16_LOW
    return torch.stack([table[index] for table in tables], dim=1)


def colour_channels(pixels: torch.Tensor) -> torch.Tensor:
    """uint8 [N, H, W, C] -> uint8 [N, 3, H, W]: grey is the same in each channel."""
    return pixels.permute(0, 3, 1, 2).expand(-1, 3, -1, -1)


def siglip_input(grey: torch.Tensor, size: int, dtype: torch.dtype) -> torch.Tensor:
    """uint8 [D, 3, H, W] -> [D, 3, size, size] in -1..1, by the very operations of Gemma 3's image processor."""
    if tuple(grey.shape[-2:]) != (size, size):
        grey = transforms.resize(grey, [size, size], transforms.InterpolationMode.BILINEAR, antialias=True)
    return (grey.float() / 255 - 0.5).div(0.5).to(dtype)


def slice_batches(voxels: torch.Tensor, *, hounsfield: bool, size: int, dtype: torch.dtype) -> Iterator[torch.Tensor]:
    """The volume as SigLIP inputs, a few slices at a time: an 85-slice volume at 896 x 896 would not fit otherwise."""
    tables = channel_tables(voxels, hounsfield=hounsfield)
    for some in voxels.split(_at_once(voxels)):
        yield siglip_input(grey_channels(some, tables), size, dtype)


def picture_batches(pixels: torch.Tensor, *, size: int, dtype: torch.dtype) -> Iterator[torch.Tensor]:
    """Pictures uint8 [N, H, W, C] as SigLIP inputs, a few at a time."""
    for some in pixels.split(_at_once(pixels)):
        yield siglip_input(colour_channels(some), size, dtype)


def _at_once(images: torch.Tensor) -> int:
    """Fewer of large images: a radiograph has as many pixels as forty slices."""
    return max(1, min(SLICES_AT_ONCE, PIXELS_AT_ONCE // (images.shape[1] * images.shape[2])))
