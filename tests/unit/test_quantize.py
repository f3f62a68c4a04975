"""Rounding a checkpoint to 8 and 4 bit: how far a weight moves, what is packed, what stays, and when it is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from model_runtime.quantize.layouts import Scheme, layout_of, matrices_of, scheme_of
from schemas.errors import PartUnavailable
from schemas.inference import ModelRelease

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:torch"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:transformers"),
    pytest.mark.filterwarnings("ignore:.*SwigPy.*:DeprecationWarning"),
]

SCHEMES = [Scheme(8, None), Scheme(4, 32), Scheme(4, 128)]
MODULE = "language_model.model.layers.0.mlp.down_proj"
FLOAT32_SLACK = 2e-5
"""Of a step: what float32 loses in 127.5 steps."""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from model_runtime.checkpoint import build_checkpoint

    return build_checkpoint(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def copy(checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoint, tmp_path / "copy"))


def quantize(checkpoint: Path, out: Path, bits: Any = 8) -> Path:
    from model_runtime.quantize.folder import quantize_checkpoint

    return quantize_checkpoint(checkpoint, out, bits)


def tensors_of(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return {name: tensor for path in sorted(folder.glob("*.safetensors")) for name, tensor in load_file(path).items()}


def module_of(tensors: dict[str, Any], module: str) -> dict[str, Any]:
    prefix = module + "."
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix + "weight")}


# -- rounding ----------------------------------------------------------------------------------------------------------


@st.composite
def matrices(draw: st.DrawFn) -> Any:
    """Rows of very different size, as a trained model has them, with outliers and rows of zeros; in bfloat16."""
    import torch

    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    exponents = draw(st.lists(st.integers(-20, 12), min_size=32, max_size=32))
    values = rng.standard_normal((32, 256)) * np.exp2(exponents)[:, None]
    values[rng.random(values.shape) < draw(st.sampled_from([0.0, 0.01]))] *= 50
    values[: draw(st.integers(0, 2))] = 0
    if draw(st.booleans()):
        values[-1] = np.abs(values[-1])  # a row of one sign has its extreme on one side alone
    return torch.from_numpy(values).to(torch.bfloat16)


@pytest.mark.parametrize("scheme", SCHEMES, ids=["w8a8", "w4a16-32", "w4a16-128"])
@given(weight=matrices())
@settings(max_examples=40, deadline=None)
def test_no_weight_moves_by_more_than_half_a_step_of_its_channel_or_group(scheme: Scheme, weight: Any) -> None:
    from model_runtime.quantize.rounding import quantized, restored

    stored = quantized(weight, scheme)
    step = stored["weight_scale"].double().repeat_interleave(scheme.group or weight.shape[1], dim=1)
    moved = (restored(stored, scheme).double() - weight.double()).abs()
    assert bool((moved <= step * (0.5 + FLOAT32_SLACK)).all())
    assert sum(t.numel() * t.element_size() for t in stored.values()) == scheme.stored_bytes(*weight.shape)


@given(weight=matrices())
@settings(max_examples=20, deadline=None)
def test_what_is_packed_are_the_nearest_of_sixteen_steps(weight: Any) -> None:
    """Unpacked by the library, compared with numpy's own rounding."""
    from compressed_tensors.compressors.pack_quantized import unpack_from_int32

    from model_runtime.quantize.rounding import quantized

    stored = quantized(weight, Scheme(4, 32))
    unpacked = unpack_from_int32(stored["weight_packed"], 4, stored["weight_shape"]).numpy()
    steps = np.repeat(stored["weight_scale"].float().numpy(), 32, axis=1)
    assert stored["weight_packed"].shape == (32, 256 // 8)
    assert np.array_equal(unpacked, np.clip(np.rint(weight.float().numpy() / steps), -8, 7).astype(np.int8))


def test_rows_are_rounded_alike_however_many_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of rows bound the memory, and no row depends on another."""
    import torch

    from model_runtime.quantize.rounding import quantized

    weight = torch.randn((96, 128), generator=torch.Generator().manual_seed(2)).to(torch.bfloat16)
    for scheme in SCHEMES:
        whole = quantized(weight, scheme)
        with monkeypatch.context() as patch:
            patch.setattr("model_runtime.quantize.rounding.ROWS_AT_ONCE", 40)
            blocks = quantized(weight, scheme)
        assert whole.keys() == blocks.keys()
        assert all(torch.equal(whole[name], blocks[name]) for name in whole)


def test_weights_that_are_not_numbers_are_refused_and_nothing_is_left(copy: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    from model_runtime.release import untrained_release, write_release

    tensors = tensors_of(copy)
    tensors[f"{MODULE}.weight"][3, 5] = float("nan")
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    write_release(copy, untrained_release(copy))
    with pytest.raises(PartUnavailable, match="quantize-weights"):
        quantize(copy, tmp_path / "out" / "w8a8")
    assert list((tmp_path / "out").iterdir()) == []


# -- a folder ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bits", "stored"), [(8, {"weight", "weight_scale"}), (4, {"weight_packed", "weight_scale", "weight_shape"})]
)
def test_only_the_language_models_matrices_change(
    checkpoint: Path, tmp_path: Path, bits: int, stored: set[str]
) -> None:
    before, after = tensors_of(checkpoint), tensors_of(quantize(checkpoint, tmp_path / "out", bits))
    config = json.loads((checkpoint / "config.json").read_bytes())
    shapes = {name: tuple(tensor.shape) for name, tensor in before.items()}
    chosen = matrices_of(layout_of(config), config, shapes)
    assert len(chosen) == 7 * config["text_config"]["num_hidden_layers"]
    for name, tensor in before.items():
        if name in chosen:
            assert set(module_of(after, name.removesuffix(".weight"))) == stored
        else:
            assert after[name].dtype == tensor.dtype
            assert bool((after[name] == tensor).all()), name
    assert len(after) == len(before) + len(chosen) * (len(stored) - 1)


@pytest.mark.parametrize("bits", [8, 4])
def test_equal_weights_give_equal_bytes(checkpoint: Path, tmp_path: Path, bits: int) -> None:
    one, two = quantize(checkpoint, tmp_path / "one", bits), quantize(checkpoint, tmp_path / "two", bits)
    names = sorted(path.name for path in one.iterdir())
    assert names == sorted(path.name for path in two.iterdir())
    assert all((one / name).read_bytes() == (two / name).read_bytes() for name in names)


def test_a_quantized_model_is_a_release_of_its_own_that_names_its_parent(checkpoint: Path, tmp_path: Path) -> None:
    from model_runtime.release import read_release

    parent, release = read_release(checkpoint), read_release(quantize(checkpoint, tmp_path / "out", 4))
    assert (release.name, release.quantization) == ("untrained-w4a16", "w4a16")
    assert release.parent_sha256 == parent.weights_sha256 != release.weights_sha256
    assert release.served_model_name == f"untrained-w4a16-{release.weights_sha256[:12]}"
    assert release.trained is parent.trained
    assert release.model_card.startswith(parent.model_card)
    assert "accuracy was not measured" in release.model_card


def test_releases_of_before_still_load(checkpoint: Path) -> None:
    record = json.loads((checkpoint / "release.json").read_bytes())
    del record["quantization"], record["parent_sha256"]
    assert ModelRelease.model_validate(record).quantization is None


def test_memory_holds_one_shard_and_every_tensor_is_in_one(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tensors_of(quantize(checkpoint, tmp_path / "whole"))
    limit = 100_000
    monkeypatch.setattr("model_runtime.quantize.folder.SHARD_BYTES", limit)
    saved: list[int] = []
    from safetensors import torch as saver

    def save(tensors: dict[str, Any], *rest: Any, **more: Any) -> None:
        saved.append(sum(t.numel() * t.element_size() for t in tensors.values()))
        stock(tensors, *rest, **more)

    stock = saver.save_file
    monkeypatch.setattr(saver, "save_file", save)
    parts = quantize(checkpoint, tmp_path / "parts")
    largest = max(t.numel() * t.element_size() for t in whole.values())
    assert len(saved) == len(list(parts.glob("model-*-of-*.safetensors"))) > 3
    assert max(saved) <= max(limit, largest)
    index = json.loads((parts / "model.safetensors.index.json").read_bytes())
    again = tensors_of(parts)
    assert index["weight_map"].keys() == whole.keys() == again.keys()
    assert index["metadata"]["total_size"] == sum(saved)
    assert all(bool((again[name] == tensor).all()) for name, tensor in whole.items())


def test_a_checkpoint_in_parts_is_read_by_its_index(checkpoint: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    from model_runtime.release import untrained_release, write_release

    folder = Path(shutil.copytree(checkpoint, tmp_path / "parts", ignore=shutil.ignore_patterns("*.safetensors")))
    places: dict[str, str] = {}
    tensors = tensors_of(checkpoint)
    for number, names in enumerate((sorted(tensors)[::2], sorted(tensors)[1::2])):
        save_file({name: tensors[name] for name in names}, folder / f"part-{number}.safetensors")
        places |= dict.fromkeys(names, f"part-{number}.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    write_release(folder, untrained_release(folder))
    one, two = quantize(checkpoint, tmp_path / "one"), quantize(folder, tmp_path / "two")
    assert (one / "model.safetensors").read_bytes() == (two / "model.safetensors").read_bytes()
    (folder / "part-1.safetensors").unlink()
    with pytest.raises(PartUnavailable, match=r"part-1\.safetensors is missing"):
        quantize(folder, tmp_path / "three")


# -- the families ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "model."])
@pytest.mark.parametrize("kind", ["gemma3", "llava"])
def test_what_stays_is_ignored_under_every_name_that_vllm_gives_it(kind: str, prefix: str) -> None:
    """`match_name` is how compressed-tensors reads the list, and vLLM matches the parts of its fused modules alike."""
    from compressed_tensors.utils.match import match_name

    ignore = layout_of({"model_type": kind}).ignore
    stay = [
        f"{prefix}vision_tower.vision_model.encoder.layers.3.self_attn.q_proj",
        f"{prefix}vision_tower.vision_model.encoder.layers.3.mlp.fc1",
        f"{prefix}multi_modal_projector.linear_1",
        "lm_head",
        "language_model.lm_head",
    ]
    change = [
        MODULE,
        "language_model.model.layers.33.self_attn.qkv_proj",
        "language_model.model.layers.1.mlp.gate_up_proj",
    ]
    assert all(any(match_name(name, pattern) for pattern in ignore) for name in stay)
    assert not any(match_name(name, pattern) for name in change for pattern in ignore)


def gpt2(folder: Path, width: int = 64) -> Path:
    """BioMedLM's layout in small: matrices are [inputs, outputs]."""
    import torch
    from safetensors.torch import save_file

    from model_runtime.release import untrained_release, write_release

    folder.mkdir()
    config = {
        "model_type": "gpt2",
        "architectures": ["GPT2LMHeadModel"],
        "n_embd": width,
        "n_layer": 1,
        "torch_dtype": "float32",
    }
    (folder / "config.json").write_text(json.dumps(config))
    sides = {"attn.c_attn": 3 * width, "attn.c_proj": width, "mlp.c_fc": 4 * width}
    shapes = {f"{name}.weight": (width, out) for name, out in sides.items()} | {"mlp.c_proj.weight": (4 * width, width)}
    generator = torch.Generator().manual_seed(1)
    tensors = {f"transformer.h.0.{name}": torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    tensors |= {
        "transformer.h.0.attn.c_attn.bias": torch.zeros(3 * width),
        "transformer.wte.weight": torch.zeros(96, width),
    }
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    write_release(folder, untrained_release(folder))
    return folder


@pytest.mark.parametrize("scheme", [Scheme(8, None), Scheme(4, 32)], ids=["w8a8", "w4a16"])
def test_biomedlms_transposed_matrices_have_their_scales_along_the_outputs(tmp_path: Path, scheme: Scheme) -> None:
    """vLLM's GPT-2 transposes what is named `weight` and nothing else."""
    from model_runtime.quantize.rounding import restored

    before = tensors_of(gpt2(tmp_path / "gpt2"))
    out = quantize(tmp_path / "gpt2", tmp_path / "out", scheme.bits)
    after = tensors_of(out)
    for name, outputs in (("attn.c_attn", 192), ("mlp.c_proj", 64)):
        stored = module_of(after, f"transformer.h.0.{name}")
        assert stored["weight_scale"].shape[0] == outputs
        if scheme.bits == 8:
            stored["weight"] = stored["weight"].t()
        moved = (restored(stored, scheme).t() - before[f"transformer.h.0.{name}.weight"]).abs()
        assert float(moved.max()) <= 0.51 * float(stored["weight_scale"].float().max())
    config = json.loads((out / "config.json").read_bytes())
    assert config["dtype"] == "bfloat16", "the kernels take no float32"
    assert "torch_dtype" not in config


def test_llava_meds_decoder_is_found() -> None:
    config = {"model_type": "llava", "text_config": {"num_hidden_layers": 1}}
    parts = {f"self_attn.{n}_proj": (64, 64) for n in "qkvo"} | {
        f"mlp.{n}_proj": (64, 64) for n in ("gate", "up", "down")
    }
    shapes: dict[str, tuple[int, ...]] = {
        f"language_model.model.layers.0.{name}.weight": shape for name, shape in parts.items()
    }
    stays: dict[str, tuple[int, ...]] = {
        "language_model.lm_head.weight": (96, 64),
        "multi_modal_projector.linear_1.weight": (64, 32),
        "vision_tower.vision_model.encoder.layers.0.self_attn.q_proj.weight": (32, 32),
    }
    assert matrices_of(layout_of(config), config, shapes | stays).keys() == shapes.keys()


# -- refusals ----------------------------------------------------------------------------------------------------------


def test_groups_are_as_large_as_every_row_allows() -> None:
    assert scheme_of(4, {"a": (64, 256), "b": (32, 128)}).group == 128
    assert scheme_of(4, {"a": (64, 256), "b": (32, 96)}).group == 32
    assert scheme_of(4, {"a": (64, 256)}, 32).group == 32
    with pytest.raises(PartUnavailable, match="quantize-group"):
        scheme_of(4, {"a": (64, 96)}, 128)
    with pytest.raises(PartUnavailable, match="quantize-group"):
        scheme_of(8, {"a": (64, 128)}, 128)


@pytest.mark.parametrize("sides", [(48, 64), (64, 80)])
def test_a_dimension_that_does_not_divide_is_named(sides: tuple[int, int]) -> None:
    with pytest.raises(PartUnavailable, match=f"h.0.mlp is {sides[0]} x {sides[1]}"):
        scheme_of(8, {"h.0.mlp": sides})


def without_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def without_release(folder: Path) -> None:
    (folder / "release.json").unlink()


def without_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def cut_off(folder: Path) -> None:
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[: len(data) // 2])


def with_another_layer(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_bytes())
    config["text_config"]["num_hidden_layers"] += 1
    (folder / "config.json").write_text(json.dumps(config))


def of_another_family(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_bytes())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "mamba"}))


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (without_config, "model-config"),
        (without_release, "model-release"),
        (without_weights, "model-weights"),
        (cut_off, "model-weights"),
        (with_another_layer, "quantize-incomplete"),
        (of_another_family, "quantize-family"),
    ],
)
def test_a_checkpoint_that_is_not_whole_is_refused(
    copy: Path, tmp_path: Path, spoil: Callable[[Path], None], code: str
) -> None:
    spoil(copy)
    with pytest.raises(PartUnavailable) as refused:
        quantize(copy, tmp_path / "out")
    assert refused.value.code == code
    assert refused.value.hint
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]


def test_nothing_is_quantized_twice_or_written_over(checkpoint: Path, tmp_path: Path) -> None:
    once = quantize(checkpoint, tmp_path / "once")
    with pytest.raises(PartUnavailable, match="quantize-already"):
        quantize(once, tmp_path / "twice", 4)
    (tmp_path / "there").mkdir()
    with pytest.raises(PartUnavailable, match="quantize-target"):
        quantize(checkpoint, tmp_path / "there")


@pytest.fixture
def command() -> Callable[..., Any]:
    from model_runtime.__main__ import main

    return lambda *words: CliRunner().invoke(main, ["quantize", *map(str, words)])


def test_the_command_prints_the_folder(checkpoint: Path, tmp_path: Path, command: Callable[..., Any]) -> None:
    done = command("--checkpoint", checkpoint, "--bits", "4", "--group", "32", "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert done.output.split()[-1] == str(tmp_path / "out")
    again = command("--checkpoint", checkpoint, "--bits", "4", "--out", tmp_path / "out")
    assert isinstance(again.exception, PartUnavailable)
