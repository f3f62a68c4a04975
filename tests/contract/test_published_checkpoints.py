"""A publisher's checkpoint becomes one that vLLM serves: the same model to the last digit, or a sentence that names what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from schemas.errors import PartUnavailable

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


@pytest.fixture(scope="module")
def llava_published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Any]:
    """The publisher's folder with its tokenizer, a folder that tells the tiny tower's dimensions, and the reference model."""
    from tests.contract import published_checkpoints as published

    root = tmp_path_factory.mktemp("published")
    vocabulary = published.llama_tokenizer(root / "tokenizer")
    model = published.llava(vocabulary)
    folder = published.write_llava(root / "llava-med", published.llava_tensors(model), vocabulary)
    (root / "tokenizer" / "tokenizer.model").rename(folder / "tokenizer.model")
    return folder, published.write_tower(root / "tower"), model


@pytest.fixture(scope="module")
def llava_converted(llava_published: tuple[Path, Path, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    from model_runtime.families.convert import convert

    folder, tower, _ = llava_published
    return convert(folder, tmp_path_factory.mktemp("llava") / "converted", tower=tower, manufacturer="Microsoft")


# -- LLaVA-Med ---------------------------------------------------------------------------------------------------------


def test_the_converted_llava_med_sees_and_says_what_the_published_one_does(
    llava_published: tuple[Path, Path, Any], llava_converted: Path
) -> None:
    """Reference: transformers' own parts joined as the publisher's code joins them, picture before text, on the unconverted tensors."""
    import torch
    from transformers import LlavaForConditionalGeneration

    from tests.contract.published_checkpoints import PICTURE_TOKENS

    reference, vocabulary = llava_published[2], llava_published[2].config.text_config.vocab_size
    pixels = torch.randn(1, 3, 56, 56, generator=torch.Generator().manual_seed(1))
    before, after = torch.tensor([[1, 9, 20]]), torch.tensor([[30, 41, 52, 63]])
    embed = reference.model.language_model.embed_tokens
    with torch.no_grad():
        seen = reference.model.vision_tower(pixels, output_hidden_states=True).hidden_states[-2][:, 1:]
        seen = reference.model.multi_modal_projector(seen)
        joined = torch.cat([embed(before), seen, embed(after)], dim=1)
        expected = reference.lm_head(reference.model.language_model(inputs_embeds=joined).last_hidden_state)

        model, told = LlavaForConditionalGeneration.from_pretrained(llava_converted, output_loading_info=True)
        image = torch.full((1, PICTURE_TOKENS), model.config.image_token_index)
        answered = model.eval()(input_ids=torch.cat([before, image, after], dim=1), pixel_values=pixels).logits
    assert not told["missing_keys"]
    assert not told["unexpected_keys"]
    assert model.config.image_token_index == vocabulary
    torch.testing.assert_close(answered[..., :vocabulary], expected, rtol=1e-4, atol=1e-4)
    assert bool((answered.argmax(-1) < vocabulary).all()), "a row that was never learned is never the answer"


def test_the_conversation_is_written_as_the_publisher_writes_it(llava_converted: Path) -> None:
    """`mistral_instruct` of llava/conversation.py: the picture first, then a line feed and the text."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(llava_converted)
    question = {
        "role": "user",
        "content": [
            {"type": "text", "text": "CURRENT STUDY"},
            {"type": "image"},
            {"type": "text", "text": "What is seen?"},
        ],
    }
    asked = tokenizer.apply_chat_template([question], tokenize=False, add_generation_prompt=True)
    assert asked == "<s>[INST] <image>\nCURRENT STUDY\nWhat is seen? [/INST]"
    turns = [question, {"role": "assistant", "content": "An effusion."}, {"role": "user", "content": "Where?"}]
    spoken = tokenizer.apply_chat_template(turns, tokenize=False)
    assert spoken == asked + " An effusion. </s>[INST] Where? [/INST]"


def test_the_tokens_are_those_of_the_publishers_code(
    llava_published: tuple[Path, Path, Any], llava_converted: Path
) -> None:
    """`tokenizer_image_token` tokenises what stands before and after the picture each by itself, by SentencePiece."""
    from sentencepiece import SentencePieceProcessor
    from transformers import AutoTokenizer

    pieces = SentencePieceProcessor(model_file=str(llava_published[0] / "tokenizer.model"))
    ours = AutoTokenizer.from_pretrained(llava_converted)
    image = ours.convert_tokens_to_ids("<image>")
    before, after = "[INST] ", "\nWhat is seen in this chest radiograph? [/INST]"
    expected = [pieces.bos_id(), *pieces.encode(before), image, *pieces.encode(after)]
    assert ours.encode(f"<s>{before}<image>{after}", add_special_tokens=False) == expected


@pytest.mark.parametrize(("height", "width"), [(56, 56), (90, 61), (70, 200)])
def test_a_picture_is_padded_resized_and_scaled_as_the_publishers_code_does(
    llava_converted: Path, height: int, width: int
) -> None:
    from PIL import Image
    from transformers import AutoProcessor

    from model_runtime.families.llava_med import CLIP_MEAN, CLIP_STD

    picture = Image.fromarray(np.random.default_rng(4).integers(0, 255, (height, width, 3), np.uint8).astype(np.uint8))
    picture = picture.resize((width * 2, height * 2), Image.Resampling.BICUBIC)
    side = max(picture.size)
    square = Image.new("RGB", (side, side), tuple(int(value * 255) for value in CLIP_MEAN))
    square.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    small = np.asarray(square.resize((56, 56), Image.Resampling.BICUBIC), np.float64) / 255
    expected = ((small - CLIP_MEAN) / CLIP_STD).transpose(2, 0, 1)
    processor = AutoProcessor.from_pretrained(llava_converted)
    made = np.asarray(processor(images=picture, text="<image>", return_tensors="np")["pixel_values"][0])
    assert np.abs(made - expected).max() < 2 / 255 / min(CLIP_STD)


def test_the_tower_may_lie_apart_and_says_so_when_it_lies_nowhere(
    llava_published: tuple[Path, Path, Any], llava_converted: Path, tmp_path: Path
) -> None:
    from safetensors.torch import load_file

    from model_runtime.families.convert import convert
    from tests.contract import published_checkpoints as published

    whole, _, model = llava_published
    tensors = published.llava_tensors(model)
    headless = {name: tensor for name, tensor in tensors.items() if "vision_tower" not in name}
    folder = published.write_llava(tmp_path / "published", headless, model.config.text_config.vocab_size)
    (folder / "tokenizer.model").write_bytes((whole / "tokenizer.model").read_bytes())
    with pytest.raises(PartUnavailable, match=r"no vision tower.*--vision-tower"):
        convert(folder, tmp_path / "none")
    tower = published.write_tower(tmp_path / "clip", tensors)
    converted = convert(folder, tmp_path / "converted", tower=tower)
    joined, apart = (load_file(path / "model.safetensors") for path in (llava_converted, converted))
    assert joined.keys() == apart.keys()
    assert all(bool((joined[name] == apart[name]).all()) for name in joined)


# -- BioMedLM ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flags", [{"reorder_and_upcast_attn": False}, {"reorder_and_upcast_attn": True}])
def test_the_folded_biomedlm_says_what_the_published_one_does(tmp_path: Path, flags: dict[str, bool]) -> None:
    import torch
    from transformers import AutoTokenizer, GPT2LMHeadModel

    from model_runtime.families.convert import convert
    from tests.contract import published_checkpoints as published

    flags = {"scale_attn_by_inverse_layer_idx": True, **flags}
    model = published.gpt2(300, **flags)
    folder = published.write_biomedlm(tmp_path / "published", published.gpt2_tensors(model), 300, **flags)
    published.gpt2_tokenizer(folder)
    converted = convert(folder, tmp_path / "converted")
    folded, told = GPT2LMHeadModel.from_pretrained(converted, output_loading_info=True)
    assert not told["unexpected_keys"]
    assert not set(told["missing_keys"]) - {"lm_head.weight"}
    assert (folded.config.scale_attn_by_inverse_layer_idx, folded.config.reorder_and_upcast_attn) == (False, False)
    ids = torch.tensor([[1, 7, 99, 250, 13, 44, 160]])
    with torch.no_grad():
        expected, answered = model(ids).logits, folded.eval()(ids).logits
        unfolded = published.gpt2(300)(ids).logits
    torch.testing.assert_close(answered, expected, rtol=1e-5, atol=1e-5)
    assert (unfolded - expected).abs().max() > 1e-2, "the flag matters: else this test would prove nothing"
    tokenizer = AutoTokenizer.from_pretrained(converted)
    asked = tokenizer.apply_chat_template(
        [{"role": "user", "content": [{"type": "text", "text": "Chart."}, {"type": "text", "text": "Weigh it."}]}],
        tokenize=False,
        add_generation_prompt=True,
    )
    assert asked == "Chart.\nWeigh it.\nAnswer:"


# -- what goes along ---------------------------------------------------------------------------------------------------


def test_the_release_names_family_and_source(llava_published: tuple[Path, Path, Any], llava_converted: Path) -> None:
    from model_runtime.families.source import Source
    from model_runtime.release import read_release

    release = read_release(llava_converted)
    assert (release.family, release.manufacturer, release.trained) == ("llava-med-1.5", "Microsoft", True)
    assert release.source_sha256 == Source(llava_published[0]).digest() != release.weights_sha256
    assert "The publisher's own card" in (llava_converted / "README.md").read_text()


def test_weights_are_written_in_parts_of_a_bounded_size(
    llava_published: tuple[Path, Path, Any], llava_converted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.torch import load_file

    from model_runtime.families import writing
    from model_runtime.families.check import check_folder
    from model_runtime.families.convert import convert

    monkeypatch.setattr(writing, "SHARD_BYTES", 100_000)
    folder, tower, _ = llava_published
    parted = convert(folder, tmp_path / "parted", tower=tower, dtype="bfloat16")
    files = sorted(parted.glob("*.safetensors"))
    assert len(files) > 3
    assert all(path.stat().st_size < 150_000 for path in files)
    together = {name: tensor for path in files for name, tensor in load_file(path).items()}
    whole = load_file(llava_converted / "model.safetensors")
    assert together.keys() == whole.keys()
    assert all(bool((together[name] == whole[name].bfloat16()).all()) for name in whole)
    assert check_folder(parted).servable


# -- what cannot be converted ------------------------------------------------------------------------------------------


def biomedlm_folder(tmp_path: Path, change: Any = None, **config: Any) -> Path:
    from tests.contract import published_checkpoints as published

    tensors = published.gpt2_tensors(published.gpt2(300, scale_attn_by_inverse_layer_idx=True))
    if change is not None:
        change(tensors)
    flags = {"scale_attn_by_inverse_layer_idx": True, **config}
    folder = published.write_biomedlm(tmp_path / "published", tensors, 300, **flags)
    published.gpt2_tokenizer(folder)
    return folder


def refusal(folder: Path, **options: Any) -> str:
    """What is said; nothing is left of the folder that was begun."""
    from model_runtime.families.convert import convert

    target = folder.parent / "converted"
    with pytest.raises(PartUnavailable) as refused:
        convert(folder, target, **options)
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    return refused.value.hint or ""


def drop(tensors: dict[str, Any]) -> None:
    del tensors["transformer.h.2.mlp.c_fc.weight"]


def add(tensors: dict[str, Any]) -> None:
    tensors["transformer.h.9.ln_1.weight"] = tensors["transformer.ln_f.weight"].clone()


def turn(tensors: dict[str, Any]) -> None:
    tensors["transformer.h.1.mlp.c_fc.weight"] = tensors["transformer.h.1.mlp.c_fc.weight"].T.contiguous()


def untie(tensors: dict[str, Any]) -> None:
    tensors["lm_head.weight"] = tensors["lm_head.weight"] + 1


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (drop, "missing in the checkpoint: transformer.h.2.mlp.c_fc.weight."),
        (add, "not known of this family: transformer.h.9.ln_1.weight."),
        (turn, "transformer.h.1.mlp.c_fc.weight is [256, 64], not [64, 256] as config.json says."),
        (untie, "lm_head.weight is not the embedding"),
    ],
)
def test_a_tensor_that_is_missing_unknown_or_of_another_shape_is_named(
    tmp_path: Path, change: Any, sentence: str
) -> None:
    assert sentence in refusal(biomedlm_folder(tmp_path, change))


def test_a_pickle_that_wants_to_run_something_is_not_opened(tmp_path: Path) -> None:
    import torch

    class Bomb:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "published" / "exploded",))

    folder = biomedlm_folder(tmp_path)
    torch.save({"transformer.wte.weight": Bomb()}, folder / "pytorch_model.bin")
    assert "more than tensors" in refusal(folder)
    assert not (folder / "exploded").exists()


def test_half_a_download_a_wrong_family_and_a_folder_that_exists_are_refused(tmp_path: Path) -> None:
    folder = biomedlm_folder(tmp_path)
    assert "holds BioMedLM, not LLaVA-Med v1.5" in refusal(folder, family="llava-med-1.5")
    weights = (folder / "pytorch_model.bin").read_bytes()
    (folder / "pytorch_model.bin").write_bytes(weights[: len(weights) // 2])
    assert "cannot be read" in refusal(folder)
    (folder / "pytorch_model.bin").rename(folder / "elsewhere")
    assert "neither model.safetensors nor pytorch_model.bin" in refusal(folder)


def test_a_folder_that_exists_is_not_written_over(tmp_path: Path) -> None:
    from model_runtime.families.convert import convert

    folder = biomedlm_folder(tmp_path)
    (tmp_path / "there").mkdir()
    with pytest.raises(PartUnavailable, match="exists already"):
        convert(folder, tmp_path / "there")


def test_medgemma_is_described_where_it_lies(tmp_path: Path) -> None:
    from model_runtime.checkpoint import build_checkpoint
    from model_runtime.families.convert import convert
    from model_runtime.release import read_release

    folder = build_checkpoint(tmp_path)
    (folder / "release.json").unlink()
    with pytest.raises(PartUnavailable, match="leave --to out"):
        convert(folder, tmp_path / "other")
    assert convert(folder, None, name="medgemma-1.5-4b-it", manufacturer="Google") == folder
    assert (read_release(folder).name, read_release(folder).family) == ("medgemma-1.5-4b-it", "medgemma-1.5-4b")
    with (folder / "model.safetensors").open("r+b") as weights:
        weights.truncate(400_000)
    with pytest.raises(PartUnavailable, match="cut off"):
        convert(folder, None)
