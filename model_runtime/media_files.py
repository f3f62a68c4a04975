"""Bytes of a URL that a client chose: a regular file below one folder, or base64 in the URL itself. All else is an `OSError` or a `ValueError`."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote_to_bytes

import numpy as np
import pybase64

CHUNK = 4 * 1024 * 1024
MAX_BYTES = 1024 * 1024 * 1024
"""Of one item: the voxels of 85 sections of 1,024 x 1,024 take 178 MB."""


def bytes_of(url: str, root: Path) -> bytes:
    """The bytes that `url` holds or names; a file must lie below `root`, which is absolute and without symbolic links."""
    scheme, _, rest = url.partition(":")
    if scheme.lower() == "data":
        return _decoded(rest)
    if scheme.lower() != "file":
        raise ValueError("neither file: nor data:")
    with opened_below(root, path_of(url)) as file:
        return read_whole(file)


def _decoded(rest: str) -> bytes:
    """RFC 2397, base64 alone. The media type is not looked at: what the bytes are is told from the bytes."""
    kind, comma, data = rest.partition(",")
    if not comma or not kind.endswith(";base64"):
        raise ValueError("not base64")
    return pybase64.b64decode(data, validate=True)


def path_of(url: str) -> Path:
    """The path of a file: URL. RFC 8089, `file:///path`: no host, no query, and percent-encoding undone exactly once."""
    rest = url.partition(":")[2]
    if not rest.startswith("///") or "?" in rest or "#" in rest:
        raise ValueError("not file:///path")
    path = unquote_to_bytes(rest[2:])
    if b"\0" in path:
        raise ValueError("NUL in a path")
    return Path(os.fsdecode(path))


@contextmanager
def opened_below(root: Path, path: Path) -> Iterator[BinaryIO]:
    """A regular file below `root`; links are followed first.

    The path is resolved first, so that a link out of the folder is seen as what it leads to, and then walked from the folder's descriptor without
    following links: what is exchanged in between is refused. Nothing is opened in a way that waits, so that a pipe cannot hold a thread.
    """
    parts = Path(os.path.realpath(path)).relative_to(root).parts
    if not parts:
        raise ValueError("a folder")
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for name in parts[:-1]:
            inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = inner
        handle = os.open(parts[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY, dir_fd=folder)
    finally:
        os.close(folder)
    with os.fdopen(handle, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_BYTES:
            raise ValueError("not a regular file, or too large")
        yield file


def read_whole(file: BinaryIO) -> bytes:
    data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ValueError("too large")
    return data


def read_digested(file: BinaryIO) -> tuple[memoryview, str]:
    """A file's bytes, writable, and their SHA-256 in hexadecimal, which a second thread counts while the first reads on."""
    data = np.empty(os.fstat(file.fileno()).st_size, np.uint8).data
    digest = hashlib.sha256()
    with ThreadPoolExecutor(1) as pool:
        for begin in range(0, len(data), CHUNK):
            chunk = data[begin : begin + CHUNK]
            if file.readinto(chunk) != len(chunk):  # type: ignore[attr-defined]
                raise ValueError("cut while it was read")
            pool.submit(digest.update, chunk)
    return data, digest.hexdigest()
