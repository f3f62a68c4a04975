"""BioMedLM as Stanford CRFM publishes it -> a GPT-2 that vLLM takes.

It was trained with `scale_attn_by_inverse_layer_idx`: in layer i (from 0) the scores of attention are divided by i + 1. vLLM refuses that flag, but
scores are linear in the queries, so that dividing the queries' weight and bias by i + 1 is the same model. `reorder_and_upcast_attn` names an order
of the same arithmetic, with scores in float32, as vLLM's attention has them anyway.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from model_runtime.families.folder import Json, read_config
from model_runtime.families.layout import layout_of
from model_runtime.families.source import Source
from model_runtime.families.tokens import read_tokenizer, require_known, special_token
from model_runtime.families.writing import Piece, require_all, write_json, write_weights
from schemas.errors import PartUnavailable
from schemas.families import BIOMEDLM

if TYPE_CHECKING:
    import torch

_PREFIX = "transformer."
_EMBEDDING, _HEAD = "transformer.wte.weight", "lm_head.weight"


def convert(folder: Path, target: Path, dtype: str) -> str:
    """Everything but release.json into `target`; the SHA-256 of what was read."""
    published, source = read_config(folder), Source(folder)
    _require_published(published)
    tokenizer = read_tokenizer(folder)
    end = special_token(folder, "eos_token", "<|endoftext|>")
    ids = require_known(tokenizer, {"eos_token": end})
    config = _config(published) | {"dtype": dtype}
    prefix = _PREFIX if any(name.startswith(_PREFIX) for name in source.shapes) else ""
    pieces = [_piece(name, shape, prefix, published) for name, shape in layout_of(BIOMEDLM, config).items()]
    require_all(source, pieces, _left_out)
    _require_tied(source, prefix)
    write_weights(target, [(source, pieces)], config["dtype"])
    tokenizer.save(str(target / "tokenizer.json"))
    write_json(target / "config.json", config)
    write_json(target / "generation_config.json", {"eos_token_id": ids["eos_token"], "pad_token_id": ids["eos_token"]})
    write_json(
        target / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            **dict.fromkeys(("bos_token", "eos_token", "pad_token", "unk_token"), end),
            "model_max_length": BIOMEDLM.context,
        },
    )
    return source.digest()


def _piece(name: str, shape: tuple[int, ...], prefix: str, published: Json) -> Piece:
    source = prefix + name.removeprefix(_PREFIX)
    if ".attn.c_attn." not in name or not published.get("scale_attn_by_inverse_layer_idx"):
        return Piece(name, source, shape)
    layer = int(name.split(".h.")[1].split(".")[0])
    return Piece(name, source, shape, partial(fold_queries, layer=layer))


def fold_queries(tensor: torch.Tensor, layer: int) -> torch.Tensor:
    """The first third of the outputs (of [inputs, 3 * width] or [3 * width]) divided by `layer` + 1: queries stand before keys and values."""
    folded = tensor.clone()
    folded[..., : tensor.shape[-1] // 3] /= layer + 1
    return folded


def _require_published(config: Json) -> None:
    """What vLLM's GPT-2 takes for granted."""
    for name, needed, default in (("scale_attn_weights", True, True), ("add_cross_attention", False, False)):
        if config.get(name, default) != needed:
            raise PartUnavailable("model-config", f"config.json says {name} = {config.get(name)}: BioMedLM does not.")


def _left_out(name: str) -> bool:
    """The causal mask, which older transformers saved as buffers, and the head, which is the embedding (`_require_tied`)."""
    return name.endswith((".attn.bias", ".attn.masked_bias")) or name == _HEAD


def _require_tied(source: Source, prefix: str) -> None:
    import torch

    if _HEAD in source.shapes and not torch.equal(
        source.read(_HEAD), source.read(prefix + _EMBEDDING.removeprefix(_PREFIX))
    ):
        raise PartUnavailable("model-tensor", f"{_HEAD} is not the embedding: the checkpoint is not a BioMedLM.")


def _config(published: Json) -> Json:
    kept = (
        "vocab_size", "n_positions", "n_embd", "n_layer", "n_head", "n_inner", "activation_function", "layer_norm_epsilon",
        "bos_token_id", "eos_token_id",
    )  # fmt: skip
    return {name: published[name] for name in kept if name in published} | {
        "architectures": [BIOMEDLM.stored_architecture],
        "model_type": "gpt2",
        "scale_attn_weights": True,
        "scale_attn_by_inverse_layer_idx": False,
        "reorder_and_upcast_attn": False,
        "tie_word_embeddings": True,
    }
