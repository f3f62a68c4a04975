"""One item of ours is the same request as its slices or pictures sent as PNG parts, with the texts between: MedGemma's own way.

Token ids are equal, and so is the log-likelihood of every token of prompt and answer, to the last bit: the same grey levels reach the same weights.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from schemas.pictures import Pictures, encode_pictures
from schemas.volume import Volume, encode_volume
from tests.integration.model_server import BEARER, Server

pytestmark = pytest.mark.integration
Part = dict[str, Any]
WINDOWS = ((-1024, 1024), (-135, 215), (0, 80))


@pytest.fixture(scope="module")
def server(vllm_server: Server) -> Server:
    return vllm_server


def text(words: str) -> Part:
    return {"type": "text", "text": words}


def png(pixels: npt.NDArray[np.uint8]) -> Part:
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{_base64(file.getvalue())}"}}


def container(buffers: Sequence[bytes | memoryview]) -> Part:
    url = f"data:application/octet-stream;base64,{_base64(b''.join(buffers))}"
    return {"type": "video_url", "video_url": {"url": url}}


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def ask(server: Server, parts: Sequence[Part]) -> dict[str, Any]:
    body = {
        "model": server.model().release().served_model_name,
        "messages": [{"role": "user", "content": list(parts)}],
        "temperature": 0,
        "max_tokens": 8,
        "logprobs": True,
        "prompt_logprobs": 0,
        "return_token_ids": True,
    }
    answer = httpx.post(f"{server.url}/v1/chat/completions", json=body, headers=BEARER, timeout=120, trust_env=False)
    return dict(answer.raise_for_status().json())


def same(server: Server, ours: Sequence[Part], theirs: Sequence[Part]) -> None:
    one, other = ask(server, ours), ask(server, theirs)
    assert one["prompt_token_ids"] == other["prompt_token_ids"]
    assert one["prompt_logprobs"] == other["prompt_logprobs"]
    for choice, as_choice in zip(one["choices"], other["choices"], strict=True):
        assert choice["token_ids"] == as_choice["token_ids"]
        assert choice["logprobs"] == as_choice["logprobs"]


def ct(slices: int, rows: int, columns: int, seed: int) -> npt.NDArray[np.int16]:
    """Values of air to metal, also outside every window."""
    return np.random.default_rng(seed).integers(-2048, 3072, (slices, rows, columns)).astype(np.int16)


def windowed(voxels: npt.NDArray[np.int16]) -> npt.NDArray[np.uint8]:
    """As the publisher does it in numpy: [D, H, W] -> RGB [D, H, W, 3]."""
    channels = [
        np.round((np.clip(voxels, low, high).astype(np.float64) - low) / (high - low) * 255) for low, high in WINDOWS
    ]
    return np.stack(channels, axis=-1).astype(np.uint8)


def labelled(slices: npt.NDArray[np.uint8]) -> list[Part]:
    """Each slice's image, then its label."""
    return [part for k, pixels in enumerate(slices, 1) for part in (png(pixels), text(f"SLICE {k}"))]


def volume(voxels: npt.NDArray[np.int16], units: Any = "HU") -> Part:
    return container(encode_volume(Volume(voxels, (5.0, 0.7, 0.7), units, "CT" if units == "HU" else "MR")))


def pictures(pixels: npt.NDArray[np.uint8]) -> Part:
    return container(encode_pictures(Pictures(pixels, "DX")))


def grey(count: int, rows: int, columns: int, seed: int, samples: int = 1) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, rows, columns, samples), np.uint8)


BEFORE, AFTER = text("You are reading a study."), text("What is there?")


@pytest.mark.parametrize(("slices", "rows", "columns"), [(1, 56, 56), (6, 70, 90), (17, 512, 512), (85, 64, 64)])
def test_a_ct_is_its_slices_in_three_windows(server: Server, slices: int, rows: int, columns: int) -> None:
    """17 slices are more than one batch on the device; 56 x 56 is the encoder's own size, where nothing is resized."""
    voxels = ct(slices, rows, columns, seed=slices)
    same(server, [BEFORE, volume(voxels), AFTER], [BEFORE, *labelled(windowed(voxels)), AFTER])


def test_an_mr_series_is_its_slices_between_its_own_extremes(server: Server) -> None:
    voxels = np.random.default_rng(3).integers(0, 4096, (5, 80, 80)).astype(np.int16)
    low, high = int(voxels.min()), int(voxels.max())
    scaled = np.round((voxels.astype(np.float64) - low) / (high - low) * 255).astype(np.uint8)
    same(server, [BEFORE, volume(voxels, "stored"), AFTER], [BEFORE, *labelled(scaled), AFTER])


@pytest.mark.parametrize(("count", "samples"), [(1, 1), (1, 3), (2, 3), (19, 3), (125, 1)])
def test_pictures_are_images_without_words_between(server: Server, count: int, samples: int) -> None:
    """A radiograph, a photograph, pages, patches of a slide: grey or in colour, whatever text stands around them."""
    pixels = grey(count, 60, 72, seed=count, samples=samples)
    images = [png(each[..., 0] if samples == 1 else each) for each in pixels]
    same(server, [BEFORE, pictures(pixels), AFTER], [BEFORE, *images, AFTER])
    same(server, [pictures(pixels), AFTER], [*images, AFTER])


def test_a_study_after_its_priors_is_the_same_whatever_their_kinds(server: Server) -> None:
    """A radiograph, two CTs and a page: four items of two kinds in one request."""
    film, page = grey(1, 90, 90, 1), grey(2, 40, 60, 2, samples=3)
    old, new = ct(3, 64, 64, 8), ct(4, 64, 80, 9)
    heading = [text(f"STUDY {k}") for k in range(1, 5)]
    ours = [heading[0], pictures(film), heading[1], volume(old), heading[2], pictures(page), heading[3], volume(new)]
    theirs: list[Part] = [heading[0], png(film[0, ..., 0]), heading[1], *labelled(windowed(old))]
    theirs += [heading[2], *map(png, page), heading[3], *labelled(windowed(new))]
    same(server, [*ours, AFTER], [*theirs, AFTER])


@pytest.mark.parametrize("order", [(0, 1), (1, 0), (1, 0, 1), (0, 2), (2, 0), (1, 2, 0), (2, 1, 0, 0)])
def test_stock_images_beside_items_keep_their_places(server: Server, order: tuple[int, ...]) -> None:
    """Image and pictures begin with equal tokens: found by searching, one would be shown in the place of the other."""
    image, some = grey(1, 56, 56, 20)[0, ..., 0], grey(3, 56, 56, 21)
    mixed = {0: [png(image)], 1: [pictures(some)], 2: [volume(ct(1, 56, 56, 22)), text("SLICE 1")]}
    plain = {
        0: mixed[0],
        1: [png(each[..., 0]) for each in some],
        2: [*labelled(windowed(ct(1, 56, 56, 22))), text("SLICE 1")],
    }
    same(server, [*(p for k in order for p in mixed[k]), AFTER], [*(p for k in order for p in plain[k]), AFTER])
