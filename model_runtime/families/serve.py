"""What vLLM is started with for each family, and the question that a server of it is warmed up with. Imports no vLLM."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from model_runtime import VIDEO_BACKEND
from model_runtime.families.folder import Json, family_of_config, read_config
from schemas.families import MEDGEMMA, ModelFamily
from schemas.pictures import Pictures, encode_pictures
from schemas.volume import Volume, encode_volume

DTYPES = ("bfloat16", "float16", "float32")


def family_arguments(folder: Path, family: ModelFamily, chat_template: str) -> list[str]:
    """Architecture, type of numbers, chat template and items of a request; `chat_template` is ours, for containers."""
    chosen = {
        "--hf-overrides": orjson.dumps({"architectures": [family.served_architecture]}).decode(),
        "--dtype": dtype_of(read_config(folder)),
        "--chat-template": chat_template if family is MEDGEMMA else str(folder / "chat_template.jinja"),
    }
    if family.transport == "container":
        media: Json = {"video": {"video_backend": VIDEO_BACKEND, "num_frames": -1}}
        chosen["--media-io-kwargs"] = orjson.dumps(media).decode()
    elif family.transport == "image_url":
        chosen["--limit-mm-per-prompt"] = orjson.dumps({"image": family.most_pictures}).decode()
    return [part for pair in chosen.items() for part in pair]


def dtype_of(config: Json) -> str:
    """Weights are computed with in the type that they are stored in."""
    stored = str(config.get("dtype") or config.get("torch_dtype") or "bfloat16")
    return stored if stored in DTYPES else "bfloat16"


def longest_request(family: ModelFamily, config: Json) -> int:
    """Tokens that a server of a family without volumes must hold: the family's context, never more than the checkpoint has positions for."""
    text = config.get("text_config", config)
    positions = int(text.get("max_position_embeddings") or text.get("n_positions") or family.context)
    return min(family.context, positions)


def served_family(folder: Path) -> ModelFamily:
    """`PartUnavailable` if the folder's model is of no family or must be converted first."""
    return family_of_config(read_config(folder))


def warm_up_parts(family: ModelFamily, slices: int) -> list[dict[str, Any]]:
    """What a question of the worker's own form shows: a picture and a volume of empty slices, a black picture alone, or nothing but text."""
    if family.transport == "container":
        picture = Pictures(np.zeros((1, 64, 64, 3), np.uint8), "DX")
        volume = Volume(np.zeros((slices, 64, 64), np.int16), (1.0, 1.0, 1.0), "HU", "CT")
        first, second = _container_part(encode_pictures(picture)), _container_part(encode_volume(volume))
        return [{"type": "text", "text": "STUDY 1"}, first, {"type": "text", "text": "STUDY 2"}, second]
    if family.transport == "image_url":
        return [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{_black_picture()}"}}]
    return []


def _container_part(container: list[bytes | memoryview]) -> dict[str, Any]:
    data = base64.b64encode(b"".join(container)).decode()
    return {"type": "video_url", "video_url": {"url": f"data:application/octet-stream;base64,{data}"}}


def _black_picture() -> str:
    """A PNG of 16 x 16 pixels in base64."""
    from PIL import Image

    written = io.BytesIO()
    Image.new("RGB", (16, 16)).save(written, "PNG")
    return base64.b64encode(written.getvalue()).decode()
