"""What vLLM is started with: the arguments of its OpenAI server and its environment. No vLLM is imported here."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import orjson

from model_runtime import ARCHITECTURE, MEDIA_CONNECTOR, VIDEO_BACKEND
from model_runtime.checkpoint import chat_template
from schemas.errors import PartUnavailable
from schemas.inference import ModelRelease
from schemas.volume import MAX_MODEL_SLICES

VOLUMES_A_REQUEST = 7
"""The study and six priors."""
VOLUMES_A_STEP = 4
"""The study and three priors: what one step takes and the encoder's cache holds."""
LABEL_TOKENS_A_SLICE = 12
"""Most tokens of what stands around a slice's image: line feeds, begin and end of image, `SLICE k`."""
TEXT_TOKENS, ANSWER_TOKENS = 4096, 4096
CACHED_VOLUMES_GIB = "2"
"""vLLM keeps the voxels of recent volumes, 44 MB for 85 x 512 x 512."""


@dataclass(frozen=True)
class Serving:
    """What is served, where, and which files it may read. `cache` is where vLLM keeps what it may lose."""

    checkpoint: Path
    release: ModelRelease
    cache: Path
    media: Path
    host: str
    port: int


def arguments(serving: Serving) -> list[str]:
    """The arguments of vLLM's OpenAI server that hold on every device."""
    length, step = model_length(serving.checkpoint), step_length(serving.checkpoint)
    return [
        "--model", str(serving.checkpoint),
        "--served-model-name", serving.release.served_model_name,
        "--host", serving.host,
        "--port", str(serving.port),
        "--hf-overrides", _json({"architectures": [ARCHITECTURE]}),
        "--dtype", "bfloat16",
        "--max-model-len", str(length),
        # A whole item must fit into one step: a slice's tokens must not be split on CUDA, and the encoder's cache holds what a step holds.
        "--max-num-batched-tokens", str(step),
        "--max-num-seqs", "4",
        # Without this policy vLLM ignores `priority` and says nothing.
        "--scheduling-policy", "priority",
        "--structured-outputs-config", _json({"backend": "guidance", "disable_any_whitespace": True}),
        "--chat-template", chat_template(),
        "--chat-template-content-format", "openai",
        "--allowed-local-media-path", str(serving.media),
        "--media-io-kwargs", _json({"video": {"video_backend": VIDEO_BACKEND, "num_frames": -1}}),
        "--mm-processor-cache-gb", CACHED_VOLUMES_GIB,
        # URLs, prompts and answers stay out of the log.
        "--disable-uvicorn-access-log",
        "--no-enable-log-requests",
        "--disable-fastapi-docs",
        "--uvicorn-log-level", "warning",
    ]  # fmt: skip


CPU_ARGUMENTS = ("--enforce-eager",)


def model_length(checkpoint: Path) -> int:
    """Tokens of the longest request: a study and its priors, the prompt's text and the answer; never more than the model's context."""
    return _tokens(checkpoint, VOLUMES_A_REQUEST)


def step_length(checkpoint: Path) -> int:
    """Tokens of one step of the scheduler."""
    return _tokens(checkpoint, VOLUMES_A_STEP)


def _tokens(checkpoint: Path, volumes: int) -> int:
    try:
        config = orjson.loads((checkpoint / "config.json").read_bytes())
        image = int(config["mm_tokens_per_image"])
        context = int(config["text_config"].get("max_position_embeddings", 131072))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PartUnavailable(
            "model-config", "the checkpoint is not a Gemma 3 with images: name another folder."
        ) from error
    slices = volumes * MAX_MODEL_SLICES * (image + LABEL_TOKENS_A_SLICE)
    return min(context, slices + TEXT_TOKENS + ANSWER_TOKENS)


def environment(cache: Path, given: Mapping[str, str]) -> dict[str, str]:
    """Variables to set. Those that tune a machine can be given from outside; those that keep it private and offline cannot."""
    tuned = {
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "OMP_NUM_THREADS": str(len(os.sched_getaffinity(0))),
        "VLLM_LOGGING_LEVEL": "INFO",
    }
    return {name: given.get(name) or value for name, value in tuned.items()} | {
        "VLLM_PLUGINS": "longview",
        "VLLM_MEDIA_CONNECTOR": MEDIA_CONNECTOR,
        "VLLM_CACHE_ROOT": str(cache / "vllm"),
        "VLLM_CONFIG_ROOT": str(cache / "vllm-config"),
        "VLLM_HOST_IP": "127.0.0.1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "HF_HOME": str(cache / "huggingface"),
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }


def _json(value: object) -> str:
    return orjson.dumps(value).decode()
