"""Names and shapes of every tensor of a folder that can be served, told from its config.json. Pure.

Gemma 3 as Google releases it, LLaVA as the llava-hf checkpoints are laid out (vLLM and transformers read both), GPT-2 as transformers writes it, with
its matrices transposed (`Conv1D`: [inputs, outputs]).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from model_runtime.families.folder import Json, Shape
from model_runtime.weights import Sizes, tensor_shapes
from schemas.errors import PartUnavailable
from schemas.families import BIOMEDLM, LLAVA_MED, MEDGEMMA, ModelFamily

Layout = dict[str, Shape]


def layout_of(family: ModelFamily, config: Json) -> Layout:
    """`PartUnavailable` (`model-config`) if config.json lacks a dimension."""
    try:
        return _LAYOUTS[family.name](config)
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise PartUnavailable("model-config", f"config.json does not give the dimensions of {family.title}.") from error


def _gemma3(config: Json) -> Layout:
    text, vision = config["text_config"], config["vision_config"]
    return dict(
        tensor_shapes(
            Sizes(
                vocabulary=int(text.get("vocab_size", 262208)),
                hidden=int(text["hidden_size"]),
                intermediate=int(text["intermediate_size"]),
                layers=int(text["num_hidden_layers"]),
                heads=int(text.get("num_attention_heads", 8)),
                key_value_heads=int(text.get("num_key_value_heads", 4)),
                head_dim=int(text.get("head_dim", 256)),
                vision_hidden=int(vision["hidden_size"]),
                vision_intermediate=int(vision["intermediate_size"]),
                vision_layers=int(vision["num_hidden_layers"]),
                vision_heads=int(vision["num_attention_heads"]),
                image=int(vision["image_size"]),
                patch=int(vision["patch_size"]),
            )
        )
    )


def _llava(config: Json) -> Layout:
    text, vision = config["text_config"], config["vision_config"]
    hidden, seen = int(text["hidden_size"]), int(vision["hidden_size"])
    projector = {"linear_1": (hidden, seen), "linear_2": (hidden, hidden)}
    layout = dict(_mistral("language_model.", text)) | dict(_clip("vision_tower.vision_model.", vision))
    for name, shape in projector.items():
        layout |= dict(biased(f"multi_modal_projector.{name}", shape))
    return layout


def _mistral(prefix: str, text: Json) -> Iterator[tuple[str, Shape]]:
    hidden, inner, heads = (int(text[k]) for k in ("hidden_size", "intermediate_size", "num_attention_heads"))
    width = int(text.get("head_dim") or hidden // heads)
    keys = int(text.get("num_key_value_heads", 8)) * width
    matrices = {
        "self_attn.q_proj": (heads * width, hidden),
        "self_attn.k_proj": (keys, hidden),
        "self_attn.v_proj": (keys, hidden),
        "self_attn.o_proj": (hidden, heads * width),
        "mlp.gate_proj": (inner, hidden),
        "mlp.up_proj": (inner, hidden),
        "mlp.down_proj": (hidden, inner),
    }
    norms: dict[str, Shape] = {"input_layernorm": (hidden,), "post_attention_layernorm": (hidden,)}
    yield f"{prefix}model.embed_tokens.weight", (int(text["vocab_size"]), hidden)
    yield f"{prefix}model.norm.weight", (hidden,)
    yield f"{prefix}lm_head.weight", (int(text["vocab_size"]), hidden)
    for layer in range(int(text["num_hidden_layers"])):
        for name, shape in (matrices | norms).items():
            yield f"{prefix}model.layers.{layer}.{name}.weight", shape


def _clip(prefix: str, vision: Json) -> Iterator[tuple[str, Shape]]:
    hidden, inner = int(vision["hidden_size"]), int(vision["intermediate_size"])
    patch, side = int(vision["patch_size"]), int(vision["image_size"])
    yield prefix + "embeddings.class_embedding", (hidden,)
    yield prefix + "embeddings.patch_embedding.weight", (hidden, 3, patch, patch)
    yield prefix + "embeddings.position_embedding.weight", ((side // patch) ** 2 + 1, hidden)
    for norm in ("pre_layrnorm", "post_layernorm"):
        yield from biased(prefix + norm, (hidden,))
    for layer in range(int(vision["num_hidden_layers"])):
        base = f"{prefix}encoder.layers.{layer}."
        for name in ("layer_norm1", "layer_norm2"):
            yield from biased(base + name, (hidden,))
        for name in ("q", "k", "v", "out"):
            yield from biased(f"{base}self_attn.{name}_proj", (hidden, hidden))
        yield from biased(base + "mlp.fc1", (inner, hidden))
        yield from biased(base + "mlp.fc2", (hidden, inner))


def _gpt2(config: Json) -> Layout:
    wide, vocabulary = int(config["n_embd"]), int(config["vocab_size"])
    inner = int(config.get("n_inner") or 4 * wide)
    layout: Layout = {
        "transformer.wte.weight": (vocabulary, wide),
        "transformer.wpe.weight": (int(config["n_positions"]), wide),
        "transformer.ln_f.weight": (wide,),
        "transformer.ln_f.bias": (wide,),
    }
    matrices = {
        "attn.c_attn": (wide, 3 * wide),
        "attn.c_proj": (wide, wide),
        "mlp.c_fc": (wide, inner),
        "mlp.c_proj": (inner, wide),
    }
    for layer in range(int(config["n_layer"])):
        for norm in ("ln_1", "ln_2"):
            layout |= dict(biased(f"transformer.h.{layer}.{norm}", (wide,)))
        for name, shape in matrices.items():
            layout[f"transformer.h.{layer}.{name}.weight"] = shape
            layout[f"transformer.h.{layer}.{name}.bias"] = shape[1:]
    return layout


def biased(name: str, shape: Shape) -> Iterator[tuple[str, Shape]]:
    """A weight [outputs, inputs] and its bias [outputs]."""
    yield name + ".weight", shape
    yield name + ".bias", shape[:1]


_LAYOUTS: dict[str, Callable[[dict[str, Any]], Layout]] = {
    MEDGEMMA.name: _gemma3,
    LLAVA_MED.name: _llava,
    BIOMEDLM.name: _gpt2,
}
