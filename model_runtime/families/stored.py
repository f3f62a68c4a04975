"""Whether the tensors that a folder holds are those that its family needs, quantized or not. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from model_runtime.families.folder import TensorHeader
from model_runtime.families.layout import Layout

COMPANIONS = ("_packed", "_scale", "_shape", "_zero_point", "_g_idx", "_global_scale")
"""What compressed-tensors writes beside or instead of a `weight`."""
NAMED = 3


def tensor_problems(layout: Layout, tensors: dict[str, TensorHeader], *, quantized: bool) -> Iterator[str]:
    """A sentence for tensors that are missing, for those that are of another model, and for those of another shape."""
    missing = [name for name in layout if not _stands(name, tensors, quantized=quantized)]
    if missing:
        yield f"{len(missing)} of {len(layout)} tensors are missing: {_listed(missing)}."
    unknown = [name for name in tensors if name not in layout and not (quantized and _companion(name, layout))]
    if unknown:
        yield f"{len(unknown)} tensors are not of this family: {_listed(unknown)}."
    wrong = [name for name in layout if name in tensors and tensors[name].shape != layout[name]]
    if wrong:
        first = wrong[0]
        yield (
            f"{len(wrong)} tensors have another shape than config.json says: "
            f"{first} is {list(tensors[first].shape)}, not {list(layout[first])}."
        )


def _stands(name: str, tensors: dict[str, TensorHeader], *, quantized: bool) -> bool:
    """int8 stands under its own name beside a scale; int4 is packed, also beside one."""
    if name in tensors:
        return tensors[name].dtype != "I8" or name + "_scale" in tensors
    return quantized and name + "_packed" in tensors and name + "_scale" in tensors


def _companion(name: str, layout: Layout) -> bool:
    return any(name.endswith(ending) and name.removesuffix(ending) in layout for ending in COMPANIONS)


def _listed(names: list[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")
