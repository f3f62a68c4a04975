"""The untrained model's tokenizer: byte-level BPE over the words of our own prompts and answers, with Gemma's special tokens.

The words of an answer are single tokens, so that an answer constrained to the JSON schema is short.
"""

from __future__ import annotations

from itertools import chain
from typing import get_args

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from schemas.codes import LABELS
from schemas.inference import AnsweredFinding, Change, FindingsAnswer, LikelihoodBand, Location, Presence, Side

SPECIAL_TOKENS = (
    "<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>",
    "<start_of_image>", "<end_of_image>", "<image_soft_token>", "<unused94>", "<unused95>", "<unused10>",
)  # fmt: skip
NEWLINES = tuple("\n" * count for count in range(1, 5))
"""vLLM's Gemma 3 processor looks these up as single tokens."""
SIZE = 1024
"""Rows of the embedding: at least the tokenizer's tokens."""
PROMPT_WORDS = (
    "You are reading CT MR studies of one patient, from the oldest to the newest. Each study is given as stacks of slices; slice numbers count "
    "from 1 within each stack. The last study is the current one, those before it are priors. "
    "Judge from the images alone. Left and right are the patient's. STUDY SERIES PRIOR CURRENT SLICE "
    "For each of these findings say whether it is there, how likely, on which side, where and how it changed: "
    "Slice numbers and boxes belong to the current study. Answer with the JSON object alone."
)
TIMES = 50


def corpus() -> list[str]:
    """Our prompt's words, every label, and answers in which each allowed value occurs."""
    values = chain.from_iterable(get_args(values) for values in (Presence, LikelihoodBand, Side, Change))
    fields = chain(FindingsAnswer.model_fields, AnsweredFinding.model_fields, Location.model_fields)
    labels = [text for label in LABELS for text in (label.code, label.text)]
    return [PROMPT_WORDS, *labels, *fields, *values, *(_answer(label.code) for label in LABELS)]


def _answer(label: str) -> str:
    place = Location(slice=1, box_2d=(0, 0, 1000, 1000), long_axis_mm=10)
    there = AnsweredFinding(presence="detected", likelihood="definite", side="left", change="new", location=place)
    absent = AnsweredFinding(presence="not-detected", likelihood="absent", side="right", change="stable", location=None)
    return FindingsAnswer(findings={label: there, f"no-{label}": absent}).model_dump_json()


def build_tokenizer() -> Tokenizer:
    """The same tokenizer at every call with equal packages."""
    tokenizer = Tokenizer(models.BPE(unk_token=None))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=SIZE - len(NEWLINES),
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus() * TIMES, trainer)
    tokenizer.add_tokens([AddedToken(text, normalized=False, special=False) for text in NEWLINES])
    return tokenizer
