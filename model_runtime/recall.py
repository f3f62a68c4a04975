"""Which files were read whole and not changed since: their items are known without reading, hashing and decoding them at each request.

A file is known only below a name that is its own digest, as in a content-addressed store, and while device, inode, size and the times of its last
change are those it was read with. So an answer from a cache is always about the bytes that the name stands for, and a file that is gone, moved or
written to is read again, or refused. No client says anything that is believed here.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from vllm.exceptions import VLLMClientError, VLLMValidationError

from model_runtime.containers import DecodedItem, read_container
from model_runtime.counters import FILES
from model_runtime.media_files import opened_below, read_digested

MOST_FILES = 65536
"""Remembered: about 10 MB."""

Identity = tuple[int, int, int, int, int]


@dataclass(frozen=True)
class RecalledItem:
    """An item whose file is known; `decoded` reads it after all, where no cache has it."""

    digest: str
    read: Callable[[], DecodedItem]

    def decoded(self) -> DecodedItem:
        """`VLLMValidationError` if the file has gone or become another since."""
        try:
            item = self.read()
        except VLLMClientError:
            raise
        except (FileNotFoundError, ValueError) as error:
            raise _changed() from error
        if item.digest != self.digest:
            raise _changed()
        return item


def _changed() -> VLLMValidationError:
    return VLLMValidationError("The media changed while they were read.", parameter="url")


class KnownFiles:
    """Thread-safe; the files that were not asked for longest are forgotten first."""

    def __init__(self, most: int = MOST_FILES) -> None:
        self._most = most
        self._digests: OrderedDict[Identity, str] = OrderedDict()
        self._lock = threading.Lock()

    def load(self, root: Path, path: Path) -> DecodedItem | RecalledItem:
        """The container in the file at `path` below `root`; `OSError` or `ValueError` if there is none, or none that may be read."""
        with opened_below(root, path) as file:
            before = identity(file)
            known = self._digest(before) == path.name
            FILES.labels("known" if known else "read").inc()
            if known:
                return RecalledItem(path.name, partial(_read, root, path))
            item = read_container(*read_digested(file))
            if item.digest == path.name and identity(file) == before:
                self._remember(before, item.digest)
        return item

    def _digest(self, file: Identity) -> str | None:
        with self._lock:
            if file in self._digests:
                self._digests.move_to_end(file)
            return self._digests.get(file)

    def _remember(self, file: Identity, digest: str) -> None:
        with self._lock:
            self._digests[file] = digest
            while len(self._digests) > self._most:
                self._digests.popitem(last=False)


def identity(file: BinaryIO) -> Identity:
    """Device, inode, size, and when content (mtime) and anything at all (ctime, which no program can set back) was last changed, in ns."""
    status = os.fstat(file.fileno())
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _read(root: Path, path: Path) -> DecodedItem:
    with opened_below(root, path) as file:
        return read_container(*read_digested(file))
