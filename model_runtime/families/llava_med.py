"""LLaVA-Med v1.5 as Microsoft publishes it (`LlavaMistralForCausalLM`) -> `LlavaForConditionalGeneration`, which vLLM and transformers know.

Published names: `model.embed_tokens`, `model.layers.*`, `model.norm`, `lm_head` of Mistral; `model.mm_projector.0` and `.2` (two linear layers with
GELU between); `model.vision_tower.vision_tower.vision_model.*` of CLIP, which may be missing: then the folder of openai/clip-vit-large-patch14-336
has it.
Source: github.com/microsoft/LLaVA-Med, llava/model and llava/mm_utils.py.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model_runtime.families.folder import Json, read_config
from model_runtime.families.layout import layout_of
from model_runtime.families.source import Source, digest_of
from model_runtime.families.tokens import read_tokenizer, require_known, special_token
from model_runtime.families.writing import Piece, require_all, write_json, write_weights
from schemas.errors import PartUnavailable
from schemas.families import LLAVA_MED

if TYPE_CHECKING:
    import torch

IMAGE_TOKEN = "<image>"  # noqa: S105  a token of the vocabulary, not a secret
ROWS = 64
"""Rows of the vocabulary are filled up to a multiple of this, as kernels like them."""
CLIP_LARGE_336: Json = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "image_size": 336,
    "patch_size": 14,
    "projection_dim": 768,
}
CLIP_LARGE_336_NAME = "openai/clip-vit-large-patch14-336"
CLIP_MEAN, CLIP_STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
_PREFIXES = (
    ("language_model.lm_head.", "lm_head."),
    ("language_model.model.", "model."),
    ("multi_modal_projector.linear_1.", "model.mm_projector.0."),
    ("multi_modal_projector.linear_2.", "model.mm_projector.2."),
    ("vision_tower.", "model.vision_tower.vision_tower."),
)
_TOWER = "model.vision_tower."
_ROWS_OF_VOCABULARY = ("language_model.lm_head.weight", "language_model.model.embed_tokens.weight")


def published_name(name: str) -> str:
    """The name that LLaVA-Med's checkpoint gives to a tensor of ours."""
    for ours, theirs in _PREFIXES:
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    raise AssertionError(name)


def convert(folder: Path, target: Path, dtype: str, tower: Path | None = None) -> str:
    """Everything but release.json into `target`; the SHA-256 of what was read. `tower` is a folder of CLIP, for its weights or its dimensions."""
    published, source = read_config(folder), Source(folder)
    _require_published(published)
    tokenizer = read_tokenizer(folder)
    vocabulary = int(published["vocab_size"])
    image = _add_image_token(tokenizer, vocabulary)
    rows = _filled(max(vocabulary, image + 1))
    config = _config(published, _vision_config(published, tower), image, rows) | {"dtype": dtype}
    ids = require_known(
        tokenizer,
        {
            "bos_token": special_token(folder, "bos_token", "<s>"),
            "eos_token": special_token(folder, "eos_token", "</s>"),
            "unk_token": special_token(folder, "unk_token", "<unk>"),
        },
    )
    apart = None if _has_tower(source) else _tower_apart(tower)
    pieces = _pieces(config, vocabulary)
    seen = [piece for piece in pieces if piece.source.startswith(_TOWER)]
    rest = [piece for piece in pieces if not piece.source.startswith(_TOWER)]
    if apart is None:
        require_all(source, pieces, _left_out)
        write_weights(target, [(source, pieces)], config["dtype"])
    else:
        seen = [Piece(p.name, p.name.removeprefix("vision_tower."), p.shape) for p in seen]
        require_all(source, rest, _left_out)
        require_all(apart, seen, lambda name: True)
        write_weights(target, [(source, rest), (apart, seen)], config["dtype"])
    tokenizer.save(str(target / "tokenizer.json"))
    for name, content in _documents(published, config, tokenizer, ids).items():
        write_json(target / name, content)
    return digest_of(source.files if apart is None else [*source.files, *apart.files])


def _require_published(config: Json) -> None:
    """What this conversion relies on; another LLaVA is another family."""
    expected: list[tuple[str, tuple[Any, ...], Any]] = [
        ("mm_projector_type", ("mlp2x_gelu",), None),
        ("mm_use_im_start_end", (False,), False),
        ("mm_use_im_patch_token", (False,), False),
        ("mm_vision_select_feature", ("patch", "cls_patch"), "patch"),
        ("tie_word_embeddings", (False,), False),
    ]
    for name, allowed, default in expected:
        if config.get(name, default) not in allowed:
            raise PartUnavailable(
                "model-config", f"config.json says {name} = {config.get(name)}: LLaVA-Med v1.5 does not."
            )


def _tower_apart(tower: Path | None) -> Source:
    if tower is None:
        raise PartUnavailable(
            "model-vision-tower",
            f"the checkpoint holds no vision tower: name the folder of {CLIP_LARGE_336_NAME} with --vision-tower.",
        )
    return Source(tower)


def _has_tower(source: Source) -> bool:
    return any(name.startswith(_TOWER) for name in source.shapes)


def _left_out(name: str) -> bool:
    """A buffer that older transformers saved beside the weights: the positions 0, 1, 2, ..."""
    return name.endswith(("embeddings.position_ids", "rotary_emb.inv_freq"))


def _pieces(config: Json, vocabulary: int) -> list[Piece]:
    pieces = []
    for name, shape in layout_of(LLAVA_MED, config).items():
        if name in _ROWS_OF_VOCABULARY:
            fill = partial(_filled_up, rows=shape[0])
            pieces.append(Piece(name, published_name(name), (vocabulary, *shape[1:]), fill))
        else:
            pieces.append(Piece(name, published_name(name), shape))
    return pieces


def _filled_up(tensor: torch.Tensor, rows: int) -> torch.Tensor:
    """New rows are the mean of all: a token that was never learned is never likelier than the likeliest of those that were."""
    import torch

    mean = tensor.float().mean(0, keepdim=True).to(tensor.dtype)
    return torch.cat([tensor, mean.expand(rows - tensor.shape[0], -1)])


def _filled(rows: int) -> int:
    return -(-rows // ROWS) * ROWS


def _add_image_token(tokenizer: Any, vocabulary: int) -> int:
    """Its id: that of the publisher's vocabulary if it has one, else the first row behind it."""
    from tokenizers import AddedToken

    tokenizer.add_special_tokens([AddedToken(IMAGE_TOKEN, normalized=False, special=True)])
    image = int(tokenizer.token_to_id(IMAGE_TOKEN))
    if image > vocabulary:
        raise PartUnavailable(
            "model-tokenizer", "the tokenizer holds more tokens than the model: it is of another model."
        )
    return image


def _vision_config(published: Json, tower: Path | None) -> Json:
    if tower is not None:
        given = read_config(tower)
        given = given.get("vision_config", given)
        if given.get("model_type") not in ("clip_vision_model", "clip"):
            raise PartUnavailable(
                "model-vision-tower", "the folder of the vision tower holds no CLIP: name another one."
            )
        known = {name: given[name] for name in CLIP_LARGE_336 if name in given}
        act = given.get("hidden_act", "quick_gelu")
    elif str(published.get("mm_vision_tower", "")).rstrip("/").endswith(CLIP_LARGE_336_NAME.rpartition("/")[2]):
        known, act = {}, "quick_gelu"
    else:
        raise PartUnavailable(
            "model-vision-tower",
            f"the checkpoint's vision tower is not {CLIP_LARGE_336_NAME}: name its folder with --vision-tower.",
        )
    return CLIP_LARGE_336 | known | {"model_type": "clip_vision_model", "hidden_act": act, "layer_norm_eps": 1e-5}


def _config(published: Json, vision: Json, image: int, rows: int) -> Json:
    kept = (
        "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim", "hidden_act",
        "max_position_embeddings", "rms_norm_eps", "rope_theta", "sliding_window", "bos_token_id", "eos_token_id",
    )  # fmt: skip
    text = {name: published[name] for name in kept if published.get(name) is not None}
    text |= {"model_type": "mistral", "architectures": ["MistralForCausalLM"], "vocab_size": rows}
    text |= {"sliding_window": published.get("sliding_window"), "tie_word_embeddings": False}
    strategy = "full" if published.get("mm_vision_select_feature") == "cls_patch" else "default"
    return {
        "architectures": [LLAVA_MED.stored_architecture],
        "model_type": "llava",
        "image_token_index": image,
        "projector_hidden_act": "gelu",
        "multimodal_projector_bias": True,
        "vision_feature_layer": int(published.get("mm_vision_select_layer", -2)),
        "vision_feature_select_strategy": strategy,
        "image_seq_length": (vision["image_size"] // vision["patch_size"]) ** 2 + (strategy == "full"),
        "tie_word_embeddings": False,
        "text_config": text,
        "vision_config": vision,
    }


def _documents(published: Json, config: Json, tokenizer: Any, ids: dict[str, int]) -> dict[str, Json]:
    vision = config["vision_config"]
    side, patch = int(vision["image_size"]), int(vision["patch_size"])
    special = {role: tokenizer.id_to_token(number) for role, number in ids.items()}
    return {
        "config.json": config,
        "generation_config.json": {"bos_token_id": ids["bos_token"], "eos_token_id": ids["eos_token"]},
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "processor_class": "LlavaProcessor",
            **special,
            "pad_token": special["unk_token"],
            "image_token": IMAGE_TOKEN,
            "model_max_length": LLAVA_MED.context,
            "padding_side": "left",
        },
        "processor_config.json": {
            "processor_class": "LlavaProcessor",
            "patch_size": patch,
            "num_additional_image_tokens": 1,
            "vision_feature_select_strategy": config["vision_feature_select_strategy"],
            "image_token": IMAGE_TOKEN,
        },
        "preprocessor_config.json": {
            "image_processor_type": "LlavaImageProcessor",
            "processor_class": "LlavaProcessor",
            # To a square with CLIP's mean colour around it, as the publisher's `expand2square` does.
            "do_pad": published.get("image_aspect_ratio") == "pad",
            "do_resize": True,
            "size": {"shortest_edge": side},
            "resample": 3,
            "do_center_crop": True,
            "crop_size": {"height": side, "width": side},
            "do_rescale": True,
            "rescale_factor": 1 / 255,
            "do_normalize": True,
            "image_mean": CLIP_MEAN,
            "image_std": CLIP_STD,
            "do_convert_rgb": True,
        },
    }
