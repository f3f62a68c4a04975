"""Ready means that a question has been answered: `/health` says 200 before the first request, and that one may still compile, or kill the engine."""

from __future__ import annotations

import asyncio
import base64
import io
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image

from schemas.errors import PartUnavailable
from schemas.families import MEDGEMMA, Kind, ModelFamily, Transport
from schemas.inference import FindingsAnswer, answer_schema
from schemas.pictures import Pictures, encode_pictures
from schemas.volume import Volume, encode_volume

LABEL, SLICES = "warm-up", 2
POLL_SECONDS = 0.2
TOKENS = 400


async def wait_until_ready(
    url: str,
    patience: float,
    *,
    token: str = "",
    family: ModelFamily = MEDGEMMA,
    transport: httpx.AsyncBaseTransport | None = None,
) -> float:
    """Seconds until the server at `url` had answered one question of each kind that its family takes.

    `PartUnavailable` if it did not within `patience` seconds.
    """
    begun = time.monotonic()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with httpx.AsyncClient(
        base_url=url.rstrip("/"), headers=headers, timeout=patience, trust_env=False, transport=transport
    ) as client:
        while not await _healthy(client):
            if time.monotonic() - begun > patience:
                raise PartUnavailable("model-start", "the model server does not listen: look at its log.")
            await asyncio.sleep(POLL_SECONDS)
        for kind in sorted(family.takes):
            await _ask(client, kind, family.transport)
    return time.monotonic() - begun


async def _healthy(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/health", timeout=5.0)).status_code == 200
    except httpx.HTTPError:
        return False


async def _ask(client: httpx.AsyncClient, kind: Kind, transport: Transport) -> None:
    try:
        models = (await client.get("/v1/models")).raise_for_status().json()
        answer = await client.post(
            "/v1/chat/completions", json=warm_up_request(models["data"][0]["id"], kind, transport)
        )
        text = answer.raise_for_status().json()["choices"][0]["message"]["content"]
        FindingsAnswer.model_validate_json(text, strict=False)
    except (httpx.HTTPError, KeyError, IndexError, TypeError, ValueError) as error:
        raise PartUnavailable(
            "model-start", f"the model server listens but cannot answer a question ({kind}): look at its log."
        ) from error


def warm_up_request(model: str, kind: Kind, transport: Transport = "container") -> dict[str, Any]:
    """A question of the worker's own form: about text alone, two empty slices, or an empty picture."""
    schema = answer_schema([LABEL], [SLICES], compared=False)
    return {
        "model": model,
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "STUDY 1"},
                    *_MEDIA.get((transport, kind), list)(),
                    {"type": "text", "text": "Answer with the JSON object alone."},
                ],
            }
        ],
        "temperature": 0,
        "seed": 0,
        "max_tokens": TOKENS,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "findings", "strict": True, "schema": schema},
        },
    }


def _volume() -> list[dict[str, Any]]:
    return [_part(encode_volume(Volume(np.zeros((SLICES, 64, 64), np.int16), (1.0, 1.0, 1.0), "HU", "CT")))]


def _pictures() -> list[dict[str, Any]]:
    return [_part(encode_pictures(Pictures(np.zeros((1, 64, 64, 3), np.uint8), "DX")))]


def _part(container: list[bytes | memoryview]) -> dict[str, Any]:
    data = base64.b64encode(b"".join(container)).decode()
    return {"type": "video_url", "video_url": {"url": f"data:application/octet-stream;base64,{data}"}}


def _image() -> list[dict[str, Any]]:
    file = io.BytesIO()
    Image.new("RGB", (64, 64)).save(file, "PNG")
    data = base64.b64encode(file.getvalue()).decode()
    return [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}]


Maker = Callable[[], list[dict[str, Any]]]
_MEDIA: dict[tuple[Transport, Kind], Maker] = {
    ("container", "volume"): _volume,
    ("container", "picture"): _pictures,
    ("image_url", "picture"): _image,
}
"""How each kind travels to a family; text alone has no medium."""


def say_ready(path: Path, url: str) -> None:
    """Write the ready file: the server's URL and process id, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(f"{url}\n{os.getpid()}\n")
    beside.replace(path)
