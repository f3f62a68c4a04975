"""A publisher's weights, read tensor by tensor: never the whole model in memory, and a pickle is never executed."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model_runtime.families.folder import Shape, read_headers, weight_files
from schemas.errors import PartUnavailable

if TYPE_CHECKING:
    import torch

Opened = tuple[str, Shape, int, Callable[[], Any]]
"""Name, shape, bytes, and what reads the tensor."""


class Source:
    """The tensors of a folder by their published names; `shapes` is known before any is read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files, safe = weight_files(folder)
        opened = _safetensors if safe else _pickled
        self._readers: dict[str, Callable[[], torch.Tensor]] = {}
        self.shapes: dict[str, Shape] = {}
        self.bytes: dict[str, int] = {}
        for path in self.files:
            for name, shape, size, read in opened(path):
                if name in self.shapes:
                    raise PartUnavailable(
                        "model-tensor", f"the tensor {name} stands in two files: the folder is mixed up."
                    )
                self.shapes[name], self.bytes[name], self._readers[name] = shape, size, read

    def read(self, name: str) -> torch.Tensor:
        return self._readers[name]()

    def digest(self) -> str:
        """SHA-256 over the files of weights, in the order of their names: each name, a NUL, then the file's own SHA-256."""
        return digest_of(self.files)


def digest_of(files: list[Path]) -> str:
    """As `Source.digest`; files are read side by side, since hashing leaves Python's lock alone."""
    ordered = sorted(files, key=lambda path: path.name)
    digest = hashlib.sha256()
    with ThreadPoolExecutor() as pool:
        for path, file_digest in zip(ordered, pool.map(_file_digest, ordered), strict=True):
            digest.update(path.name.encode() + b"\0" + file_digest)
    return digest.hexdigest()


def _file_digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _safetensors(path: Path) -> Iterator[Opened]:
    from safetensors import safe_open

    headers = read_headers(path)
    opened = safe_open(path, framework="pt", device="cpu")

    for name, header in headers.items():
        yield name, header.shape, header.bytes, partial(opened.get_tensor, name)


def _pickled(path: Path) -> Iterator[Opened]:
    """`weights_only` builds tensors and refuses everything else that a pickle could do; `mmap` leaves them on the disk until they are used."""
    import torch

    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True, mmap=_is_zip(path))
    except pickle.UnpicklingError as error:
        raise PartUnavailable(
            "model-pickle", f"{path.name} holds more than tensors and is not opened: take the publisher's safetensors."
        ) from error
    except (OSError, RuntimeError, EOFError, ValueError) as error:
        raise PartUnavailable("model-weights", f"{path.name} cannot be read: download it again.") from error
    if not isinstance(tensors, dict) or not all(isinstance(tensor, torch.Tensor) for tensor in tensors.values()):
        raise PartUnavailable("model-weights", f"{path.name} is no table of tensors.")

    for name, tensor in tensors.items():
        yield str(name), tuple(tensor.shape), tensor.nbytes, partial(tensors.__getitem__, name)


def _is_zip(path: Path) -> bool:
    """Whether torch wrote it since 1.6: only those can be mapped into memory."""
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"
