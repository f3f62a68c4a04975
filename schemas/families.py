"""Families of models: what each takes, what it gives, and within which limits. One table for the worker that asks and the runtime that serves.

A family is told from `ModelRelease.family`. What a family cannot do is refused here, before any request is made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from schemas.errors import PermanentFailure

Kind = Literal["text", "volume", "picture"]
"""What a request is made of: text alone; a stack of sections (CT, MR); pictures (radiographs, patches of a slide, pages)."""

Transport = Literal["container", "image_url", "none"]
"""How pixels travel: as our containers through our own processor, as PNG parts of the stock one, or not at all."""


@dataclass(frozen=True)
class ModelFamily:
    """One family. Tokens are counted by the family's own tokenizer."""

    name: str
    title: str
    parameters: str
    published_architecture: str
    """The class named in the publisher's config.json."""
    stored_architecture: str
    """The class that config.json of a folder names which can be served: the published one, or what conversion made of it."""
    served_architecture: str
    """The class that vLLM serves it as."""
    takes: frozenset[Kind]
    transport: Transport
    context: int
    """Tokens of prompt and answer together."""
    most_answer_tokens: int
    tokens_a_picture: int
    most_pictures: int
    """Of one request, slices and patches included; 0: none."""
    most_stacks: int
    """Of one request: current study and priors together."""
    thinking: tuple[str, str] | None = None
    """Marks around what the model thinks aloud: never part of its answer."""

    @property
    def spoken(self) -> str:
        """`text, volumes and pictures`"""
        *before, last = [name for kind, name in _SPOKEN.items() if kind in self.takes]
        return f"{', '.join(before)} and {last}" if before else last

    def require(self, kind: Kind, pictures: int = 0, stacks: int = 1) -> None:
        """`PermanentFailure` (`model-cannot`) if the family does not take this."""
        if kind not in self.takes:
            raise PermanentFailure(
                "model-cannot", f"{self.title} takes {self.spoken}, not {_SPOKEN[kind]}: choose another model"
            )
        if kind != "text" and (pictures > self.most_pictures or stacks > self.most_stacks):
            raise PermanentFailure(
                "model-cannot", f"{self.title} takes at most {self.most_pictures} pictures in {self.most_stacks} stacks"
            )

    def require_fits(self, prompt_tokens: int, answer_tokens: int) -> None:
        """`PermanentFailure` (`model-context`) if prompt and answer need more tokens than the model holds; `prompt_tokens` is counted high."""
        if answer_tokens > self.most_answer_tokens:
            raise PermanentFailure(
                "model-context",
                f"{self.title} answers in at most {self.most_answer_tokens} tokens: ask for fewer findings",
            )
        if prompt_tokens + answer_tokens > self.context:
            raise PermanentFailure(
                "model-context",
                f"{self.title} holds {self.context} tokens of prompt and answer together, and this question may need "
                f"{prompt_tokens + answer_tokens}: ask for less, or choose another model",
            )

    def answer_of(self, text: str) -> str:
        """The answer without what was thought aloud; a thought that never ends leaves nothing."""
        if self.thinking is None:
            return text
        begin, end = self.thinking
        while begin in text:
            before, _, rest = text.partition(begin)
            text = before + (rest.partition(end)[2] if end in rest else "")
        return text


_SPOKEN: dict[Kind, str] = {"text": "text", "volume": "volumes", "picture": "pictures"}


MEDGEMMA = ModelFamily(
    name="medgemma-1.5-4b",
    title="MedGemma 1.5 4B",
    parameters="4.3B",
    published_architecture="Gemma3ForConditionalGeneration",
    stored_architecture="Gemma3ForConditionalGeneration",
    served_architecture="LongviewGemma3ForConditionalGeneration",
    takes=frozenset({"text", "volume", "picture"}),
    transport="container",
    context=131072,
    most_answer_tokens=8192,
    tokens_a_picture=256,
    most_pictures=7 * 85,
    most_stacks=16,
    thinking=("<unused94>", "<unused95>"),
)
LLAVA_MED = ModelFamily(
    name="llava-med-1.5",
    title="LLaVA-Med v1.5",
    parameters="7.6B",
    published_architecture="LlavaMistralForCausalLM",
    stored_architecture="LlavaForConditionalGeneration",
    served_architecture="LongviewLlavaForConditionalGeneration",
    takes=frozenset({"text", "picture"}),
    transport="image_url",
    # The publisher's code cuts prompts at 2,048 tokens, the picture's included; positions would reach 32,768, but nothing was tuned on them.
    context=4096,
    most_answer_tokens=2048,
    tokens_a_picture=576,
    most_pictures=1,
    most_stacks=1,
)
BIOMEDLM = ModelFamily(
    name="biomedlm",
    title="BioMedLM",
    parameters="2.7B",
    published_architecture="GPT2LMHeadModel",
    stored_architecture="GPT2LMHeadModel",
    served_architecture="GPT2LMHeadModel",
    takes=frozenset({"text"}),
    transport="none",
    context=1024,
    most_answer_tokens=512,
    tokens_a_picture=0,
    most_pictures=0,
    most_stacks=0,
)
FAMILIES = {family.name: family for family in (MEDGEMMA, LLAVA_MED, BIOMEDLM)}


def family_of(name: str) -> ModelFamily:
    """`PermanentFailure` (`model-family-unknown`) if no family has this name."""
    if name not in FAMILIES:
        raise PermanentFailure("model-family-unknown", f"no such model family: name one of {', '.join(FAMILIES)}")
    return FAMILIES[name]
