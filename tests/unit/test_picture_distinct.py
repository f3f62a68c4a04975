"""Two films are one film only on proof: what shows another place, side or view is never dropped, and each film that is not shown has its reason."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.picture_samples import film, ramp
from workflows.pictures import Exposure, read_exposure, sort_pictures

SAME_SECOND = {"AcquisitionTime": "101502"}
TIME_OF_SERIES = {"AcquisitionTime": None, "SeriesDate": "20260310", "SeriesTime": "101500"}
HAND, NECK = {"BodyPartExamined": "HAND"}, {"BodyPartExamined": "CSPINE", "ViewPosition": "AP"}
UNNAMED: dict[str, Any] = {"ViewPosition": None, "PatientOrientation": None}


def exposure(number: int, **tags: Any) -> Exposure:
    return read_exposure(film(ramp(), number=number, **tags))


def shown(*exposures: Exposure) -> list[int | None]:
    return [choice.exposure.image for choice in sort_pictures(exposures).choices]


def unshown(*exposures: Exposure) -> list[tuple[int | None, str, int | None]]:
    """(image, why, image of the film that stands for it)."""
    left = sort_pictures(exposures).unshown
    return [(each.exposure.image, each.why, each.instead.image if each.instead else None) for each in left]


@pytest.mark.parametrize(
    ("what", "first", "second"),
    [
        ("a room that names no view and no time of its own", {**TIME_OF_SERIES, **UNNAMED}, {}),
        ("a room that names no view, in one second", {**SAME_SECOND, **UNNAMED}, {}),
        ("a room whose films have the time of the series", TIME_OF_SERIES, {}),
        ("a copier that stamps all contents alike", {"AcquisitionTime": None, "ContentDate": "20260310", "ContentTime": "101500"}, {}),
        ("C-spine and odontoid", {**NECK, "SeriesDescription": "C-SPINE AP"}, {"SeriesDescription": "ODONTOID"}),
        ("C-spine and odontoid of one series", {**NECK, "SeriesDescription": "C-SPINE"}, {}),
        ("both hands, named by words alone", {"BodyPartExamined": "HAND", "SeriesDescription": "HAND PA RT"}, {"SeriesDescription": "HAND PA LT"}),
        ("both hands in one second", {"BodyPartExamined": "HAND", **SAME_SECOND}, {}),
        ("chest and hand in one second", {**SAME_SECOND, "Laterality": "L"}, {"BodyPartExamined": "HAND"}),
        ("both hands on one plate, one exposure", {**HAND, "IrradiationEventUID": "1.2.9", "Laterality": "R"}, {"Laterality": "L"}),
        ("the two obliques", {"BodyPartExamined": "RIB", "Laterality": "L", "ViewPosition": "RAO"}, {"ViewPosition": "LAO"}),
        ("an abdomen lying and standing", {"BodyPartExamined": "ABDOMEN", "ViewPosition": "AP"}, {}),
        ("breath in and breath out", {"SeriesDescription": "CHEST PA INSPIRATION"}, {"SeriesDescription": "CHEST PA EXPIRATION"}),
        ("two exposures in one second", {**SAME_SECOND, "IrradiationEventUID": "1.2.9"}, {"IrradiationEventUID": "1.2.8"}),
        ("films of two sizes in one second", {**SAME_SECOND}, {"Columns": 12, "Rows": 32}),
    ],
)  # fmt: skip
def test_films_of_different_things_are_both_shown(what: str, first: dict[str, Any], second: dict[str, Any]) -> None:
    pair = exposure(1, **first), exposure(2, **{**first, **second})
    assert shown(*pair) == [1, 2], what
    assert unshown(*pair) == []


@pytest.mark.parametrize(
    "tags",
    [
        {"IrradiationEventUID": "1.2.9", "AcquisitionTime": None},
        {"IrradiationEventUID": "1.2.9", **UNNAMED},
        {"AcquisitionTime": "101502.250"},
        {"AcquisitionTime": None, "AcquisitionDateTime": "20260310101502.25+0100"},
        {"BodyPartExamined": "HAND", "Laterality": "L", **SAME_SECOND},
    ],
)
def test_a_second_version_of_one_exposure_names_the_first(tags: dict[str, Any]) -> None:
    pair = exposure(5, **tags), exposure(4, **tags, SeriesDescription="EDGE ENHANCED")
    assert shown(*pair) == [5]
    assert unshown(*pair) == [(4, "film-version", 5)]


def test_a_version_that_says_no_event_is_known_by_its_own_time() -> None:
    """A workstation that suppresses bone keeps the acquisition's time, and seldom its event."""
    pair = exposure(1, IrradiationEventUID="1.2.9", **SAME_SECOND), exposure(2, **SAME_SECOND)
    assert unshown(*pair) == [(2, "film-version", 1)]


def test_a_repeat_names_the_film_that_was_taken_in_its_place() -> None:
    chest = [exposure(n, SeriesDescription=f"CHEST PA{' REPEAT' if n > 1 else ''}") for n in (1, 2, 3)]
    assert shown(*chest) == [3]
    assert unshown(*chest) == [(2, "film-repeat", 3), (1, "film-repeat", 3)]
    hand = [exposure(n, BodyPartExamined="HAND", ImageLaterality="R") for n in (1, 2)]
    assert unshown(*hand) == [(1, "film-repeat", 2)]


def test_films_beyond_the_most_are_there_and_named() -> None:
    many = [exposure(n, **UNNAMED) for n in range(1, 8)]
    assert shown(*many) == [1, 2, 3, 4]
    assert unshown(*many) == [(n, "film-beyond-most", None) for n in (5, 6, 7)]
    assert len(sort_pictures(many).distinct()) == 7


def test_raw_values_and_films_of_several_frames_are_named() -> None:
    raw, cine = exposure(1, PresentationIntentType="FOR PROCESSING"), exposure(2, NumberOfFrames=8)
    assert unshown(raw, cine, exposure(3)) == [(1, "film-for-processing", None), (2, "film-several-frames", None)]
