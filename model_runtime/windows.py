"""Voxels and pictures to what SigLIP sees, in MedGemma 1.5's order: window, then uint8, then resize. (Resizing raw HU first changes the logits.)

Windows are tables from int16 to uint8, made in double precision: a table gives the same bytes on every device, a division need not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torchvision.transforms.v2 import functional as transforms

HU_WINDOWS = ((-1024, 1024), (-135, 215), (0, 80))
"""Low and high HU of the channels R, G and B (MedGemma 1.5 model card: wide, soft tissue, brain)."""
PIXELS_AT_ONCE = 2 * 512 * 512
"""Turned into grey levels and resized together: what is in between stays in a processor's cache, and one radiograph is not held sixteen times."""
ENCODED_PIXELS_AT_ONCE = 16 * 896 * 896
"""Of one pass of the image encoder: 16 images of MedGemma's size."""
INT16_LOW, INT16_COUNT = -(2**15), 2**16


@lru_cache(maxsize=64)
def window_table(low: int, high: int) -> npt.NDArray[np.uint8]:
    """uint8 [65536]: the grey level of each int16, indexed by value + 32768; `low` and below are 0, `high` and above 255."""
    values = np.arange(INT16_LOW, INT16_LOW + INT16_COUNT, dtype=np.float64)
    grey = np.clip((values - low) / max(high - low, 1), 0.0, 1.0) * 255.0
    return np.rint(grey).astype(np.uint8)


def grey_table(voxels: torch.Tensor, *, hounsfield: bool) -> torch.Tensor:
    """int32 [65536] on the voxels' device, each entry the bytes R, G, B and 0 of one int16: a voxel is looked up once for three channels.

    Without an absolute scale: minimum to maximum of the whole volume, three equal channels.
    """
    if hounsfield:
        windows = HU_WINDOWS
    else:
        low, high = (int(extreme) for extreme in torch.aminmax(voxels))
        windows = ((low, high),) * 3
    channels = [*(window_table(low, high) for low, high in windows), np.zeros(INT16_COUNT, np.uint8)]
    return torch.from_numpy(np.stack(channels, axis=-1)).view(torch.int32).flatten().to(voxels.device)


def grey_channels(voxels: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
    """int16 [D, H, W] -> uint8 [D, 3, H, W]."""
    index = (voxels.to(torch.int32) - INT16_LOW).flatten()
    return table.index_select(0, index).view(torch.uint8).view(*voxels.shape, 4)[..., :3].permute(0, 3, 1, 2)


def colour_channels(pixels: torch.Tensor) -> torch.Tensor:
    """uint8 [N, H, W, C] -> uint8 [N, 3, H, W]: grey is the same in each channel."""
    return pixels.permute(0, 3, 1, 2).expand(-1, 3, -1, -1)


def siglip_input(grey: torch.Tensor, size: int, dtype: torch.dtype) -> torch.Tensor:
    """uint8 [D, 3, H, W] -> [D, 3, size, size] in -1..1, by the very operations of Gemma 3's image processor."""
    if tuple(grey.shape[-2:]) != (size, size):
        grey = transforms.resize(grey, [size, size], transforms.InterpolationMode.BILINEAR, antialias=True)
    return (grey.float() / 255 - 0.5).div(0.5).to(dtype)


def slice_batches(voxels: torch.Tensor, *, hounsfield: bool, size: int, dtype: torch.dtype) -> Iterator[torch.Tensor]:
    """The volume as SigLIP inputs, some slices at a time: an 85-slice volume at 896 x 896 would not fit otherwise."""
    table = grey_table(voxels, hounsfield=hounsfield)
    return _batches(voxels, lambda some: grey_channels(some, table), size, dtype)


def picture_batches(pixels: torch.Tensor, *, size: int, dtype: torch.dtype) -> Iterator[torch.Tensor]:
    """Pictures uint8 [N, H, W, C] as SigLIP inputs, some at a time."""
    return _batches(pixels, colour_channels, size, dtype)


def _batches(
    images: torch.Tensor, channels: Callable[[torch.Tensor], torch.Tensor], size: int, dtype: torch.dtype
) -> Iterator[torch.Tensor]:
    few = max(1, PIXELS_AT_ONCE // (images.shape[1] * images.shape[2]))
    for batch in images.split(max(1, ENCODED_PIXELS_AT_ONCE // size**2)):
        yield torch.cat([siglip_input(channels(some), size, dtype) for some in batch.split(few)])
