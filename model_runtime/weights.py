"""Random weights in the layout of the released MedGemma 1.5 checkpoint: names, shapes and values.

Values come from integers of numpy's PCG64, one stream for each tensor's name, and exact arithmetic: equal code gives equal bytes on every machine
and whatever the number of threads. (torch's normal distribution differs between vector units.)
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

SEED = 4
DEVIATION = 0.2
"""Large enough that different slices give different answers; what random weights say means nothing all the same."""

ADDED_NORMS = ("post_attention_layernorm.weight", "post_feedforward_layernorm.weight")
"""Gemma multiplies by 1 + weight."""

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Sizes:
    """The dimensions of a Gemma 3 with SigLIP. CPU attention takes a head dimension of 32, 64 or 128."""

    vocabulary: int
    hidden: int = 64
    intermediate: int = 128
    layers: int = 2
    heads: int = 4
    key_value_heads: int = 2
    head_dim: int = 32
    vision_hidden: int = 64
    vision_intermediate: int = 128
    vision_layers: int = 2
    vision_heads: int = 2
    image: int = 56
    patch: int = 14
    image_tokens: int = 4
    layer_gain: float = 1.0
    """By which the norms after attention and feed-forward multiply what a layer adds to the residual stream."""


def random_weights(sizes: Sizes) -> dict[str, torch.Tensor]:
    """Every tensor of the checkpoint in bfloat16; norms are the identity and biases zero, as in a fresh model."""
    import torch

    weights = {name: random_tensor(name, shape).to(torch.bfloat16) for name, shape in tensor_shapes(sizes)}
    for name in weights:
        if name.endswith(ADDED_NORMS):
            weights[name].fill_(sizes.layer_gain - 1)
    return weights


def tensor_shapes(sizes: Sizes) -> Iterator[tuple[str, Shape]]:
    """Names and shapes in the released layout (`language_model.model.*`, `vision_tower.vision_model.*`, `multi_modal_projector.*`)."""
    yield from _language(sizes)
    yield "multi_modal_projector.mm_input_projection_weight", (sizes.vision_hidden, sizes.hidden)
    yield "multi_modal_projector.mm_soft_emb_norm.weight", (sizes.vision_hidden,)
    yield from _vision(sizes)


def _language(sizes: Sizes) -> Iterator[tuple[str, Shape]]:
    base = "language_model.model."
    yield base + "embed_tokens.weight", (sizes.vocabulary, sizes.hidden)
    yield base + "norm.weight", (sizes.hidden,)
    for layer in range(sizes.layers):
        for name, shape in _language_layer(sizes):
            yield f"{base}layers.{layer}.{name}.weight", shape


def _language_layer(sizes: Sizes) -> Iterator[tuple[str, Shape]]:
    queries, keys = sizes.heads * sizes.head_dim, sizes.key_value_heads * sizes.head_dim
    for name in ("input", "post_attention", "pre_feedforward", "post_feedforward"):
        yield f"{name}_layernorm", (sizes.hidden,)
    for name, rows in (("q", queries), ("k", keys), ("v", keys)):
        yield f"self_attn.{name}_proj", (rows, sizes.hidden)
    yield "self_attn.o_proj", (sizes.hidden, queries)
    yield "self_attn.q_norm", (sizes.head_dim,)
    yield "self_attn.k_norm", (sizes.head_dim,)
    yield "mlp.gate_proj", (sizes.intermediate, sizes.hidden)
    yield "mlp.up_proj", (sizes.intermediate, sizes.hidden)
    yield "mlp.down_proj", (sizes.hidden, sizes.intermediate)


def _vision(sizes: Sizes) -> Iterator[tuple[str, Shape]]:
    base, hidden = "vision_tower.vision_model.", sizes.vision_hidden
    yield base + "embeddings.patch_embedding.weight", (hidden, 3, sizes.patch, sizes.patch)
    yield base + "embeddings.patch_embedding.bias", (hidden,)
    yield base + "embeddings.position_embedding.weight", ((sizes.image // sizes.patch) ** 2, hidden)
    yield from _biased(base + "post_layernorm", (hidden,))
    for layer in range(sizes.vision_layers):
        prefix = f"{base}encoder.layers.{layer}."
        for name in ("layer_norm1", "layer_norm2"):
            yield from _biased(prefix + name, (hidden,))
        for name in ("q", "k", "v", "out"):
            yield from _biased(f"{prefix}self_attn.{name}_proj", (hidden, hidden))
        yield from _biased(prefix + "mlp.fc1", (sizes.vision_intermediate, hidden))
        yield from _biased(prefix + "mlp.fc2", (hidden, sizes.vision_intermediate))


def _biased(name: str, shape: Shape) -> Iterator[tuple[str, Shape]]:
    yield name + ".weight", shape
    yield name + ".bias", shape[:1]


def random_tensor(name: str, shape: Shape, *, fresh_norm: float | None = None) -> torch.Tensor:
    """float32; the weights of norms are `fresh_norm`, by default as SigLIP (which multiplies by the weight) and Gemma (by 1 + weight) begin."""
    import torch

    if len(shape) > 1:
        return torch.from_numpy(_uniform(name, shape))
    if fresh_norm is not None:
        return torch.full(shape, fresh_norm if name.endswith("weight") else 0.0)
    if "layer_norm" in name or "post_layernorm" in name:
        return torch.ones(shape) if name.endswith("weight") else torch.zeros(shape)
    return torch.zeros(shape)


def _uniform(name: str, shape: Shape) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Uniform with mean 0 and standard deviation DEVIATION: integers times one float32 constant."""
    seed = int.from_bytes(hashlib.sha256(f"{SEED} {name}".encode()).digest()[:8], "little")
    steps = np.random.Generator(np.random.PCG64(seed)).integers(-(2**15), 2**15, size=shape, dtype=np.int64)
    return steps.astype(np.float32) * np.float32(DEVIATION * 3**0.5 / 2**15)
