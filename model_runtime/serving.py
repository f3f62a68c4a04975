"""What vLLM is started with: the arguments of its OpenAI server and its environment. No vLLM is imported here."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from model_runtime import ENCODED_CACHE_GIB, MEDIA_CONNECTOR
from model_runtime.checkpoint import chat_template
from model_runtime.families.folder import read_config
from model_runtime.families.memory import GIB, TWO_BYTES, tokens_that_fit
from model_runtime.families.serve import family_arguments, longest_request, served_family
from model_runtime.settings import ServerSettings
from schemas.errors import PartUnavailable
from schemas.families import ModelFamily, family_of
from schemas.inference import ModelRelease
from schemas.pictures import MAX_PICTURES
from schemas.volume import LABEL_TOKENS_A_SLICE, MAX_MODEL_SLICES

VOLUMES_A_REQUEST = 7
"""The study and six priors."""
VOLUMES_A_STEP = 4
"""The study and three priors: what one step takes and the encoder's cache holds."""
TOKENS_AROUND_A_PICTURE = 3
"""Begin and end of image, and the line feeds between two."""
URGENT_PLACES = 4
"""Of urgent requests, beside those that are computed together (`urgent`)."""
SCHEDULER = "model_runtime.urgent.scheduler"
MAX_IMAGE_PIXELS = 8192 * 8192
"""Of one PNG or JPEG part: a mammogram has a third of it."""
TEXT_TOKENS, ANSWER_TOKENS = 4096, 4096


@dataclass(frozen=True)
class Serving:
    """What is served, and which files it may read (folders are absolute, their links followed). `cache` is where vLLM keeps what it may lose."""

    checkpoint: Path
    release: ModelRelease
    cache: Path
    media: Path
    settings: ServerSettings = field(default_factory=ServerSettings)


def family(release: ModelRelease) -> ModelFamily:
    return family_of(release.family)


def largest_item(serving: Serving) -> int:
    """Tokens of the largest item that the served model's family takes: a step of the engine must hold it whole."""
    served = family(serving.release)
    return item_tokens(serving.checkpoint) if served.transport == "container" else served.tokens_a_picture


def arguments(serving: Serving) -> list[str]:
    """The arguments of vLLM's OpenAI server that hold on every device, with those of the model's family at the end (the last one of a name wins)."""
    settings = serving.settings
    own = [
        "--model", str(serving.checkpoint),
        "--served-model-name", serving.release.served_model_name,
        "--host", settings.host,
        "--port", str(settings.port),
        # Never a pickle: an archive of one runs code when it is opened.
        "--load-format", "safetensors",
        "--max-model-len", str(context_length(serving)),
        # A whole item must fit into one step: a slice's tokens must not be split on CUDA, and the encoder's cache holds what a step holds.
        "--max-num-batched-tokens", str(settings.step_tokens or step_length(serving.checkpoint)),
        "--max-num-active-seqs", str(settings.max_num_seqs),
        "--max-num-seqs", str(settings.max_num_seqs + URGENT_PLACES),
        "--scheduler-cls", SCHEDULER,
        "--tensor-parallel-size", str(settings.tensor_parallel),
        # Without this policy vLLM ignores `priority` and says nothing.
        "--scheduling-policy", "priority",
        "--structured-outputs-config", _json({"backend": "guidance", "disable_any_whitespace": True}),
        "--chat-template-content-format", "openai",
        "--allowed-local-media-path", str(serving.media),
        # vLLM keeps the voxels of recent volumes, 44 MB for 85 x 512 x 512.
        "--mm-processor-cache-gb", str(settings.media_cache_gib),
        "--additional-config", _json({ENCODED_CACHE_GIB: settings.encoded_cache_gib}),
        "--enable-prefix-caching",
        # Ours waits for the answers that are owed; this is for an engine that is told to end by itself.
        "--shutdown-timeout", str(settings.drain_seconds),
        # URLs, prompts and answers stay out of the log.
        "--disable-uvicorn-access-log",
        "--no-enable-log-requests",
        "--disable-fastapi-docs",
        "--uvicorn-log-level", "warning",
    ]  # fmt: skip
    return [*own, *family_arguments(serving.checkpoint, family(serving.release), chat_template())]


CPU_ARGUMENTS = ("--enforce-eager",)


def gpu_arguments(serving: Serving) -> list[str]:
    """Besides, on a GPU. A step holds one item: more would take memory that keys and values need on a card of 24 GB."""
    settings = serving.settings
    return [
        "--gpu-memory-utilization", str(settings.gpu_memory_share),
        "--max-num-batched-tokens", str(gpu_step(serving)),
        "--kv-cache-dtype", settings.kv_cache_dtype,
        "--async-scheduling" if settings.async_scheduling else "--no-async-scheduling",
    ]  # fmt: skip


def gpu_step(serving: Serving) -> int:
    """Tokens of a step on a GPU."""
    return serving.settings.step_tokens or min(step_of_one_item(serving.checkpoint), context_length(serving))


def step_of_one_item(checkpoint: Path) -> int:
    """Tokens of the largest item; where there are no volumes, of the longest request."""
    if "volume" not in served_family(checkpoint).takes:
        return model_length(checkpoint)
    return item_tokens(checkpoint)


def context_length(serving: Serving) -> int:
    """Tokens of the longest request that is taken; `PartUnavailable` (`model-context`) for one that a study does not fit into."""
    longest, asked = model_length(serving.checkpoint), serving.settings.context_tokens
    least = min(longest, largest_item(serving) + TEXT_TOKENS + ANSWER_TOKENS)
    if asked and not least <= asked <= longest:
        raise PartUnavailable(
            "model-context",
            f"LONGVIEW_MODEL_SERVER_CONTEXT_TOKENS is {asked}: this model needs {least} for one item with its text, and has {longest}.",
        )
    return asked or longest


def require_room(serving: Serving, card_bytes: int) -> None:
    """`PartUnavailable` (`model-memory`) where a GPU has no room for the weights, a step and one longest request: vLLM would say so after minutes,
    and not what to do about it."""
    settings, config = serving.settings, read_config(serving.checkpoint)
    stored = sum(file.stat().st_size for file in serving.checkpoint.glob("*.safetensors")) // settings.tensor_parallel
    each = 1 if settings.kv_cache_dtype == "fp8" else TWO_BYTES
    step = gpu_step(serving) * (2 if settings.async_scheduling else 1)
    card = card_bytes / GIB
    room = tokens_that_fit(card, settings.gpu_memory_share, stored, family(serving.release), config, step, each)
    room *= settings.tensor_parallel
    needed = context_length(serving)
    if room < needed:
        raise PartUnavailable(
            "model-memory",
            f"the GPU's {card:.0f} GiB have room for requests of {max(room, 0)} tokens beside weights of {stored / GIB:.1f} GiB and steps "
            f"of {step}, and {needed} are asked for: set LONGVIEW_MODEL_SERVER_CONTEXT_TOKENS lower, _KV_CACHE_DTYPE=fp8, or quantize the model.",
        )


def model_length(checkpoint: Path) -> int:
    """Tokens of the longest request: a study and its priors, the prompt's text and the answer; never more than the model's context."""
    served, config = served_family(checkpoint), read_config(checkpoint)
    return _volumes(checkpoint, VOLUMES_A_REQUEST) if "volume" in served.takes else longest_request(served, config)


def step_length(checkpoint: Path) -> int:
    """Tokens of one step of the scheduler, and slots of the encoder's cache."""
    if "volume" not in served_family(checkpoint).takes:
        return model_length(checkpoint)
    return max(_volumes(checkpoint, VOLUMES_A_STEP), item_tokens(checkpoint))


def item_tokens(checkpoint: Path) -> int:
    """Tokens of the largest item, a volume of the most slices or the most pictures; never more than the model's context."""
    image, context = _sizes(checkpoint)
    volume, pictures = (
        MAX_MODEL_SLICES * (image + LABEL_TOKENS_A_SLICE),
        MAX_PICTURES * (image + TOKENS_AROUND_A_PICTURE),
    )
    return min(context, max(volume, pictures))


def _volumes(checkpoint: Path, volumes: int) -> int:
    image, context = _sizes(checkpoint)
    slices = volumes * MAX_MODEL_SLICES * (image + LABEL_TOKENS_A_SLICE)
    return min(context, slices + TEXT_TOKENS + ANSWER_TOKENS)


def _sizes(checkpoint: Path) -> tuple[int, int]:
    """Tokens of an image, and of the model's context."""
    config = read_config(checkpoint)
    try:
        return int(config["mm_tokens_per_image"]), int(config["text_config"].get("max_position_embeddings", 131072))
    except (ValueError, KeyError, TypeError) as error:
        raise PartUnavailable(
            "model-config", "the checkpoint is not a Gemma 3 with images: name another folder."
        ) from error


def environment(serving: Serving, given: Mapping[str, str]) -> dict[str, str]:
    """Variables to set. Those that tune a machine can be given from outside; those that keep it private and offline cannot."""
    cache = serving.cache
    tuned = {
        "VLLM_CPU_KVCACHE_SPACE": str(serving.settings.kv_cache_gib),
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "OMP_NUM_THREADS": str(len(os.sched_getaffinity(0))),
        # A thread that waits must not hold its core: beside another busy process the other way is eight times slower.
        "OMP_WAIT_POLICY": "PASSIVE",
        # FlashInfer's sampler is compiled when it is first used, and the image has no nvcc; greedy and seeded requests never use it.
        "VLLM_USE_FLASHINFER_SAMPLER": "0",
        "VLLM_LOGGING_LEVEL": "INFO",
    }
    return {name: given.get(name) or value for name, value in tuned.items()} | {
        "VLLM_PLUGINS": "longview",
        "VLLM_MEDIA_CONNECTOR": MEDIA_CONNECTOR,
        "PROMETHEUS_MULTIPROC_DIR": str(metrics_folder(serving)),
        "VLLM_CACHE_ROOT": str(cache / "vllm"),
        "VLLM_CONFIG_ROOT": str(cache / "vllm-config"),
        "VLLM_MAX_IMAGE_PIXELS": str(MAX_IMAGE_PIXELS),
        "VLLM_SERVER_DEV_MODE": "0",
        "VLLM_DEBUG_LOG_API_SERVER_RESPONSE": "0",
        "VLLM_HOST_IP": "127.0.0.1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "HF_HOME": str(cache / "huggingface"),
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }


def metrics_folder(serving: Serving) -> Path:
    """Where the processes of this server add up their counters."""
    return serving.cache / "metrics" / str(serving.settings.port)


def _json(value: object) -> str:
    return orjson.dumps(value).decode()
