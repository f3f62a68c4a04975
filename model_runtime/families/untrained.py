"""Untrained checkpoints of the two other families: random weights in the publisher's own layout, put through the very conversion that the real ones
go through. What they say is meaningless.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from model_runtime.families.convert import write_converted
from model_runtime.families.folder import Json
from model_runtime.families.layout import layout_of
from model_runtime.families.llava_med import CLIP_LARGE_336_NAME, published_name
from model_runtime.families.writing import write_json
from schemas.families import BIOMEDLM, LLAVA_MED, ModelFamily

if TYPE_CHECKING:
    import torch

VOCABULARY = 1024
MISTRAL: Json = {
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": VOCABULARY,
}
CLIP: Json = {
    "model_type": "clip_vision_model",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": 56,
    "patch_size": 14,
    "projection_dim": 64,
    "hidden_act": "quick_gelu",
}
GPT2: Json = {
    "vocab_size": VOCABULARY,
    "n_positions": BIOMEDLM.context,
    "n_embd": 128,
    "n_layer": 3,
    "n_head": 2,
    "n_inner": None,
}
"""Heads of 32 and 64: CPU attention takes 32, 64 or 128."""


def write_untrained(family: ModelFamily, folder: Path) -> str:
    """All of an untrained checkpoint but its release, in `folder`; the SHA-256 of the published weights that were made up for it."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as name:
        published = Path(name)
        if family is LLAVA_MED:
            tower = published / "tower"
            tower.mkdir()
            _write_llava(published, tower)
            return write_converted(family, published, folder, tower)
        _write_biomedlm(published)
        return write_converted(family, published, folder)


def _write_llava(published: Path, tower: Path) -> None:
    from model_runtime.vocabulary import LLAMA_TOKENS, build_tokenizer

    tokenizer = build_tokenizer(LLAMA_TOKENS, newlines=())
    tokenizer.save(str(published / "tokenizer.json"))
    ids = tokenizer.get_vocab()
    write_json(tower / "config.json", CLIP)
    _write_weights(published, {published_name(n): t for n, t in _random(LLAVA_MED, _llava_shape(), "bfloat16").items()})
    config = MISTRAL | {
        "architectures": [LLAVA_MED.published_architecture],
        "model_type": "llava_mistral",
        "torch_dtype": "bfloat16",
        "hidden_act": "silu",
        "max_position_embeddings": 32768,
        "rms_norm_eps": 1e-5,
        "rope_theta": 1000000.0,
        "sliding_window": None,
        "bos_token_id": ids["<s>"],
        "eos_token_id": ids["</s>"],
        "tie_word_embeddings": False,
        "image_aspect_ratio": "pad",
        "mm_projector_type": "mlp2x_gelu",
        "mm_hidden_size": CLIP["hidden_size"],
        "mm_vision_select_layer": -2,
        "mm_vision_select_feature": "patch",
        "mm_vision_tower": CLIP_LARGE_336_NAME,
    }
    write_json(published / "config.json", config)


def _write_biomedlm(published: Path) -> None:
    from model_runtime.vocabulary import GPT2_TOKENS, build_tokenizer

    tokenizer = build_tokenizer(GPT2_TOKENS, newlines=())
    tokenizer.save(str(published / "tokenizer.json"))
    end = tokenizer.get_vocab()[GPT2_TOKENS[0]]
    _write_weights(published, _random(BIOMEDLM, GPT2, "float32"))
    config = GPT2 | {
        "architectures": [BIOMEDLM.published_architecture],
        "model_type": "gpt2",
        "torch_dtype": "float32",
        "activation_function": "gelu_new",
        "layer_norm_epsilon": 1e-5,
        "bos_token_id": end,
        "eos_token_id": end,
        "scale_attn_by_inverse_layer_idx": True,
        "reorder_and_upcast_attn": False,
    }
    write_json(published / "config.json", config)


def _llava_shape() -> Json:
    return {"text_config": MISTRAL, "vision_config": CLIP}


def _random(family: ModelFamily, config: Json, dtype: str) -> dict[str, torch.Tensor]:
    import torch

    from model_runtime.weights import random_tensor

    return {
        name: random_tensor(name, shape, fresh_norm=1.0).to(getattr(torch, dtype))
        for name, shape in layout_of(family, config).items()
    }


def _write_weights(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    from safetensors.torch import save_file

    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
