"""A converted folder: planned as a whole, written shard by shard, and there whole or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import orjson

from model_runtime.families.folder import SAFETENSORS, Json, Shape
from model_runtime.families.source import Source
from schemas.errors import PartUnavailable

if TYPE_CHECKING:
    import torch

Item = TypeVar("Item")
SHARD_BYTES = 1024**3
"""At most so much is in memory at a time, unless one tensor alone is larger."""
NAMED = 3
"""How many tensors a failure names before it counts."""


@dataclass(frozen=True)
class Piece:
    """One tensor to be written: its name, where it comes from, the shape it must have there, and what is done to it."""

    name: str
    source: str
    shape: Shape
    change: Callable[[torch.Tensor], torch.Tensor] | None = None


def require_all(source: Source, pieces: Iterable[Piece], left_out: Callable[[str], bool]) -> None:
    """`PartUnavailable` (`model-tensor`) for a tensor that is missing, unknown or of another shape, by its published name."""
    wanted = {piece.source: piece.shape for piece in pieces}
    if missing := [name for name in wanted if name not in source.shapes]:
        raise PartUnavailable("model-tensor", f"missing in the checkpoint: {_listed(missing)}.")
    if unknown := [name for name in source.shapes if name not in wanted and not left_out(name)]:
        raise PartUnavailable("model-tensor", f"not known of this family: {_listed(unknown)}.")
    for name, shape in wanted.items():
        if source.shapes[name] != shape:
            raise PartUnavailable(
                "model-tensor", f"{name} is {list(source.shapes[name])}, not {list(shape)} as config.json says."
            )


def _listed(names: list[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(sorted(names)[:NAMED]) + (f" and {more} more" if more > 0 else "")


Sourced = tuple[Source, list[Piece]]


def write_weights(folder: Path, given: list[Sourced], dtype: str) -> None:
    """safetensors files of about a gibibyte, with an index where there are several; every tensor as `dtype`, after what is done to it."""
    import torch
    from safetensors.torch import save_file

    pieces = [(source, piece) for source, some in given for piece in some]
    shards = shards_of(pieces, lambda each: each[0].bytes[each[1].source], SHARD_BYTES)
    where: dict[str, str] = {}
    total = 0
    for number, shard in enumerate(shards, start=1):
        name = shard_name(number, len(shards))
        tensors = {piece.name: _made(source, piece).to(getattr(torch, dtype)) for source, piece in shard}
        total += sum(tensor.nbytes for tensor in tensors.values())
        save_file(tensors, folder / name, metadata={"format": "pt"})
        (folder / name).chmod(0o644)
        where |= dict.fromkeys(tensors, name)
    write_index(folder, total, where)


def _made(source: Source, piece: Piece) -> torch.Tensor:
    tensor = source.read(piece.source)
    return (piece.change(tensor) if piece.change else tensor).contiguous()


def shards_of(items: Iterable[Item], size_of: Callable[[Item], int], most: int) -> list[list[Item]]:
    """`items` in order, cut before a shard would exceed `most` bytes; a larger one is a shard of its own."""
    shards: list[list[Item]] = [[]]
    room = most
    for item in items:
        size = size_of(item)
        if size > room and shards[-1]:
            shards.append([])
            room = most
        shards[-1].append(item)
        room -= size
    return shards


def shard_name(number: int, count: int) -> str:
    return SAFETENSORS if count == 1 else f"model-{number:05d}-of-{count:05d}.safetensors"


def write_index(folder: Path, total: int, where: dict[str, str]) -> None:
    """Which file holds which tensor, where there are several files; `total` bytes in all."""
    if len(set(where.values())) > 1:
        write_json(folder / f"{SAFETENSORS}.index.json", {"metadata": {"total_size": total}, "weight_map": where})


def write_json(path: Path, content: Json) -> None:
    path.write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS))


@contextlib.contextmanager
def whole_or_not_at_all(folder: Path, code: str = "model-target") -> Iterator[Path]:
    """A folder to write into, which takes the name `folder` once all is written; `PartUnavailable` (`code`) if that exists or cannot be."""
    if folder.exists():
        raise PartUnavailable(code, "the folder to write exists already: name a new one.")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        writing = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise PartUnavailable(code, "the folder cannot be written: name another one.") from error
    try:
        yield writing
        writing.chmod(0o755)
        os.replace(writing, folder)
    except OSError as error:
        raise PartUnavailable(code, "the folder could not be written to its end: is the disk full?") from error
    finally:
        shutil.rmtree(writing, ignore_errors=True)
