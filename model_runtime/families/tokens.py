"""A publisher's tokenizer in one file, tokenizer.json, whatever files it came in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from schemas.errors import PartUnavailable

if TYPE_CHECKING:
    from tokenizers import Tokenizer

FAST, SENTENCEPIECE = "tokenizer.json", "tokenizer.model"


def read_tokenizer(folder: Path) -> Tokenizer:
    """From tokenizer.json, SentencePiece's tokenizer.model, or GPT-2's vocab.json and merges.txt; else `PartUnavailable` (`model-tokenizer`)."""
    from tokenizers import Tokenizer

    try:
        if (folder / FAST).is_file():
            return Tokenizer.from_file(str(folder / FAST))
        if (folder / SENTENCEPIECE).is_file():
            return _of_sentencepiece(folder / SENTENCEPIECE)
        if (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
            return _of_gpt2(folder)
    except Exception as error:  # the tokenizers library raises plain Exceptions
        raise PartUnavailable(
            "model-tokenizer", "the checkpoint's tokenizer cannot be read: download it again."
        ) from error
    raise PartUnavailable(
        "model-tokenizer", f"the folder holds no tokenizer: {FAST}, {SENTENCEPIECE}, or vocab.json with merges.txt."
    )


def _of_sentencepiece(path: Path) -> Tokenizer:
    """Llama's and Mistral's form: a space before each piece of text, after a special token too, as the published code tokenises each by itself."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers
    from transformers.convert_slow_tokenizer import SentencePieceExtractor

    extractor = SentencePieceExtractor(str(path))
    parts: dict[str, Any] = extractor.extract(models.BPE)
    pieces = extractor.proto.pieces
    unknown = pieces[extractor.proto.trainer_spec.unk_id].piece
    tokenizer = Tokenizer(
        models.BPE(parts["vocab"], parts["merges"], unk_token=unknown, fuse_unk=True, byte_fallback=True)
    )
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(content=" ", left=1)]
    )
    control = [piece.piece for piece in pieces if piece.type in (2, 3)]
    tokenizer.add_special_tokens([AddedToken(text, normalized=False, special=True) for text in control])
    return tokenizer


def _of_gpt2(folder: Path) -> Tokenizer:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    tokenizer = Tokenizer(models.BPE.from_file(str(folder / "vocab.json"), str(folder / "merges.txt")))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def special_token(folder: Path, name: str, default: str) -> str:
    """The publisher's `bos_token`, `eos_token`, ... from special_tokens_map.json or tokenizer_config.json."""
    for file in ("special_tokens_map.json", "tokenizer_config.json"):
        try:
            token = orjson.loads((folder / file).read_bytes()).get(name)
        except (OSError, ValueError, AttributeError):
            continue
        if isinstance(token, dict):
            token = token.get("content")
        if isinstance(token, str) and token:
            return token
    return default


def require_known(tokenizer: Tokenizer, tokens: dict[str, str]) -> dict[str, int]:
    """Ids of special tokens by their role. `PartUnavailable` (`model-tokenizer`) names one that the vocabulary lacks."""
    ids = {role: tokenizer.token_to_id(text) for role, text in tokens.items()}
    if lacking := [tokens[role] for role, number in ids.items() if number is None]:
        raise PartUnavailable("model-tokenizer", f"the tokenizer does not know {lacking[0]}: it is of another model.")
    return {role: int(number) for role, number in ids.items() if number is not None}
