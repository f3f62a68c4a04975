"""How much memory a model takes, computed from its configuration and its names and shapes: an estimate before anything is loaded.

Counted: the weights, the keys and values of one longest request, and the encoder's cache for what that request shows. Not counted: vLLM and torch
themselves (about 3 GiB on a CPU), activations, and whatever more of the cache makes several requests at once possible.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Literal

from model_runtime.families.folder import Json
from model_runtime.families.layout import Layout
from schemas.families import BIOMEDLM, ModelFamily

Width = Literal["fp32", "bf16", "int8", "int4"]
WIDTHS: tuple[Width, ...] = ("bf16", "int8", "int4")
TWO_BYTES = 2
INT4_GROUP = 128
"""Values that share one scale (W4A16)."""


@dataclass(frozen=True)
class Memory:
    """Bytes."""

    weights: int
    keys_values: int
    encoder: int

    @property
    def total(self) -> int:
        return self.weights + self.keys_values + self.encoder


def memory_at(width: Width, family: ModelFamily, config: Json, layout: Layout, tokens: int) -> Memory:
    """For one request of `tokens`, prompt and answer together."""
    weights = sum(_bytes(width, shape, quantized=is_quantized(name, shape)) for name, shape in layout.items())
    each = 2 * TWO_BYTES if width == "fp32" else TWO_BYTES
    return Memory(weights, keys_values(family, config, tokens, each), encoder_cache(family, config, tokens, each))


def is_quantized(name: str, shape: tuple[int, ...]) -> bool:
    """The matrices of the language model's layers: embeddings, head and vision tower stay as they are."""
    return (
        len(shape) == 2 and name.endswith(".weight") and (".layers." in name or ".h." in name) and "vision" not in name
    )


def _bytes(width: Width, shape: tuple[int, ...], *, quantized: bool) -> int:
    values = prod(shape)
    if width == "fp32":
        return 2 * TWO_BYTES * values
    if width == "bf16" or not quantized:
        return TWO_BYTES * values
    if width == "int8":
        return values + TWO_BYTES * shape[0]
    return values // 2 + TWO_BYTES * -(-values // INT4_GROUP)


def keys_values(family: ModelFamily, config: Json, tokens: int, each: int = TWO_BYTES) -> int:
    """Sliding layers are counted whole: vLLM holds as much of them as one step takes, and a step takes the longest request."""
    text = config if family is BIOMEDLM else config["text_config"]
    layers, heads = (text["n_layer"], text["n_head"]) if family is BIOMEDLM else _layers_and_heads(text)
    width = text["n_embd"] // text["n_head"] if family is BIOMEDLM else _head_width(text)
    return int(2 * each * layers * heads * width * tokens)


def _layers_and_heads(text: Json) -> tuple[int, int]:
    return int(text["num_hidden_layers"]), int(text.get("num_key_value_heads", 4))


def _head_width(text: Json) -> int:
    heads = int(text.get("num_attention_heads", 8))
    return int(
        text.get("head_dim") or (256 if text.get("model_type") == "gemma3_text" else text["hidden_size"] // heads)
    )


def encoder_cache(family: ModelFamily, config: Json, tokens: int, each: int = TWO_BYTES) -> int:
    """vLLM's encoder cache has a place for each token of a step."""
    return each * tokens * int(config["text_config"]["hidden_size"]) if family.most_pictures else 0
