"""A matrix -> integers and scales, and the description that config.json carries; by the library compressed-tensors, whose words the names are.

Symmetric rounding to nearest: with the largest magnitude m of a channel (8 bit) or of a group (4 bit), one step is m / 127.5 or m / 7.5, so that no
weight is moved by more than half a step, the clipped extreme included. No calibration data is used.
"""

from __future__ import annotations

from typing import Any

import torch
from compressed_tensors import COMPRESSION_VERSION_NAME, __version__
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.quantization import QuantizationConfig, QuantizationScheme, QuantizationStatus
from compressed_tensors.quantization.quant_scheme import preset_name_to_scheme
from compressed_tensors.quantization.utils import calculate_qparams

from model_runtime.quantize.layouts import Layout, Scheme
from schemas.errors import PartUnavailable

ROWS_AT_ONCE = 1024
"""No row depends on another; the library needs several float32 copies of what it is given."""
TARGET = "Linear"
"""Every linear module that is not ignored, in transformers' and in vLLM's names of classes."""


def quantized(weight: torch.Tensor, scheme: Scheme) -> dict[str, torch.Tensor]:
    """[outputs, inputs] of any float type -> what the format stores for it.

    8 bit: `weight` int8 [outputs, inputs], `weight_scale` float32 [outputs, 1]. 4 bit: `weight_packed` int32 [outputs, inputs / 8], `weight_scale`
    bfloat16 [outputs, inputs / group], `weight_shape` int64 [2]. `PartUnavailable` (`quantize-weights`) if a weight is not finite.
    """
    blocks = [_block(rows, scheme) for rows in weight.split(ROWS_AT_ONCE)]
    stored = {name: torch.cat([block[name] for block in blocks]) for name in blocks[0]}
    if scheme.bits == 4:
        stored["weight_shape"] = torch.tensor(weight.shape)
    return stored


def _block(rows: torch.Tensor, scheme: Scheme) -> dict[str, torch.Tensor]:
    exact = rows.to(torch.float32)
    if not bool(torch.isfinite(exact).all()):
        raise PartUnavailable(
            "quantize-weights", "the checkpoint holds weights that are not numbers: download it again."
        )
    library = library_scheme(scheme)
    groups = exact.unflatten(-1, (-1, scheme.group or exact.shape[-1]))
    scale, _ = calculate_qparams(groups.amin(-1), groups.amax(-1), library.weights)
    if scheme.bits == 4:
        scale = rounded_up(scale)
    stored = BaseCompressor.get_value_from_registry(scheme.format).compress(
        {"weight": exact, "weight_scale": scale.to(torch.float32)}, library
    )
    return stored | {"weight_scale": scale}


def restored(stored: dict[str, torch.Tensor], scheme: Scheme) -> torch.Tensor:
    """float32 [outputs, inputs] as the kernels see it, unpacked by the library."""
    exact = stored | {"weight_scale": stored["weight_scale"].to(torch.float32)}
    compressor = BaseCompressor.get_value_from_registry(scheme.format)
    weight: torch.Tensor = compressor.decompress(exact, library_scheme(scheme))["weight"]
    return weight


def rounded_up(scale: torch.Tensor) -> torch.Tensor:
    """bfloat16, as vLLM's 4 bit kernels keep scales; never below the exact scale, or extremes would be clipped by more than half a step."""
    near = scale.to(torch.bfloat16)
    above = torch.nextafter(near, torch.full_like(near, torch.inf))
    return torch.where(near.to(torch.float32) < scale, above, near)


def library_scheme(scheme: Scheme) -> QuantizationScheme:
    preset: QuantizationScheme = preset_name_to_scheme(scheme.name.upper(), [TARGET])
    weights = preset.weights.model_copy(update={"group_size": scheme.group})
    return preset.model_copy(update={"weights": weights, "format": scheme.format})


def described(layout: Layout, scheme: Scheme) -> dict[str, Any]:
    """`quantization_config` of config.json."""
    config = QuantizationConfig(
        config_groups={"group_0": library_scheme(scheme)},
        format=scheme.format,
        quantization_status=QuantizationStatus.COMPRESSED,
        ignore=list(layout.ignore),
    )
    written: dict[str, Any] = config.model_dump(mode="json") | {COMPRESSION_VERSION_NAME: __version__}
    return written
