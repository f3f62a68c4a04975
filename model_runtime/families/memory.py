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
GIB = 1024**3
OF_CUDA = 3 * GIB // 2
"""What the driver, the kernels and the vision tower's own activations take; an assumption, on the large side."""
CARDS = (16, 24, 40, 48, 80)
"""GiB of the GPUs that a hospital is offered."""
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


def activations(config: Json, step: int) -> int:
    """What the widest layer holds of one step's tokens: gate, up and their product beside four copies of the hidden state, in two bytes.

    7.6 GiB for 99,312 tokens of MedGemma 1.5, which is what vLLM's own profile of a step takes there.
    """
    text = config.get("text_config", config)
    hidden = int(text.get("hidden_size") or text["n_embd"])
    inner = int(text.get("intermediate_size") or text.get("n_inner") or 4 * hidden)
    return TWO_BYTES * step * (3 * inner + 4 * hidden)


def tokens_that_fit(
    card_gib: float, share: float, weights: int, family: ModelFamily, config: Json, step: int, each: int = TWO_BYTES
) -> int:
    """Keys and values that a GPU of so many GiB has room for beside the weights and one step; 0 or less: not even those fit."""
    room = (
        int(card_gib * share * GIB)
        - weights
        - activations(config, step)
        - encoder_cache(family, config, step)
        - OF_CUDA
    )
    return room // keys_values(family, config, 1, each)


def encoder_cache(family: ModelFamily, config: Json, tokens: int, each: int = TWO_BYTES) -> int:
    """vLLM's encoder cache has a place for each token of a step."""
    return each * tokens * int(config["text_config"]["hidden_size"]) if family.most_pictures else 0
