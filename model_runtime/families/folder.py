"""A folder of weights, looked at without loading any: its configuration, its family, and what the headers of its files say."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import orjson

from schemas.errors import PartUnavailable
from schemas.families import FAMILIES, ModelFamily

Json = dict[str, Any]
Shape = tuple[int, ...]

SAFETENSORS, PICKLED = "model.safetensors", "pytorch_model.bin"
UNFOLDED = ("scale_attn_by_inverse_layer_idx", "reorder_and_upcast_attn")
"""Flags of a GPT-2 that vLLM refuses and that conversion takes away."""
MAX_HEADER = 100 * 1024 * 1024
"""Of a safetensors file, as its format says."""


@dataclass(frozen=True)
class TensorHeader:
    """What a safetensors header says of one tensor; `dtype` in the format's words (`BF16`, `F32`, `I8`, ...)."""

    shape: Shape
    dtype: str
    bytes: int


def read_config(folder: Path) -> Json:
    """config.json; `PartUnavailable` (`model-config`) if the folder has none that can be read."""
    try:
        config = orjson.loads((folder / "config.json").read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise PartUnavailable(
            "model-config",
            "the folder has no config.json that can be read: it is not a checkpoint, name another folder.",
        ) from error
    if not isinstance(config, dict):
        raise PartUnavailable("model-config", "config.json is not an object: the folder is not a checkpoint.")
    return config


def architecture_of(config: Json) -> str:
    """The class that config.json names; empty where it names none."""
    named = config.get("architectures")
    return str(named[0]) if isinstance(named, list) and named else ""


def family_of_config(config: Json) -> ModelFamily:
    """The family of a folder that can be served. `PartUnavailable`: `model-unconverted`, or `model-family` if no family has this class."""
    architecture = architecture_of(config)
    for family in FAMILIES.values():
        if architecture == family.stored_architecture and not any(config.get(flag) for flag in UNFOLDED):
            return family
    if (published := published_family(config)) is not None:
        raise PartUnavailable(
            "model-unconverted",
            f"this is {published.title} as its publisher gives it: convert it first, "
            "with `longview model convert --from THIS_FOLDER --to NEW_FOLDER`.",
        )
    raise PartUnavailable(
        "model-family",
        f"config.json names {architecture or 'no class'}, which no family has: see `longview model list`.",
    )


def published_family(config: Json) -> ModelFamily | None:
    """The family whose publisher's folder this is."""
    architecture = architecture_of(config)
    return next((f for f in FAMILIES.values() if architecture == f.published_architecture), None)


def weight_files(folder: Path) -> tuple[list[Path], bool]:
    """The files with weights, all of them there, and whether they are safetensors. `PartUnavailable` (`model-weights`) names one that is missing."""
    for single, safe in ((SAFETENSORS, True), (PICKLED, False)):
        index = folder / f"{single}.index.json"
        if index.is_file():
            return indexed_files(folder, index), safe
        if (folder / single).is_file():
            return [folder / single], safe
    raise PartUnavailable(
        "model-weights", f"the folder holds neither {SAFETENSORS} nor {PICKLED}, nor an index of parts."
    )


def indexed_files(folder: Path, index: Path) -> list[Path]:
    """The files that an index of shards names, all of them there; else `PartUnavailable` (`model-weights`)."""
    try:
        names = sorted({str(name) for name in orjson.loads(index.read_bytes())["weight_map"].values()})
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise PartUnavailable("model-weights", f"{index.name} cannot be read: download it again.") from error
    if not names or any(Path(name).name != name for name in names):
        raise PartUnavailable("model-weights", f"{index.name} names no files, or files of another folder.")
    if missing := [name for name in names if not (folder / name).is_file()]:
        raise PartUnavailable(
            "model-weights", f"{missing[0]} is missing ({len(missing)} of {len(names)} files): finish the download."
        )
    return [folder / name for name in names]


def read_headers(path: Path) -> dict[str, TensorHeader]:
    """Every tensor of a safetensors file. `PartUnavailable` (`model-weights`) if the file is cut off or is none."""
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            (length,) = struct.unpack("<Q", file.read(8))
            if not 2 <= length <= min(MAX_HEADER, size - 8):
                _cut(path)
            header = orjson.loads(file.read(length))
        tensors = {name: _header(entry) for name, entry in header.items() if name != "__metadata__"}
        end = max((int(header[name]["data_offsets"][1]) for name in tensors), default=0)
    except (OSError, struct.error, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise PartUnavailable("model-weights", f"{path.name} is no safetensors file: download it again.") from error
    if end != size - 8 - length:
        _cut(path)
    return tensors


def _header(entry: Json) -> TensorHeader:
    begin, end = entry["data_offsets"]
    return TensorHeader(tuple(int(n) for n in entry["shape"]), str(entry["dtype"]), int(end) - int(begin))


def _cut(path: Path) -> NoReturn:
    raise PartUnavailable("model-weights", f"{path.name} is cut off: download it again.")
