"""What the benchmark of quantized models says of its measurements: agreement, ratios, and what got worse."""

from __future__ import annotations

import pytest

from services.bench.quantization import Spoken, compared, difference, equal_beginning, equal_findings, told, words

AGREED = {"equal_tokens": 1.0, "equal_first_token": 1.0, "first_token_logprob_difference": 0.0, "equal_findings": 1.0}


@pytest.mark.parametrize(("other", "equal"), [((5, 6, 7), 3), ((5, 9, 7), 1), ((9, 6, 7), 0)])
def test_tokens_agree_until_the_first_that_differs(other: tuple[int, ...], equal: int) -> None:
    """What follows a difference answers another text, however alike it looks."""
    assert equal_beginning((5, 6, 7), other) == equal


def test_the_means_are_over_prompts() -> None:
    same, other = Spoken((1, 2, 3, 4), {"a": -0.5, "b": -2.0}), Spoken((1, 9, 3, 4), {"a": -0.7, "b": -1.5})
    assert compared([same, same], [same, other]) == {
        "equal_tokens": 0.625,
        "equal_first_token": 1.0,
        "first_token_logprob_difference": 0.1,
    }


def test_a_token_that_the_other_does_not_list_differs_at_least_by_its_last() -> None:
    assert difference({"a": -0.5, "b": -2.0}, {"c": -0.1, "d": -4.5}) == 4.0


def test_an_answer_that_could_not_be_read_agrees_with_none() -> None:
    found = {"pulmonary-nodule": ("detected", "likely", "left"), "pleural-effusion": ("not-detected", "absent", "none")}
    assert equal_findings([found], [found]) == 1.0
    assert equal_findings([found], [found | {"pulmonary-nodule": ("detected", "likely", "right")}]) == 0.5
    assert equal_findings([found], [{}]) == 0.0
    assert equal_findings([{}], [{}]) == 0.0


def test_no_two_prompts_begin_alike() -> None:
    """A prefix that a cache knows would make the second prompt free."""
    assert len({words(seed, 5).split()[0] for seed in range(50)}) == 50
    assert words(3, 5) == words(3, 5)


def test_what_is_slower_or_larger_is_said_with_how_much_rounds_differ() -> None:
    """Round by round against bf16 of the same round: a machine that was busy for one round was busy for all three models."""
    space = {"bf16": {"size_mib": 100.0, "memory_mib": 50.0}, "int8": {"size_mib": 50.0, "memory_mib": 50.0}}
    space["int4"] = {"size_mib": 25.0, "memory_mib": 55.0}
    speeds = {
        "bf16": {"decode": [10.0, 5.0, 10.0], "prefill": [1000.0, 500.0, 1000.0]},
        "int8": {"decode": [20.0, 10.0, 20.0], "prefill": [1000.0, 500.0, 1000.0]},
        "int4": {"decode": [30.0, 10.0, 20.0], "prefill": [800.0, 450.0, 700.0]},
    }
    result = told(space, speeds, dict.fromkeys(space, AGREED))
    assert result["ratios"]["int4_to_bf16_decode"] == 2.0
    assert result["ratios"]["int4_to_bf16_size"] == 0.25
    assert result["rounds"]["int4_to_bf16_decode"] == [2.0, 3.0]
    assert result["table"]["bf16"]["prefill_tokens_a_second"] == 1000.0
    assert result["worse"] == ["int4_to_bf16_memory 1.1", "int4_to_bf16_prefill 0.8 (rounds 0.7 to 0.9)"]
    assert all(sentence in result["notes"][1] for sentence in result["worse"])
