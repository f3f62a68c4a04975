"""The model runtime without a server: windows, the untrained checkpoint, its release, and how a conversation is written."""

from __future__ import annotations

import json
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from schemas.codes import LABELS
from schemas.errors import PartUnavailable
from schemas.inference import VolumeItem
from workflows.reading.prompt import build_request

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:torch"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:transformers"),
    pytest.mark.filterwarnings("ignore:.*SwigPy.*:DeprecationWarning"),
]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from model_runtime.checkpoint import build_checkpoint

    return build_checkpoint(tmp_path_factory.mktemp("cache"))


# -- voxels ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("low", "high"), [(-1024, 1024), (-135, 215), (0, 80)])
def test_a_window_is_what_the_model_card_says(low: int, high: int) -> None:
    """Clip to the window, scale to 0..255, round: for every value that int16 has."""
    from model_runtime.windows import window_table

    table = window_table(low, high)
    assert (table[low + 32768], table[high + 32768]) == (0, 255)
    assert (table[0], table[65535]) == (0, 255)
    for value in range(low, high, 7):
        assert table[value + 32768] == round((value - low) / (high - low) * 255.0)


def test_slices_reach_siglip_in_batches_as_they_would_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from model_runtime import windows

    voxels = torch.from_numpy(np.random.default_rng(1).integers(-1100, 1500, (19, 40, 50), np.int16))
    alone = torch.cat([b for v in voxels for b in _slice_batches(v[None])])
    assert [len(batch) for batch in _slice_batches(voxels)] == [19]
    monkeypatch.setattr(windows, "ENCODED_PIXELS_AT_ONCE", 16 * 56 * 56)
    monkeypatch.setattr(windows, "PIXELS_AT_ONCE", 3 * 40 * 50)
    batches = _slice_batches(voxels)
    assert [len(batch) for batch in batches] == [16, 3]
    assert torch.equal(torch.cat(batches), alone)
    assert alone.min() >= -1
    assert alone.max() <= 1


def _slice_batches(voxels: Any) -> list[Any]:
    import torch

    from model_runtime.windows import slice_batches

    return list(slice_batches(voxels, hounsfield=True, size=56, dtype=torch.float32))


def test_a_volume_without_hounsfield_units_is_scaled_over_all_its_slices() -> None:
    import torch

    from model_runtime.windows import slice_batches

    voxels = torch.zeros((2, 56, 56), dtype=torch.int16)
    voxels[1] = 900
    first, second = next(slice_batches(voxels, hounsfield=False, size=56, dtype=torch.float32))
    assert (float(first.max()), float(second.min())) == (-1.0, 1.0)


def test_deep_stacks_are_sampled_as_the_weights_were_trained() -> None:
    """MedGemma 1.5's rule, round(i / 85 * (n - 1)) for i = 1..85, against numpy's rounding; every slice of a stack that fits."""
    from schemas.volume import MAX_MODEL_SLICES, model_slices

    for depth in (1, 7, 84, 85):
        assert model_slices(depth) == list(range(depth))
    for depth in (86, 87, 128, 170, 300, 511, 600, 2001):
        shown = model_slices(depth)
        assert shown == np.round(np.arange(1, 86) / 85 * (depth - 1)).astype(int).tolist()
        assert shown == sorted(set(shown))
        assert (len(shown), shown[0] > 0, shown[-1]) == (MAX_MODEL_SLICES, True, depth - 1)


@pytest.mark.parametrize("samples", [1, 3])
def test_pictures_reach_siglip_with_their_own_grey_levels(samples: int) -> None:
    import torch

    from model_runtime.windows import picture_batches

    pixels = torch.from_numpy(np.random.default_rng(2).integers(0, 256, (19, 56, 56, samples), np.uint8))
    together = torch.cat(list(picture_batches(pixels, size=56, dtype=torch.float32)))
    assert torch.equal(together, (pixels.permute(0, 3, 1, 2).expand(-1, 3, -1, -1).float() / 255 - 0.5) / 0.5)


def test_the_patches_of_a_slide_are_encoded_a_few_at_a_time() -> None:
    """125 of MedGemma's own size at once would need several gigabytes."""
    import torch

    from model_runtime.windows import picture_batches

    pixels = torch.zeros((1, 1, 1, 1), dtype=torch.uint8).expand(35, 896, 896, 3)
    assert [len(batch) for batch in picture_batches(pixels, size=896, dtype=torch.bfloat16)] == [16, 16, 3]


# -- the checkpoint ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer.json", "tokenizer.model", "merges.txt", "chat_template.jinja"]
)
def test_a_checkpoint_whose_tokenizer_or_configuration_was_changed_is_not_served(
    checkpoint: Path, tmp_path: Path, name: str
) -> None:
    """The weights alone do not make an answer: with another tokenizer the same question is another one."""
    from model_runtime.release import read_release

    copy = Path(shutil.copytree(checkpoint, tmp_path / "copy"))
    read_release(copy)
    with (copy / name).open("ab") as file:
        file.write(b" ")
    with pytest.raises(PartUnavailable, match=r"release\.json"):
        read_release(copy)


def test_the_untrained_checkpoint_is_the_same_bytes_wherever_it_is_built(checkpoint: Path, tmp_path: Path) -> None:
    from model_runtime.checkpoint import build_checkpoint

    again = build_checkpoint(tmp_path)
    assert again.name == checkpoint.name
    names = sorted(path.name for path in checkpoint.iterdir())
    assert names == sorted(path.name for path in again.iterdir())
    for name in names:
        assert (checkpoint / name).read_bytes() == (again / name).read_bytes(), name
    assert build_checkpoint(tmp_path) == again


def test_a_link_names_the_checkpoint_wherever_their_volume_is_mounted(checkpoint: Path, tmp_path: Path) -> None:
    """In a cluster one Pod builds it, and others mount the volume under another name."""
    from model_runtime.checkpoint import link_checkpoint

    volume = tmp_path / "volume"
    volume.mkdir()
    older, newer = volume / "untrained-1", volume / "untrained-2"
    for folder in (older, newer):
        shutil.copytree(checkpoint, folder)
        link_checkpoint(folder, volume / "current")
    volume.rename(tmp_path / "elsewhere")
    linked = tmp_path / "elsewhere" / "current"
    assert (linked / "release.json").is_file()
    assert linked.resolve().name == "untrained-2"
    assert sorted(path.name for path in linked.parent.iterdir()) == ["current", "untrained-1", "untrained-2"]


def test_it_loads_by_the_class_that_loads_medgemma(checkpoint: Path) -> None:
    """No weight is missing, none is left over."""
    from transformers import Gemma3ForConditionalGeneration

    _, loaded = Gemma3ForConditionalGeneration.from_pretrained(
        checkpoint, output_loading_info=True, local_files_only=True
    )
    assert not loaded["missing_keys"]
    assert not loaded["unexpected_keys"]
    assert not loaded["mismatched_keys"]


def test_its_release_says_that_it_is_untrained(checkpoint: Path) -> None:
    from model_runtime.release import read_release

    release = read_release(checkpoint)
    assert (release.name, release.trained) == ("untrained", False)
    assert release.served_model_name == f"untrained-{release.weights_sha256[:12]}"
    assert "meaningless" in release.model_card
    assert "torch" in release.runtime


def test_a_release_that_describes_other_weights_is_refused(tmp_path: Path) -> None:
    from model_runtime.checkpoint import build_checkpoint
    from model_runtime.release import read_release

    folder = build_checkpoint(tmp_path)
    with (folder / "model.safetensors").open("r+b") as weights:
        weights.seek(-1, 2)
        weights.write(b"\x01")
    with pytest.raises(PartUnavailable, match="other weights"):
        read_release(folder)


def test_nobody_can_call_a_trained_checkpoint_untrained(checkpoint: Path) -> None:
    from model_runtime.release import described_release

    with pytest.raises(PartUnavailable, match="random weights"):
        described_release(checkpoint, "untrained", "Somebody")
    assert described_release(checkpoint, "medgemma-1.5-4b-it", "Google").trained


def test_the_words_of_prompt_and_answer_are_few_tokens() -> None:
    from model_runtime.vocabulary import SIZE, build_tokenizer

    tokenizer = build_tokenizer()
    assert tokenizer.get_vocab_size() <= SIZE
    for word in ("detected", "indeterminate", "findings", "presence", *(label.code for label in LABELS)):
        assert len(tokenizer.encode(f'"{word}"', add_special_tokens=False).ids) <= 6, word


# -- the conversation --------------------------------------------------------------------------------------------------


def test_the_prior_comes_first_and_the_question_last() -> None:
    from jinja2 import Environment

    from model_runtime.checkpoint import chat_template

    volumes = [VolumeItem(digest="0" * 64, slices=2, role=role) for role in ("prior", "current")]
    request = build_request("CT", [("pulmonary-nodule", "Pulmonary nodule")], volumes, "routine")
    content = [
        {"type": "text", "text": request.instruction},
        {"type": "text", "text": "STUDY 1"},
        {"type": "video"},
        {"type": "text", "text": "STUDY 2"},
        {"type": "video"},
        {"type": "text", "text": request.query},
    ]
    template = Environment(autoescape=False).from_string(chat_template())
    text = template.render(
        bos_token="<bos>", messages=[{"role": "user", "content": content}], add_generation_prompt=True
    )
    order = [
        text.index(part)
        for part in ("<bos><start_of_turn>user\n", request.instruction, "STUDY 1", "STUDY 2", request.query)
    ]
    assert order == sorted(order)
    assert text.count("<unused10>") == 2
    assert text.endswith("<end_of_turn>\n<start_of_turn>model\n")


def test_a_volume_stands_for_its_slices_in_order() -> None:
    pytest.importorskip("vllm")
    from model_runtime.processor import slices_text

    assert slices_text(3, "<image>") == "<image>SLICE 1<image>SLICE 2<image>SLICE 3\n"


def test_pictures_stand_for_images_without_words_between() -> None:
    """Tokens as the tokenizer would write them: the line feeds of two neighbours are one token."""
    pytest.importorskip("vllm")
    from model_runtime.processor import pictures_tokens
    from model_runtime.vocabulary import build_tokenizer

    tokenizer = build_tokenizer()
    image = "\n\n<start_of_image>" + "<image_soft_token>" * 4 + "<end_of_image>\n\n"
    ids = tokenizer.encode(image, add_special_tokens=False).ids
    for count in (1, 2, 5):
        whole = tokenizer.encode(image * count, add_special_tokens=False).ids
        assert pictures_tokens(count, ids, tokenizer.token_to_id("\n\n\n\n")) == whole


@pytest.mark.parametrize("shape", [(126, 1, 1, 3), (1, 9000, 9000, 1)])
def test_more_or_larger_pictures_than_the_model_takes_are_refused(shape: tuple[int, ...]) -> None:
    pytest.importorskip("vllm")
    from vllm.exceptions import VLLMValidationError

    from model_runtime.containers import DecodedItem, require_servable
    from schemas.pictures import Pictures

    one = np.zeros((1, 1, 1, 1), np.uint8)
    require_servable(DecodedItem(Pictures(np.broadcast_to(one, (125, 896, 896, 3)), "SM"), ""))
    with pytest.raises(VLLMValidationError):
        require_servable(DecodedItem(Pictures(np.broadcast_to(one, shape), "DX"), ""))


def test_the_server_is_started_private_and_by_priority(checkpoint: Path, tmp_path: Path) -> None:
    from model_runtime.release import read_release
    from model_runtime.serving import Serving, arguments, environment, model_length
    from model_runtime.settings import ServerSettings

    settings = ServerSettings(port=1234, max_num_seqs=7, kv_cache_gib=3)
    serving = Serving(checkpoint, read_release(checkpoint), tmp_path, tmp_path / "store", settings)
    given = arguments(serving)
    pairs = dict(pairwise(given))
    assert pairs["--scheduling-policy"] == "priority"
    assert pairs["--allowed-local-media-path"] == str(tmp_path / "store")
    assert "--no-enable-log-requests" in given
    assert json.loads(pairs["--hf-overrides"])["architectures"] == ["LongviewGemma3ForConditionalGeneration"]
    assert model_length(checkpoint) >= 7 * 85 * 4
    assert int(pairs["--max-num-batched-tokens"]) >= 4 * 85 * 4
    assert (pairs["--port"], pairs["--max-num-active-seqs"], pairs["--load-format"]) == ("1234", "7", "safetensors")
    assert int(pairs["--max-num-seqs"]) > 7, "places of urgent requests"
    surroundings = environment(serving, {"OMP_NUM_THREADS": "7", "HF_HUB_OFFLINE": "0"})
    assert (surroundings["OMP_NUM_THREADS"], surroundings["HF_HUB_OFFLINE"]) == ("7", "1")
    assert surroundings["VLLM_CPU_KVCACHE_SPACE"] == "3"
    assert surroundings["VLLM_USE_FLASHINFER_SAMPLER"] == "0", "the GPU image cannot compile it (vllm#49497)"
