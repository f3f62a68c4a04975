"""What every case is made of: the media folder with its snares, the folder that nothing may open, and the parts of a request."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import random
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from schemas.pictures import Pictures, encode_pictures
from schemas.volume import Volume, encode_volume

CANARY = b"canary-7f3a: nothing outside the media folder is ever read"


@dataclass(frozen=True)
class Grounds:
    """What a case is made from: the served name, a media folder with snares in it, and a folder beside it that nothing may ever open."""

    model: str
    media: Path
    outside: Path


def lay_out(model: str, media: Path, outside: Path) -> Grounds:
    """Snares of every kind that a file system has; outside lies a container that would be answered, were it read."""
    outside.mkdir(parents=True)
    (outside / "canary").write_bytes(container(Volume(np.full((2, 16, 16), 77, np.int16), (1, 1, 1), "HU", "CT")))
    (outside / "canary.png").write_bytes(png(8, 8))
    (outside / "canary.txt").write_bytes(CANARY)
    snares = media / "snares"
    snares.mkdir(parents=True)
    (snares / "sound").write_bytes(container(Volume(np.zeros((1, 8, 8), np.int16), (1, 1, 1), "HU", "CT")))
    (snares / "out").symlink_to(outside / "canary")
    (snares / "out.png").symlink_to(outside / "canary.png")
    (snares / "up").symlink_to(outside)
    (snares / "loop").symlink_to(snares / "loop")
    (snares / "nowhere").symlink_to(outside / "gone")
    (snares / "self").symlink_to("/proc/self")
    (snares / "empty").touch()
    os.mkfifo(snares / "pipe")
    with (snares / "sparse").open("wb") as file:
        file.truncate(8 * 1024**3)
    _bind(snares)
    return Grounds(model, media, outside)


def _bind(folder: Path) -> None:
    """A socket in the file system; its path may be no longer than 107 bytes, hence the way by the descriptor."""
    handle = os.open(folder, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"/proc/self/fd/{handle}/socket")
    os.close(handle)


NUMBERS: list[Any] = [0, -1, 1, 86, 2**31, 2**63 - 1, -(2**63), 1.5, 1e308, True, None, "3", "x", [], {}, [[1]]]

Made = tuple[str, Any, bool]


def ask(model: str, *parts: Any, **fields: Any) -> dict[str, Any]:
    content = [*parts, {"type": "text", "text": "Judge."}]
    body = {
        "model": model,
        "messages": [{"role": "user", "content": content}],
        "max_tokens": 2,
        "temperature": 0,
    }
    return body | fields


def data_url(data: bytes, kind: str = "application/octet-stream") -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def part(kind: str, url: Any, uuid: Any = None) -> dict[str, Any]:
    return {"type": kind, kind: {"url": url}} | ({} if uuid is None else {"uuid": uuid})


def container(item: Volume | Pictures) -> bytes:
    buffers = encode_volume(item) if isinstance(item, Volume) else encode_pictures(item)
    return b"".join(bytes(buffer) for buffer in buffers)


def png(width: int, height: int, mode: str = "RGB", *, seed: int | None = None) -> bytes:
    file = io.BytesIO()
    image = Image.new(mode, (width, height), 1)
    if seed is not None:
        image = Image.fromarray(np.random.default_rng(seed).integers(0, 255, (height, width, 3)).astype(np.uint8))
    image.save(file, "PNG")
    return file.getvalue()


def sent(grounds: Grounds, chance: random.Random, kind: str, data: bytes) -> dict[str, Any]:
    """As a URL of data or as a file in the media folder, with its digest or without."""
    digest = hashlib.sha256(data).hexdigest()
    uuid = chance.choice([None, digest])
    if chance.random() < 0.5:
        return part(kind, data_url(data), uuid)
    path = grounds.media / digest
    path.write_bytes(data)
    return part(kind, path.as_uri(), uuid)
