"""Studies of a benchmark, and the questions about them: CT as a container or as PNG files, both read by the model server from its media folder."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO
from itertools import count
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import orjson
from PIL import Image

from schemas.errors import PartUnavailable
from schemas.volume import Volume, encode_volume, model_slices
from services.bench.model_server import ModelServer
from services.store import FolderObjectStore

ROWS, COLUMNS = 512, 512
WINDOWS = ((-1024, 1024), (-135, 215), (0, 80))
"""Low and high HU of R, G and B, as the publisher's notebooks apply them in numpy."""
NOISE_HU = 12
SEED = 6
TIMEOUT = 300.0

Voxels = npt.NDArray[np.int16]
Part = dict[str, Any]


def phantom(slices: int) -> Voxels:
    """HU [D, 512, 512]: a body of soft tissue with two lungs and a spine, and a scanner's noise."""
    rng = np.random.default_rng(SEED)
    y, x = np.mgrid[-1 : 1 : ROWS * 1j, -1 : 1 : COLUMNS * 1j]
    plane = np.full((ROWS, COLUMNS), -1000.0)
    for centre, radii, hounsfield in BODY:
        plane[((x - centre[0]) / radii[0]) ** 2 + ((y - centre[1]) / radii[1]) ** 2 < 1] = hounsfield
    noise = rng.normal(0, NOISE_HU, (slices, ROWS, COLUMNS)).astype(np.float32)
    return np.rint(plane + noise).astype(np.int16)


BODY = [
    ((0.0, 0.0), (0.85, 0.65), 40.0),
    ((-0.4, -0.05), (0.3, 0.45), -850.0),
    ((0.4, -0.05), (0.3, 0.45), -850.0),
    ((0.0, 0.45), (0.12, 0.12), 400.0),
]
"""Centre (x, y), radii and HU of each ellipse, from -1 to 1; the later one covers."""


def windowed(voxels: Voxels) -> npt.NDArray[np.uint8]:
    """RGB [D, H, W, 3], window by window in numpy."""
    values = voxels.astype(np.float32)
    scaled = [np.round((np.clip(values, low, high) - low) / (high - low) * 255) for low, high in WINDOWS]
    return np.stack(scaled, axis=-1).astype(np.uint8)


@dataclass
class Studies:
    """New studies at will: a phantom of `slices`, each with a number of its own in its first voxels, so that nothing of it is in any cache."""

    store: FolderObjectStore
    voxels: Voxels
    numbers: count[int] = field(default_factory=lambda: count(1))

    def volume(self, slices: int | None = None) -> Part:
        """A new study as one part; of a deep one the slices that the worker would choose."""
        shown = self._numbered(slices)
        return self._stored(b"".join(encode_volume(Volume(shown, (1.0, 0.7, 0.7), "HU", "CT"))), "video_url")

    def both(self) -> tuple[Part, list[Part]]:
        """One new study twice: as one part, and as a PNG part for each slice with its label."""
        shown = self._numbered(None)
        volume = self._stored(b"".join(encode_volume(Volume(shown, (1.0, 0.7, 0.7), "HU", "CT"))), "video_url")
        images: list[Part] = []
        for k, pixels in enumerate(windowed(shown), 1):
            file = BytesIO()
            Image.fromarray(pixels).save(file, "PNG")
            images += [self._stored(file.getvalue(), "image_url"), _text(f"SLICE {k}")]
        return volume, images

    def _numbered(self, slices: int | None) -> Voxels:
        stack = self.voxels[:slices]
        shown = stack[model_slices(len(stack))]
        shown[0, 0, :4] = np.frombuffer(next(self.numbers).to_bytes(8, "little"), "<i2")
        return shown

    def _stored(self, data: bytes, kind: str) -> Part:
        digest = self.store.put(data)
        return {"type": kind, kind: {"url": self.store.path(digest).as_uri()}, "uuid": digest}


class Reader:
    """Asks one server as the worker would: headings and studies, oldest first, and the question last."""

    def __init__(self, server: ModelServer) -> None:
        release = orjson.loads(server.release_file.read_bytes())
        self._model = release["served_model_name"]
        self._http = httpx.Client(base_url=server.url, timeout=TIMEOUT, trust_env=False)

    def close(self) -> None:
        self._http.close()

    def seconds(self, studies: Sequence[Part | Sequence[Part]], *, tokens: int = 1, priority: int = 20) -> float:
        """From the request to the whole answer of so many tokens."""
        content = [_text("You are reading a study.")]
        for k, study in enumerate(studies, 1):
            content += [_text(f"STUDY {k}"), *([study] if isinstance(study, dict) else study)]
        body = {
            "model": self._model,
            "messages": [{"role": "user", "content": [*content, _text("What is there?")]}],
            "temperature": 0,
            "max_tokens": tokens,
            "ignore_eos": True,
            "priority": priority,
        }
        data = orjson.dumps(body)
        begun = time.perf_counter()
        answer = self._http.post("/v1/chat/completions", content=data, headers={"content-type": "application/json"})
        taken = time.perf_counter() - begun
        if answer.status_code != 200:
            raise PartUnavailable("bench-answer", f"the model server answered {answer.status_code}: look at its log.")
        return taken

    def counters(self) -> dict[str, float]:
        """What the server has counted: `encoded` and `kept` items of the encoder, `prefix_hits` and `prompt` tokens, `read` and `known` files."""
        lines = self._http.get("/metrics").text.splitlines()
        sums = dict.fromkeys(COUNTERS, 0.0)
        for line in lines:
            name, _, value = line.rpartition(" ")
            for key, begin in COUNTERS.items():
                if name.startswith(begin):
                    sums[key] += float(value)
        return sums


COUNTERS = {
    "encoded": 'longview_encoder_items_total{result="encoded"',
    "kept": 'longview_encoder_items_total{result="cached"',
    "prefix_hits": "vllm:prefix_cache_hits_total",
    "prompt": "vllm:prefix_cache_queries_total",
    "read": 'longview_media_files_total{result="read"',
    "known": 'longview_media_files_total{result="known"',
}


def _text(words: str) -> Part:
    return {"type": "text", "text": words}
