"""Checkpoints in the layouts of their publishers, written from what they publish and from transformers' own models: not by the code under test.

LLaVA-Med v1.5: github.com/microsoft/LLaVA-Med (llava/model/language_model/llava_mistral.py, llava_arch.py, multimodal_encoder/clip_encoder.py).
BioMedLM: a GPT-2 of transformers 4 with `scale_attn_by_inverse_layer_idx`, saved with its causal masks.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    CLIPVisionConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlavaConfig,
    LlavaForConditionalGeneration,
    MistralConfig,
)

CLIP = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 2, "image_size": 56, "patch_size": 14,
    "projection_dim": 64, "hidden_act": "quick_gelu",
}  # fmt: skip
MISTRAL = {
    "hidden_size": 96, "intermediate_size": 160, "num_hidden_layers": 2, "num_attention_heads": 3, "num_key_value_heads": 1,
    "rms_norm_eps": 1e-5, "max_position_embeddings": 4096,
}  # fmt: skip
ROPE_THETA = 1000000.0
PICTURE_TOKENS = 16
WORDS = [
    "[INST] What is seen in this chest radiograph? Answer with the JSON object alone. [/INST] pleural effusion nodule"
]


def llava(vocabulary: int) -> LlavaForConditionalGeneration:
    """transformers' own model of the same dimensions, in float32, with random weights of both signs everywhere."""
    text = MistralConfig(
        vocab_size=vocabulary,
        rope_parameters={"rope_theta": ROPE_THETA, "rope_type": "default"},
        sliding_window=None,
        tie_word_embeddings=False,
        **MISTRAL,
    )
    config = LlavaConfig(text_config=text, vision_config=CLIPVisionConfig(**CLIP), image_token_index=vocabulary - 1)
    return shaken(LlavaForConditionalGeneration(config))


def gpt2(vocabulary: int, **flags: bool) -> GPT2LMHeadModel:
    config = GPT2Config(
        vocab_size=vocabulary, n_positions=128, n_embd=64, n_layer=4, n_head=2, attn_implementation="eager", **flags
    )
    return shaken(GPT2LMHeadModel(config))


def shaken(model: Any) -> Any:
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.3 if parameter.ndim == 1 else 0.0, 0.2)
    return model.eval()


def llava_tensors(model: LlavaForConditionalGeneration) -> dict[str, torch.Tensor]:
    """Under the names of LLaVA-Med's checkpoint."""
    tensors = {}
    for name, tensor in model.state_dict().items():
        if name.startswith("model.language_model."):
            published = "model." + name[len("model.language_model.") :]
        elif name.startswith("model.multi_modal_projector."):
            published = name.replace("model.multi_modal_projector.linear_1", "model.mm_projector.0")
            published = published.replace("model.multi_modal_projector.linear_2", "model.mm_projector.2")
        elif name.startswith("model.vision_tower."):
            published = "model.vision_tower.vision_tower.vision_model." + name[len("model.vision_tower.") :]
        else:
            published = name
        tensors[published] = tensor.clone()
    places = torch.arange(CLIP["image_size"] ** 2 // CLIP["patch_size"] ** 2 + 1)[None]
    return tensors | {"model.vision_tower.vision_tower.vision_model.embeddings.position_ids": places}


def gpt2_tensors(model: GPT2LMHeadModel) -> dict[str, torch.Tensor]:
    """With the masks and the tied head that transformers 4 saved."""
    tensors = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for layer in range(4):
        tensors[f"transformer.h.{layer}.attn.bias"] = torch.tril(torch.ones(128, 128, dtype=torch.uint8))[None, None]
        tensors[f"transformer.h.{layer}.attn.masked_bias"] = torch.tensor(-1e4)
    return tensors


def write_llava(folder: Path, tensors: dict[str, torch.Tensor], vocabulary: int, **config: Any) -> Path:
    """Weights in two files with an index, as the publisher gives them in four."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    names = sorted(tensors)
    halves = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, held in halves.items():
        save_file({name: tensors[name].contiguous() for name in held}, folder / file, metadata={"format": "pt"})
    where = {name: file for file, held in halves.items() for name in held}
    write(folder / "model.safetensors.index.json", {"metadata": {}, "weight_map": where})
    published = {
        "architectures": ["LlavaMistralForCausalLM"],
        "model_type": "llava_mistral",
        "torch_dtype": "float32",
        "vocab_size": vocabulary,
        "hidden_act": "silu",
        "rope_theta": ROPE_THETA,
        "sliding_window": None,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "tie_word_embeddings": False,
        "image_aspect_ratio": "pad",
        "mm_hidden_size": CLIP["hidden_size"],
        "mm_projector_type": "mlp2x_gelu",
        "mm_use_im_patch_token": False,
        "mm_use_im_start_end": False,
        "mm_vision_select_feature": "patch",
        "mm_vision_select_layer": -2,
        "mm_vision_tower": "openai/clip-vit-large-patch14-336",
        "tokenizer_model_max_length": 2048,
    }
    write(folder / "config.json", MISTRAL | published | config)
    (folder / "README.md").write_text("# The publisher's own card\n")
    return folder


def write_tower(folder: Path, tensors: dict[str, torch.Tensor] | None = None) -> Path:
    """openai/clip-vit-large-patch14-336 is a whole CLIP; only its vision half is wanted."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    write(folder / "config.json", {"model_type": "clip", "vision_config": CLIP | {"model_type": "clip_vision_model"}})
    if tensors is not None:
        prefix = "model.vision_tower.vision_tower."
        seen = {n[len(prefix) :]: t.contiguous() for n, t in tensors.items() if n.startswith(prefix)}
        save_file(seen | {"logit_scale": torch.ones(1)}, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def write_biomedlm(folder: Path, tensors: dict[str, torch.Tensor], vocabulary: int, **flags: Any) -> Path:
    """Weights as a pickle, as the publisher gives them."""
    folder.mkdir(parents=True)
    torch.save(tensors, folder / "pytorch_model.bin")
    config = {
        "architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "torch_dtype": "float32", "vocab_size": vocabulary, "n_positions": 128,
        "n_embd": 64, "n_layer": 4, "n_head": 2, "n_inner": None, "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5,
        "bos_token_id": 0, "eos_token_id": 0, "scale_attn_weights": True,
    }  # fmt: skip
    write(folder / "config.json", config | flags)
    return folder


def llama_tokenizer(folder: Path) -> int:
    """tokenizer.model, as SentencePiece trains it for Llama; the number of its tokens."""
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(WORDS * 20),
        model_writer=model,
        vocab_size=330,
        model_type="bpe",
        byte_fallback=True,
        character_coverage=1.0,
        split_digits=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        minloglevel=2,
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.model").write_bytes(model.getvalue())
    return int(sentencepiece.SentencePieceProcessor(model_proto=model.getvalue()).get_piece_size())


def gpt2_tokenizer(folder: Path) -> int:
    """vocab.json and merges.txt."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(WORDS * 20, trainer)
    tokenizer.model.save(str(folder))
    write(folder / "special_tokens_map.json", {"eos_token": "<|endoftext|>", "bos_token": "<|endoftext|>"})
    return int(tokenizer.get_vocab_size())


def write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content))
