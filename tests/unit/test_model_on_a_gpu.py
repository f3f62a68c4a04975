"""Whether a model fits on a GPU, by arithmetic and before anything is loaded: MedGemma 1.5 on cards that are sold."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pytest

from model_runtime.families.memory import GIB, activations, keys_values
from model_runtime.serving import Serving, context_length, gpu_arguments, gpu_step, require_room
from model_runtime.settings import ServerSettings
from schemas.errors import PartUnavailable
from schemas.families import BIOMEDLM, MEDGEMMA
from schemas.inference import ModelRelease

CONFIG = {
    "architectures": ["Gemma3ForConditionalGeneration"],
    "model_type": "gemma3",
    "mm_tokens_per_image": 256,
    "text_config": {
        "hidden_size": 2560,
        "intermediate_size": 10240,
        "num_hidden_layers": 34,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "max_position_embeddings": 131072,
    },
}
ONE_ITEM = 32_375
"""Tokens of the largest item: 125 pictures."""


def serving(folder: Path, weights_gib: float = 8.6, **settings: Any) -> Serving:
    (folder / "config.json").write_bytes(orjson.dumps(CONFIG))
    with (folder / "model.safetensors").open("wb") as weights:
        weights.truncate(int(weights_gib * GIB))  # a hole: it takes no room on the disk
    release = ModelRelease.model_construct(family=MEDGEMMA.name)
    return Serving(folder, release, folder, folder, ServerSettings(**settings))


def test_the_arithmetic_is_vllms_own_profile() -> None:
    """vLLM 0.32 with a request of 131,072 and a step of 99,312 tokens: 17 GiB of keys and values and 7.6 GiB of activations."""
    assert keys_values(MEDGEMMA, CONFIG, 131_072) / GIB == pytest.approx(17.0, abs=0.1)
    assert activations(CONFIG, 99_312) / GIB == pytest.approx(7.6, abs=0.1)


@pytest.mark.parametrize(
    ("card", "weights", "settings", "starts"),
    [
        (80, 8.6, {}, True),
        (40, 8.6, {}, True),
        (24, 8.6, {}, False),
        (24, 8.6, {"context_tokens": 60_000}, True),
        (24, 8.6, {"kv_cache_dtype": "fp8"}, True),
        (24, 3.8, {"context_tokens": 100_000}, True),
        (24, 8.6, {"context_tokens": 74_000, "async_scheduling": True}, False),
        (24, 8.6, {"context_tokens": 74_000, "step_tokens": 99_312}, False),
        (24, 8.6, {"tensor_parallel": 2}, True),
        (16, 8.6, {"context_tokens": 41_000}, False),
        (16, 5.4, {"context_tokens": 41_000}, False),
        (16, 5.4, {"context_tokens": 41_000, "kv_cache_dtype": "fp8"}, True),
        (16, 3.8, {"context_tokens": 41_000}, True),
        (8, 8.6, {"context_tokens": 41_000}, False),
    ],
)
def test_what_does_not_fit_is_refused_with_what_would(
    tmp_path: Path, card: int, weights: float, settings: dict[str, Any], starts: bool
) -> None:
    told = nullcontext() if starts else pytest.raises(PartUnavailable, match=r"room for requests of \d+ tokens beside")
    with told:
        require_room(serving(tmp_path, weights, **settings), card * GIB)


def test_a_step_on_a_gpu_holds_one_item_and_what_a_site_sets_counts(tmp_path: Path) -> None:
    plain = serving(tmp_path)
    assert gpu_step(plain) == ONE_ITEM
    given = gpu_arguments(plain)
    assert "--no-async-scheduling" in given
    assert dict(pairwise(given))["--kv-cache-dtype"] == "auto"
    own = gpu_arguments(serving(tmp_path, step_tokens=50_000, kv_cache_dtype="fp8", async_scheduling=True))
    assert "--async-scheduling" in own
    assert dict(pairwise(own)) | {"--max-num-batched-tokens": "50000", "--kv-cache-dtype": "fp8"} == dict(pairwise(own))


def test_a_step_of_a_family_without_volumes_holds_its_longest_request(tmp_path: Path) -> None:
    text = serving(tmp_path)
    (tmp_path / "config.json").write_bytes(orjson.dumps({"architectures": ["GPT2LMHeadModel"], "n_positions": 1024}))
    assert gpu_step(replace(text, release=ModelRelease.model_construct(family=BIOMEDLM.name))) == 1024


@pytest.mark.parametrize("asked", [10_000, 200_000])
def test_a_request_into_which_no_study_fits_or_that_the_model_does_not_know_is_refused(
    tmp_path: Path, asked: int
) -> None:
    with pytest.raises(PartUnavailable, match="this model needs 40567 for one item with its text, and has 131072"):
        context_length(serving(tmp_path, context_tokens=asked))


def test_numbers_of_the_cache_that_nobody_knows_are_refused() -> None:
    with pytest.raises(PartUnavailable, match="must be auto or fp8"):
        ServerSettings(kv_cache_dtype="int3")
