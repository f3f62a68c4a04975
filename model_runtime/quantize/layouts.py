"""Which tensors of a served checkpoint are quantized, and with what: told from config.json and from names and shapes of tensors. Pure.

Quantized are the matrices of the language model's layers. Embeddings, head, norms, vision tower and projector stay as they are: they are read once a
token or once an image, and the answers depend on them most.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from schemas.errors import PartUnavailable

Shape = tuple[int, ...]
Bits = Literal[4, 8]

MULTIPLE = 32
"""vLLM's kernels for integers take matrices whose two dimensions are multiples of this."""
GROUPS = (128, 32)
"""Weights of one row that share a scale in 4 bit; the larger is smaller on disk, the smaller is closer to the original."""


@dataclass(frozen=True)
class Layout:
    """One family's matrices. `ignore` holds compressed-tensors' patterns of linear modules that stay as they are; they match the names in files and
    those that vLLM gives its modules."""

    matrix: re.Pattern[str]
    matrices_a_layer: int
    layers_key: str
    ignore: tuple[str, ...]
    transposed: bool = False
    """Matrices are [inputs, outputs] (transformers' `Conv1D`) instead of [outputs, inputs]."""


_DECODER = Layout(
    matrix=re.compile(
        r"language_model\.model\.layers\.\d+\.(?:self_attn\.[qkvo]_proj|mlp\.(?:gate|up|down)_proj)\.weight"
    ),
    matrices_a_layer=7,
    layers_key="num_hidden_layers",
    ignore=(r"re:(.*\.)?vision_tower\..*", r"re:(.*\.)?multi_modal_projector\..*", r"re:(.*\.)?lm_head"),
)
_GPT2 = Layout(
    matrix=re.compile(r"(?:transformer\.)?h\.\d+\.(?:attn\.c_attn|attn\.c_proj|mlp\.c_fc|mlp\.c_proj)\.weight"),
    matrices_a_layer=4,
    layers_key="n_layer",
    ignore=(r"re:(.*\.)?lm_head",),
    transposed=True,
)
_LAYOUTS = {"gemma3": _DECODER, "llava": _DECODER, "gpt2": _GPT2}
"""By config.json's `model_type`: MedGemma 1.5, LLaVA-Med v1.5 and BioMedLM as they are served."""


@dataclass(frozen=True)
class Scheme:
    """How a matrix is stored. `group` is None in 8 bit, where each output channel has one scale."""

    bits: Bits
    group: int | None

    @property
    def name(self) -> str:
        return "w8a8" if self.bits == 8 else "w4a16"

    @property
    def format(self) -> str:
        """Of compressed-tensors."""
        return "int-quantized" if self.bits == 8 else "pack-quantized"

    @property
    def title(self) -> str:
        if self.bits == 8:
            return (
                "W8A8: 8 bit weights, one scale a channel; activations in 8 bit, one scale a token, found while it runs"
            )
        return f"W4A16: 4 bit weights, one scale for {self.group} weights of a row; activations as they were"

    def stored_bytes(self, outputs: int, inputs: int) -> int:
        """Of one matrix with its scales."""
        if self.group is None:
            return outputs * inputs + 4 * outputs
        return outputs * inputs // 2 + 2 * outputs * (inputs // self.group) + 2 * 8


def layout_of(config: Mapping[str, Any]) -> Layout:
    """`PartUnavailable`: `quantize-already`, or `quantize-family` for a model whose tensors are not known here."""
    if "quantization_config" in config or "quantization_config" in config.get("text_config", {}):
        raise PartUnavailable("quantize-already", "the checkpoint is quantized already: name the one it was made from.")
    kind = str(config.get("model_type", ""))
    if kind not in _LAYOUTS:
        raise PartUnavailable(
            "quantize-family", f"{kind or 'a model without a type'} is not quantized here: {', '.join(_LAYOUTS)} are."
        )
    return _LAYOUTS[kind]


def matrices_of(layout: Layout, config: Mapping[str, Any], shapes: Mapping[str, Shape]) -> dict[str, tuple[int, int]]:
    """Name -> (outputs, inputs) of every matrix to quantize. `PartUnavailable` (`quantize-incomplete`) unless all are there."""
    found = {name: shape for name, shape in shapes.items() if layout.matrix.fullmatch(name) and len(shape) == 2}
    layers = config.get("text_config", config).get(layout.layers_key)
    if not isinstance(layers, int) or len(found) != layers * layout.matrices_a_layer:
        raise PartUnavailable(
            "quantize-incomplete",
            f"config.json promises {layers} layers of {layout.matrices_a_layer} matrices, the files hold {len(found)}: "
            "a file is missing, or the checkpoint is not in the layout that is served.",
        )
    return {name: (b, a) if layout.transposed else (a, b) for name, (a, b) in found.items()}


def scheme_of(bits: Bits, matrices: Mapping[str, tuple[int, int]], group: int | None = None) -> Scheme:
    """The scheme for all of these; in 4 bit with the largest of GROUPS that divides every row, or the `group` that was asked for.
    `PartUnavailable` (`quantize-dimension`) names the first matrix that does not divide."""
    for name, (outputs, inputs) in matrices.items():
        if outputs % MULTIPLE or inputs % MULTIPLE:
            raise PartUnavailable(
                "quantize-dimension", f"{name} is {outputs} x {inputs}: both must be multiples of {MULTIPLE}."
            )
    if bits == 8:
        if group is not None:
            raise PartUnavailable("quantize-group", "groups are for 4 bit: in 8 bit each channel has one scale.")
        return Scheme(8, None)
    dividing = [size for size in GROUPS if all(inputs % size == 0 for _, inputs in matrices.values())]
    if group is not None and group not in dividing:
        raise PartUnavailable(
            "quantize-group", f"a group of {group} does not divide every row: take one of {dividing}."
        )
    return Scheme(4, group or dividing[0])
