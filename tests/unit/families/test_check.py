"""`longview model check`: an operator with a folder of weights learns on one screen whether it can be served, and what is missing."""

from __future__ import annotations

import json
import re
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from model_runtime.families.check import check_folder
from model_runtime.families.layout import layout_of
from model_runtime.families.screen import screen
from schemas.families import BIOMEDLM, LLAVA_MED, MEDGEMMA, ModelFamily

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
GIB = 1024**3
MEDGEMMA_CONFIG: dict[str, Any] = {
    "architectures": ["Gemma3ForConditionalGeneration"],
    "mm_tokens_per_image": 256,
    "dtype": "bfloat16",
    "text_config": {
        "model_type": "gemma3_text", "vocab_size": 262208, "hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 34,
        "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256, "max_position_embeddings": 131072,
    },
    "vision_config": {
        "hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27, "num_attention_heads": 16, "image_size": 896, "patch_size": 14,
    },
}  # fmt: skip
"""The dimensions of the released MedGemma 1.5 4B."""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Callable[[ModelFamily], Path]:
    from model_runtime.checkpoint import build_checkpoint

    cache = tmp_path_factory.mktemp("cache")
    return lambda family: build_checkpoint(cache, family)


@pytest.fixture
def copied(built: Callable[[ModelFamily], Path], tmp_path: Path) -> Callable[[ModelFamily], Path]:
    """A folder of its own, to be spoilt."""
    return lambda family: Path(shutil.copytree(built(family), tmp_path / family.name))


def write_sparse(path: Path, tensors: dict[str, tuple[tuple[int, ...], str, int]]) -> None:
    """A safetensors file of the right size whose numbers were never written."""
    header, offset = {}, 0
    for name, (shape, dtype, size) in tensors.items():
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    document = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(document)) + document)
        file.truncate(8 + len(document) + offset)


def sentences(folder: Path) -> str:
    report = check_folder(folder)
    assert not report.servable
    return "\n".join(problem.sentence for problem in report.problems)


# -- what can be served ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", [MEDGEMMA, LLAVA_MED, BIOMEDLM], ids=lambda family: str(family.name))
def test_each_untrained_checkpoint_can_be_served(built: Callable[[ModelFamily], Path], family: ModelFamily) -> None:
    report = check_folder(built(family))
    release = json.loads((built(family) / "release.json").read_text())
    assert (report.problems, report.family) == ([], family)
    assert (report.digest, report.release) == (release["weights_sha256"], release["served_model_name"])
    assert release["family"] == family.name
    assert "can be served" in screen(report)


def test_the_released_medgemmas_dimensions_are_understood_in_a_moment(tmp_path: Path) -> None:
    """8 GB of weights in two files; nothing but headers is read."""
    tensors = {n: (s, "BF16", 2 * _product(s)) for n, s in layout_of(MEDGEMMA, MEDGEMMA_CONFIG).items()}
    names = sorted(tensors)
    halves = {f"model-0000{k + 1}-of-00002.safetensors": names[k::2] for k in range(2)}
    for file, held in halves.items():
        write_sparse(tmp_path / file, {name: tensors[name] for name in held})
    where = {name: file for file, held in halves.items() for name in held}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
    (tmp_path / "config.json").write_text(json.dumps(MEDGEMMA_CONFIG))
    began = time.process_time()
    report = check_folder(tmp_path, digest=False)
    assert time.process_time() - began < 2.0
    assert report.parameters == 4_300_079_472
    assert report.stored_bytes == 2 * report.parameters
    at = report.memory
    assert 8.0 * GIB < at["bf16"].weights < 8.1 * GIB
    assert at["int4"].weights < at["int8"].weights < 0.65 * at["bf16"].weights
    assert at["bf16"].keys_values == report.longest_request * 34 * 4 * 256 * 2 * 2
    assert {problem.code for problem in report.problems} == {"model-files", "model-release"}


@pytest.mark.parametrize(
    ("family", "config", "parameters"),
    [
        (
            LLAVA_MED,
            {
                "text_config": {
                    "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
                    "num_key_value_heads": 8,
                },
                "vision_config": {
                    "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16, "image_size": 336,
                    "patch_size": 14,
                },
            },
            7_241_732_096 + 303_507_456 + 20_979_712,
        ),
        (
            BIOMEDLM,
            {"vocab_size": 28896, "n_positions": 1024, "n_embd": 2560, "n_layer": 32, "n_head": 20},
            32 * (12 * 2560**2 + 13 * 2560) + (28896 + 1024 + 2) * 2560,
        ),
    ],
)  # fmt: skip
def test_the_published_dimensions_give_the_published_number_of_parameters(
    family: ModelFamily, config: dict[str, Any], parameters: int
) -> None:
    """Mistral-7B, CLIP ViT-L/14-336 and the projector; a GPT-2 of 32 layers and 2560 numbers."""
    assert sum(_product(shape) for shape in layout_of(family, config).values()) == parameters


def _product(shape: tuple[int, ...]) -> int:
    result = 1
    for side in shape:
        result *= side
    return result


# -- what cannot -------------------------------------------------------------------------------------------------------


def test_a_folder_that_is_no_checkpoint(tmp_path: Path) -> None:
    assert "no config.json" in sentences(tmp_path)
    assert "no config.json" in sentences(tmp_path / "nowhere")
    (tmp_path / "config.json").write_text('{"architectures": ["BertModel"]}')
    assert "BertModel, which no family has" in sentences(tmp_path)


def test_half_a_download_names_the_file_that_is_missing(tmp_path: Path) -> None:
    where = {"a": "model-00001-of-00003.safetensors", "b": "model-00003-of-00003.safetensors"}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
    (tmp_path / "config.json").write_text(json.dumps(MEDGEMMA_CONFIG))
    write_sparse(tmp_path / "model-00001-of-00003.safetensors", {"a": ((4,), "BF16", 8)})
    assert "model-00003-of-00003.safetensors is missing (1 of 2 files)" in sentences(tmp_path)


@pytest.mark.parametrize("left", [0, 5, 200, 300_000])
def test_a_file_that_is_cut_off_is_told_from_a_whole_one(copied: Callable[[ModelFamily], Path], left: int) -> None:
    folder = copied(MEDGEMMA)
    with (folder / "model.safetensors").open("r+b") as weights:
        weights.truncate(left)
    assert "download it again" in sentences(folder)


def test_a_publishers_folder_is_to_be_converted_first(copied: Callable[[ModelFamily], Path]) -> None:
    for family, change in ((LLAVA_MED, {"architectures": ["LlavaMistralForCausalLM"]}),
                           (BIOMEDLM, {"scale_attn_by_inverse_layer_idx": True})):  # fmt: skip
        folder = copied(family)
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | change))
        assert f"this is {family.title} as its publisher gives it: convert it first" in sentences(folder)


def test_weights_of_other_dimensions_are_told_apart_from_missing_ones(copied: Callable[[ModelFamily], Path]) -> None:
    folder = copied(BIOMEDLM)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"n_layer": 4, "n_embd": 256, "n_head": 4}))
    told = sentences(folder)
    assert "tensors are missing: transformer.h.3." in told
    assert "have another shape than config.json says: transformer.wte.weight is [1024, 128], not [1024, 256]" in told


def test_the_tokens_that_vllm_looks_up_are_asked_for(copied: Callable[[ModelFamily], Path]) -> None:
    folder = copied(MEDGEMMA)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["added_tokens"] = [t for t in tokenizer["added_tokens"] if t["content"] not in ("\n\n", "<unused10>")]
    for word in ("\n\n", "<unused10>"):
        tokenizer["model"]["vocab"].pop(word, None)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    assert r"the tokenizer has no single token '\n\n', '<unused10>'" in sentences(folder)


def test_what_our_chat_template_writes_for_a_container_is_asked_for() -> None:
    from model_runtime.checkpoint import chat_template
    from model_runtime.families.check import NEEDED_TOKENS

    written = set(re.findall(r"<unused\d+>", chat_template()))
    assert written
    assert written <= set(NEEDED_TOKENS[MEDGEMMA.name])


def test_missing_files_and_a_stale_release_are_named(copied: Callable[[ModelFamily], Path]) -> None:
    folder = copied(LLAVA_MED)
    (folder / "chat_template.jinja").unlink()
    (folder / "preprocessor_config.json").unlink()
    with (folder / "model.safetensors").open("r+b") as weights:
        weights.seek(-1, 2)
        weights.write(b"\x01")
    told = sentences(folder)
    assert "chat_template.jinja is missing: convert the folder anew" in told
    assert "preprocessor_config.json is missing" in told
    assert "release.json describes other weights and another runtime, configuration or tokenizer" in told
    (folder / "release.json").unlink()
    assert "release.json is missing or broken: run `python -m model_runtime describe`" in sentences(folder)


# -- quantized checkpoints ---------------------------------------------------------------------------------------------


def quantize(folder: Path, packed: bool, method: str = "compressed-tensors") -> None:
    """The names that compressed-tensors writes for W4A16 (packed) and W8A8."""
    from safetensors.torch import load_file

    from model_runtime.families.memory import is_quantized

    stored: dict[str, tuple[tuple[int, ...], str, int]] = {}
    for name, tensor in load_file(folder / "model.safetensors").items():
        shape = tuple(tensor.shape)
        if not is_quantized(name, shape):
            stored[name] = (shape, "BF16", 2 * _product(shape))
            continue
        stored[f"{name}_scale"] = ((shape[0], 1), "BF16", 2 * shape[0])
        if packed:
            stored[f"{name}_packed"] = ((shape[0], shape[1] // 8), "I32", _product(shape) // 2)
            stored[f"{name}_shape"] = ((2,), "I64", 16)
        else:
            stored[name] = (shape, "I8", _product(shape))
    write_sparse(folder / "model.safetensors", stored)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": {"quant_method": method}}))


@pytest.mark.parametrize("packed", [True, False], ids=["int4", "int8"])
def test_a_quantized_checkpoint_is_complete_with_its_scales(
    copied: Callable[[ModelFamily], Path], packed: bool
) -> None:
    folder = copied(MEDGEMMA)
    quantize(folder, packed)
    report = check_folder(folder)
    assert {problem.code for problem in report.problems} == {"model-release"}, report.problems
    assert list(report.memory) == ["as stored"]
    assert report.memory["as stored"].weights == report.stored_bytes < 2 * report.parameters


def test_weights_quantized_in_a_way_that_is_not_served_are_refused(copied: Callable[[ModelFamily], Path]) -> None:
    folder = copied(MEDGEMMA)
    quantize(folder, packed=True, method="bitsandbytes")
    assert "quantized by bitsandbytes, which is not served here" in sentences(folder)


# -- the command -------------------------------------------------------------------------------------------------------


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "services.cli", "model", *arguments], capture_output=True, text=True
    )


def test_the_command_ends_with_the_childs_status_and_speaks_json(
    built: Callable[[ModelFamily], Path], tmp_path: Path
) -> None:
    good = command("check", str(built(BIOMEDLM)), "--json")
    document = json.loads(good.stdout)
    assert (good.returncode, document["servable"], document["family"]) == (0, True, "biomedlm")
    assert set(document["memory_bytes"]) == {"fp32", "bf16", "int8", "int4"}
    bad = command("check", str(tmp_path))
    assert bad.returncode == 1
    assert "CANNOT be served" in bad.stdout
    assert "--from" in command("convert", "--help").stdout


def test_checking_imports_neither_torch_nor_vllm(built: Callable[[ModelFamily], Path]) -> None:
    script = (
        "import sys; from pathlib import Path; from model_runtime.families.check import check_folder; "
        f"report = check_folder(Path({str(built(MEDGEMMA))!r})); "
        "print(report.servable, {'torch', 'vllm', 'transformers'} & set(sys.modules))"
    )
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "True set()"
