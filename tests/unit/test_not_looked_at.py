"""Nothing is denied that was not looked at: the right knee's images are no answer to a question about the left one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.injection.house import Hospital, Obedient, Outcome, Resource, chart, phantom, run
from tests.unit.series_samples import file_of, stack
from workflows.timeline.regions import SIDED, is_elsewhere, side_of

VOXELS = (phantom(slices=3, side=96).astype(int) + 1024).astype("uint16")
LEFT_KNEE = {"code": {"text": "XR left knee"}}
CODED = {
    "code": {"text": "Radiography"},
    "bodySite": [
        {"coding": [{"system": "http://snomed.info/sct", "code": "72696002"}]},
        {"coding": [{"system": "http://snomed.info/sct", "code": "7771000"}]},
    ],
}


def reading(order: Resource, **tags: Any) -> Outcome:
    """A study that was ordered so, read from images with these tags by a model that detects nothing."""
    resources = [one | order if one["resourceType"] == "ServiceRequest" else one for one in chart()]
    return run(Hospital(resources, [file_of(each) for each in stack(VOXELS, **tags)]), Obedient(sees=True))


def dropped(outcome: Outcome) -> set[str]:
    return {one.code for one in outcome.reading.dropped}


@pytest.mark.parametrize(
    ("order", "tags", "code"),
    [
        (LEFT_KNEE, {"BodyPartExamined": "KNEE", "Laterality": "R"}, "side-not-read"),
        (LEFT_KNEE, {"BodyPartExamined": "KNEE", "SeriesDescription": "KNIE RECHTS"}, "side-not-read"),
        (CODED, {"BodyPartExamined": "KNEE", "ImageLaterality": "R"}, "side-not-read"),
        (LEFT_KNEE, {"BodyPartExamined": "HAND", "Laterality": "L"}, "region-not-read"),
        ({"code": {"text": "XR foot"}}, {"SeriesDescription": "HAND PA"}, "region-not-read"),
    ],
)
def test_images_of_another_side_or_limb_deny_nothing(order: Resource, tags: dict[str, Any], code: str) -> None:
    outcome = reading(order, **tags)
    assert dropped(outcome) == {code}
    assert (outcome.reading.findings, outcome.reading.abstained) == ([], "not-looked-at")


@pytest.mark.parametrize(
    ("order", "tags"),
    [
        (LEFT_KNEE, {"BodyPartExamined": "KNEE", "Laterality": "L"}),
        (LEFT_KNEE, {"BodyPartExamined": "KNEE"}),
        (LEFT_KNEE, {"BodyPartExamined": "KNEE", "Laterality": "B"}),
        (LEFT_KNEE, {"BodyPartExamined": "LEG", "SeriesDescription": "left"}),
        ({"code": {"text": "CT chest, pain on the left"}}, {"BodyPartExamined": "CHEST", "SeriesDescription": "right arm down"}),
        ({"code": {"text": "XR hip right"}}, {"BodyPartExamined": "PELVIS"}),
    ],
)  # fmt: skip
def test_images_of_what_was_ordered_are_an_answer(order: Resource, tags: dict[str, Any]) -> None:
    outcome = reading(order, **tags)
    assert dropped(outcome) == set()
    assert outcome.reading.abstained is None


@pytest.mark.parametrize(
    ("words", "side"),
    [
        ("Knie links", "left"), ("genou droit", "right"), ("rodilla izquierda", "left"), ("ginocchio destro", "right"),
        ("both knees, left worse than right", None), ("upright", None), ("bright", None), (None, None),
    ],
)  # fmt: skip
def test_a_side_is_a_whole_word_in_several_languages(words: str | None, side: str | None) -> None:
    assert side_of([], [words]) == side


@given(st.sampled_from(sorted(SIDED)), st.sampled_from(sorted({*SIDED, "chest", "head", "abdomen", "spine", "neck"})))
def test_a_region_is_never_elsewhere_of_itself_and_the_order_does_not_matter(one: str, other: str) -> None:
    assert not is_elsewhere(one, one)
    assert not is_elsewhere(one, None)
    assert is_elsewhere(one, other) == is_elsewhere(other, one)
