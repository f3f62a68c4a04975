"""A described checkpoint -> a quantized one beside it, written whole or not at all, with a release of its own.

Tensors are read one at a time and written shard by shard, so that memory holds one shard of the result and one matrix, whatever the model's size.
"""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model_runtime.families.folder import indexed_files, read_config
from model_runtime.families.writing import (
    SHARD_BYTES,
    shard_name,
    shards_of,
    whole_or_not_at_all,
    write_index,
    write_json,
)
from model_runtime.quantize.layouts import Bits, Layout, Scheme, Shape, layout_of, matrices_of, scheme_of
from model_runtime.release import (
    RELEASE_FILE,
    WEIGHTS_INDEX,
    read_release,
    runtime_version,
    weights_digest,
    write_release,
)
from schemas.errors import PartUnavailable
from schemas.inference import ModelRelease

if TYPE_CHECKING:
    import torch

CONFIG = "config.json"
SERVED_TYPE = "bfloat16"
"""Of activations: vLLM's CPU kernels for integers take no float32, and the engine dies at the first request."""
GOES_ALONG = (".json", ".jinja", ".txt", ".model", ".md")
"""Suffixes of what a checkpoint holds besides weights: tokenizer, processor, template, terms."""
WRITTEN_ANEW = (CONFIG, RELEASE_FILE, WEIGHTS_INDEX)
CARD = """
## Quantized by Longview

- {title}. Rounded to nearest, without data; vision tower, projector, embeddings, head and norms are unchanged.
- Made from the weights with SHA-256 {parent}.
- What the rounding costs in accuracy was not measured. Compare it with the model it was made from, on this site's studies, before anybody is shown
  its answers.
"""


@dataclass(frozen=True)
class Stored:
    """A tensor of the checkpoint, by where it is."""

    name: str
    file: Path
    shape: Shape
    bytes: int


@dataclass(frozen=True)
class Plan:
    """What becomes of every tensor, known before any is read."""

    layout: Layout
    scheme: Scheme
    tensors: tuple[Stored, ...]
    matrices: Mapping[str, tuple[int, int]]

    def bytes_of(self, tensor: Stored) -> int:
        """In the result."""
        sides = self.matrices.get(tensor.name)
        return tensor.bytes if sides is None else self.scheme.stored_bytes(*sides)

    @property
    def bytes(self) -> int:
        return sum(map(self.bytes_of, self.tensors))

    def shards(self) -> list[list[Stored]]:
        return shards_of(self.tensors, self.bytes_of, SHARD_BYTES)


def quantize_checkpoint(checkpoint: Path, out: Path, bits: Bits, group: int | None = None) -> Path:
    """`out`, complete. `PartUnavailable` if it is there already; if the checkpoint is not described or not complete, is quantized already, or
    does not divide."""
    plan = planned(checkpoint, bits, group)
    parent = read_release(checkpoint)
    with whole_or_not_at_all(out, "quantize-target") as building:
        _write_weights(plan, building)
        _write_documents(checkpoint, plan, building)
        write_release(building, _release(building, parent, plan.scheme))
    return out


def planned(checkpoint: Path, bits: Bits, group: int | None = None) -> Plan:
    """The plan, from config.json and the headers of the files alone: no weight is read."""
    config = read_config(checkpoint)
    layout, tensors = layout_of(config), _tensors(checkpoint)
    matrices = matrices_of(layout, config, {tensor.name: tensor.shape for tensor in tensors})
    return Plan(layout, scheme_of(bits, matrices, group), tensors, matrices)


def _tensors(checkpoint: Path) -> tuple[Stored, ...]:
    """Every tensor, by file and name."""
    from safetensors import SafetensorError, safe_open

    found = []
    for path in _weight_files(checkpoint):
        try:
            with safe_open(path, framework="pt") as file:
                found += [_stored(name, path, file.get_slice(name)) for name in sorted(file.keys())]
        except (SafetensorError, OSError) as error:
            raise PartUnavailable(
                "model-weights", f"{path.name} cannot be read: finish its download, or repeat it."
            ) from error
    return tuple(found)


def _stored(name: str, path: Path, header: Any) -> Stored:
    shape, bits = tuple(header.get_shape()), re.search(r"\d+", str(header.get_dtype()))
    return Stored(name, path, shape, math.prod(shape) * (int(bits[0]) if bits else 8) // 8)


def _weight_files(checkpoint: Path) -> list[Path]:
    """Those of the index, all of them there; without an index every safetensors file."""
    index = checkpoint / WEIGHTS_INDEX
    files = indexed_files(checkpoint, index) if index.is_file() else sorted(checkpoint.glob("*.safetensors"))
    if not files:
        raise PartUnavailable("model-weights", "the folder holds no safetensors file: name another folder.")
    return files


def _write_weights(plan: Plan, building: Path) -> None:
    shards = plan.shards()
    places: dict[str, str] = {}
    for number, shard in enumerate(shards, start=1):
        path = building / shard_name(number, len(shards))
        places |= dict.fromkeys(_write_shard(plan, shard, path), path.name)
    write_index(building, plan.bytes, places)


def _write_shard(plan: Plan, shard: list[Stored], path: Path) -> list[str]:
    """The names of what was written. The tensors live no longer than this call."""
    from safetensors.torch import save_file

    tensors = {name: tensor for stored in shard for name, tensor in _converted(plan, stored)}
    save_file(tensors, path, metadata={"format": "pt"})
    path.chmod(0o644)
    return list(tensors)


def _converted(plan: Plan, stored: Stored) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors that stand for one of the checkpoint."""
    from safetensors import safe_open

    from model_runtime.quantize.rounding import quantized

    with safe_open(stored.file, framework="pt") as file:
        tensor = file.get_tensor(stored.name)
        if stored.name not in plan.matrices:
            yield stored.name, tensor
            return
        parts = quantized(tensor.t() if plan.layout.transposed else tensor, plan.scheme)
    if plan.layout.transposed and "weight" in parts:
        # vLLM's GPT-2 transposes what is named `weight`, and nothing else.
        parts["weight"] = parts["weight"].t().contiguous()
    module = stored.name.removesuffix("weight")
    yield from ((module + name, part) for name, part in parts.items())


def _write_documents(checkpoint: Path, plan: Plan, building: Path) -> None:
    from model_runtime.quantize.rounding import described

    for path in sorted(checkpoint.iterdir()):
        if path.is_file() and path.name not in WRITTEN_ANEW and _goes_along(path):
            shutil.copyfile(path, building / path.name)
    written = {"dtype": SERVED_TYPE, "quantization_config": described(plan.layout, plan.scheme)}
    write_json(building / CONFIG, {k: v for k, v in read_config(checkpoint).items() if k != "torch_dtype"} | written)


def _goes_along(path: Path) -> bool:
    return path.suffix in GOES_ALONG or path.name.startswith(("LICENSE", "LICENCE", "NOTICE"))


def _release(folder: Path, parent: ModelRelease, scheme: Scheme) -> ModelRelease:
    name, digest = f"{parent.name}-{scheme.name}", weights_digest(folder)
    return parent.model_copy(
        update={
            "name": name,
            "served_model_name": f"{name}-{digest[:12]}",
            "model_number": f"{name}-{digest[:12]}",
            "weights_sha256": digest,
            "runtime": runtime_version(folder),
            "model_card": parent.model_card + CARD.format(title=scheme.title, parent=parent.weights_sha256),
            "quantization": scheme.name,
            "parent_sha256": parent.weights_sha256,
        }
    )
