"""Volumes and pictures that are none: headers that lie, containers that lost bytes, shapes that no scanner makes."""

from __future__ import annotations

import json
import random
import struct
from typing import Any

import numpy as np

from schemas.pictures import MAX_PICTURES, Pictures
from schemas.volume import MAX_MODEL_SLICES, Volume
from tests.integration.model_fuzz.grounds import NUMBERS, Grounds, Made, ask, container, png, sent


def good_volume(chance: random.Random) -> bytes:
    shape = tuple(chance.randint(1, 9) for _ in range(3))
    return container(Volume(np.zeros(shape, np.int16), (1, 1, 1), chance.choice(["HU", "stored"]), "CT"))


def good_pictures(chance: random.Random) -> bytes:
    shape = (chance.randint(1, 3), chance.randint(1, 9), chance.randint(1, 9), chance.choice([1, 3]))
    return container(Pictures(np.zeros(shape, np.uint8), "DX"))


def _with_header(magic: bytes, header: bytes, body: bytes, length: int | None = None) -> bytes:
    return magic + struct.pack("<I", len(header) if length is None else length) + header + body


LENGTHS = [0, 1, 7, 2**16, 2**31, 2**32 - 1]


def broken_header(grounds: Grounds, chance: random.Random) -> Made:
    """A header whose fields lie: numbers that are none, too many of them, not a number, or a length beyond the file."""
    pictures = chance.random() < 0.4
    sizes = 4 if pictures else 3
    header: dict[str, Any] = {"shape": [2] * sizes, "modality": "CT"}
    if not pictures:
        header |= {"spacing": [1.0] * 3, "units": "HU"}
    lie = chance.choice(["shape", "spacing", "units", "modality", "gone", "length", "text", "deep"])
    length = None
    if lie == "shape":
        header["shape"] = [chance.choice(NUMBERS) for _ in range(chance.choice([sizes, sizes, 0, 2, 9, 4000]))]
    elif lie == "spacing":
        bad = [float("nan"), float("inf"), -1.0, 0.0, "x", None, [1], 10**400]
        header["spacing"] = [chance.choice(bad) for _ in range(chance.choice([3, 3, 0, 2, 9]))]
    elif lie == "units":
        header["units"] = chance.choice(["", "hu", 7, None, "HU\0", "x" * 5000])
    elif lie == "modality":
        header["modality"] = chance.choice([None, {"a": [1] * 50}, "CT\n{{7*7}}", "<unused10>", "é" * 3000, 10**400])
    elif lie == "gone":
        header.pop(chance.choice(sorted(header)))
    elif lie == "length":
        length = chance.choice(LENGTHS)
    text = json.dumps(header).encode()
    if lie == "text":
        text = chance.choice([b"", b"{", b"null", b"[]", b'"\\ud800"', b"\xff\xfe", b"{}" * 9, b"\0" * 64, b"7"])
    elif lie == "deep":
        text = b'{"shape":' + b"[" * 3000 + b"]" * 3000 + b"}"
    magic = b"LVPIC1\n\0" if pictures else b"LVVOL1\n\0"
    data = _with_header(magic, text, bytes(chance.choice([0, 1, 16, 17])), length)
    return lie, ask(grounds.model, sent(grounds, chance, "video_url", data)), False


def mangled(grounds: Grounds, chance: random.Random) -> Made:
    """A whole container that lost bytes, gained some, or had a bit turned in its header."""
    good = bytearray(chance.choice([good_volume, good_pictures])(chance))
    how = chance.choice(["cut", "longer", "magic", "bit", "swapped"])
    if how == "cut":
        del good[chance.randrange(len(good)) :]
    elif how == "longer":
        good += bytes(chance.randint(1, 99))
    elif how == "magic":
        good[chance.randrange(8)] ^= 1 << chance.randrange(8)
    elif how == "bit":
        good[chance.randrange(8, min(76, len(good)))] ^= 1 << chance.randrange(8)
    else:
        good[:8] = b"LVPIC1\n\0" if good[2:5] == b"VOL" else b"LVVOL1\n\0"
    data = bytes(good)
    return how, ask(grounds.model, sent(grounds, chance, "video_url", data)), how in ("cut", "longer", "magic")


def odd_volume(grounds: Grounds, chance: random.Random) -> Made:
    """Whole, and of a shape that no scanner makes; one that is deeper than the model takes must be refused."""
    most = MAX_MODEL_SLICES
    shapes = [(1, 1, 1), (1, 1, 3000), (1, 3000, 1), (most, 1, 1), (most + 1, 1, 1), (5000, 1, 1), (2, 7, 900)]
    shape = chance.choice(shapes)
    voxels = np.full(shape, chance.choice([-32768, 0, 32767]), np.int16)
    spacing = chance.choice([(1e-300, 1e300, 1.0), (1.0, 1.0, 1.0)])
    data = container(Volume(voxels, spacing, chance.choice(["HU", "stored"]), chance.choice(["", "CT", "é", "\u202e"])))
    return str(shape), ask(grounds.model, sent(grounds, chance, "video_url", data)), shape[0] > most


def odd_pictures(grounds: Grounds, chance: random.Random) -> Made:
    """Whole picture containers, and more or larger pictures than the model takes."""
    shape = chance.choice(
        [(1, 4, 4, 3), (3, 9, 1, 1), (MAX_PICTURES + 1, 4, 4, 3), (300, 1, 1, 1), (1, 1, 70_000_000, 1)]
    )
    data = container(Pictures(np.zeros(shape, np.uint8), "SM"))
    return str(shape), ask(grounds.model, sent(grounds, chance, "video_url", data)), max(shape) > MAX_PICTURES


def wrong_route(grounds: Grounds, chance: random.Random) -> Made:
    """A container sent as an image, an image as a container."""
    if chance.random() < 0.5:
        data = chance.choice([good_volume, good_pictures])(chance)
        return "container as image", ask(grounds.model, sent(grounds, chance, "image_url", data)), True
    return "image as container", ask(grounds.model, sent(grounds, chance, "video_url", png(9, 9))), True
