"""The table of families: what each refuses, and that its page in the docs says the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import PermanentFailure
from schemas.families import BIOMEDLM, FAMILIES, LLAVA_MED, MEDGEMMA, ModelFamily, family_of
from schemas.inference import ModelRelease
from tests.contract.written_bundles import TRAINED

PAGES = Path(__file__).resolve().parents[2] / "docs" / "models"


@pytest.mark.parametrize("family", FAMILIES.values(), ids=list(FAMILIES))
def test_each_family_has_a_page_whose_limits_are_the_tables(family: ModelFamily) -> None:
    page = (PAGES / f"{family.name}.md").read_text("utf-8")
    limits = dict(re.findall(r"^\| ([^|]+?) \| ([^|]+?) \|$", page, re.MULTILINE))
    assert page.startswith(f"# {family.title} (`{family.name}`)")
    assert limits["takes"] == family.spoken
    numbers = {
        "tokens of prompt and answer": family.context,
        "tokens of an answer": family.most_answer_tokens,
        "tokens of a picture": family.tokens_a_picture,
        "pictures of one request": family.most_pictures,
        "stacks of one request": family.most_stacks,
    }
    assert {name: limits[name] for name in numbers} == {name: f"{number:,}" for name, number in numbers.items()}
    assert limits["class in the publisher's config.json"] == f"`{family.published_architecture}`"
    assert limits["class that is served"] == f"`{family.served_architecture}`"
    for heading in ("## What it may be asked", "## Published results", "## Terms", "## Never tested here"):
        assert heading in page
    assert f"({family.name}.md)" in (PAGES / "README.md").read_text("utf-8")


def test_no_page_is_left_of_a_family_that_is_gone() -> None:
    assert {path.stem for path in PAGES.glob("*.md")} == {"README", *FAMILIES}


def test_a_ct_for_biomedlm_a_stack_for_llava_and_a_prior_too_many_are_refused() -> None:
    for family, kind, pictures, stacks in (
        (BIOMEDLM, "volume", 20, 1),
        (LLAVA_MED, "volume", 1, 1),
        (LLAVA_MED, "picture", 2, 1),
        (LLAVA_MED, "picture", 1, 2),
        (MEDGEMMA, "volume", MEDGEMMA.most_pictures + 1, 2),
    ):
        with pytest.raises(PermanentFailure) as refused:
            family.require(kind, pictures, stacks)  # type: ignore[arg-type]
        assert refused.value.code == "model-cannot"
    MEDGEMMA.require("volume", 7 * 85, 7)
    LLAVA_MED.require("picture", 1)
    BIOMEDLM.require("text")


def test_what_is_longer_than_the_model_holds_is_refused() -> None:
    BIOMEDLM.require_fits(600, 424)
    for prompt, answer in ((601, 424), (10, BIOMEDLM.most_answer_tokens + 1)):
        with pytest.raises(PermanentFailure) as refused:
            BIOMEDLM.require_fits(prompt, answer)
        assert refused.value.code == "model-context"


def test_a_release_of_before_is_a_medgemma() -> None:
    stored = TRAINED.model_dump(mode="json", exclude={"family", "source_sha256"})
    assert family_of(ModelRelease.model_validate(stored).family) is MEDGEMMA
    with pytest.raises(PermanentFailure, match=r"name one of medgemma-1\.5-4b, llava-med-1\.5, biomedlm"):
        family_of("gpt-9")


@given(st.lists(st.sampled_from(["<unused94>", "<unused95>", "thought", '{"a":1}', " "]), max_size=12))
def test_nothing_between_the_marks_of_thinking_is_left_in_an_answer(parts: list[str]) -> None:
    text = "".join(parts)
    left = MEDGEMMA.answer_of(text)
    assert "<unused94>" not in left
    assert len(left) <= len(text)
    assert MEDGEMMA.answer_of("<unused94>" + text.replace("<unused95>", "")) == ""
    assert MEDGEMMA.answer_of(f"<unused94>{text.replace('<unused9', '')}<unused95>answer") == "answer"
    assert LLAVA_MED.answer_of(text) == text
