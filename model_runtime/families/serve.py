"""What vLLM is started with for each family. Imports no vLLM."""

from __future__ import annotations

from pathlib import Path

import orjson

from model_runtime import VIDEO_BACKEND
from model_runtime.families.folder import Json, family_of_config, read_config
from schemas.families import MEDGEMMA, ModelFamily

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
