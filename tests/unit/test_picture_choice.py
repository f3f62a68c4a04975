"""Which films of a study are shown, in which order; whose left a film shows, and what its millimetres are."""

from __future__ import annotations

import random
from typing import Any

import pytest
from pydicom import Dataset

from tests.unit.picture_samples import film, ramp
from workflows.pictures import Exposure, choose_pictures, like_first, read_exposure, side_of

PRESENT = "1.2.840.10008.5.1.4.1.1.1.1"


def exposure(number: int = 1, **tags: Any) -> Exposure:
    return read_exposure(film(ramp(), number=number, **tags))


def order(*exposures: Exposure, most: int = 4) -> list[int | None]:
    return [choice.exposure.frame.instance_number for choice in choose_pictures(exposures, most)]


def coded(code: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code, "SCT", "a view"
    return item


# -- which and in which order -----------------------------------------------------------------------------------------


def test_the_frontal_view_comes_first_whatever_was_taken_first() -> None:
    films = [
        exposure(1, ViewPosition="LL", PatientOrientation=["A", "F"]),
        exposure(2),
        exposure(3, ViewPosition="LLD"),
    ]
    for shuffled in (films, films[::-1]):
        assert order(*shuffled) == [2, 1, 3]


def test_raw_detector_values_are_never_shown() -> None:
    raw = exposure(1, PresentationIntentType="FOR PROCESSING")
    by_class = exposure(2, PresentationIntentType=None, SOPClassUID=f"{PRESENT}.1")
    assert order(raw, by_class, exposure(3)) == [3]
    assert order(raw, by_class) == []


def test_a_second_version_of_an_exposure_is_not_a_second_film() -> None:
    """Bone suppression of the same shot: the tube fired once."""
    event = {"IrradiationEventUID": "1.2.3.9"}
    suppressed = exposure(1, **event, SeriesDescription="CHEST PA BONE SUPPRESSION")
    assert order(suppressed, exposure(2, **event)) == [2]
    assert order(suppressed) == [1]
    same_second = exposure(3, AcquisitionTime="093002", DerivationDescription="edge enhanced")
    assert order(exposure(2), same_second) == [2]


def test_of_a_repeated_view_the_newest_is_shown_with_its_reason() -> None:
    [choice] = choose_pictures([exposure(1), exposure(3), exposure(2)])
    assert choice.exposure.frame.instance_number == 3
    assert choice.reason == "DX, PA view, the newest of 3 of this view"


def test_two_hands_are_two_pictures() -> None:
    left, right = (exposure(n, BodyPartExamined="HAND", ImageLaterality=side) for n, side in ((1, "L"), (2, "R")))
    assert order(left, right) == [1, 2]


def test_views_that_nothing_names_are_not_taken_for_repeats() -> None:
    unnamed = {"ViewPosition": None, "PatientOrientation": None}
    assert order(exposure(1, **unnamed), exposure(2, **unnamed)) == [1, 2]


def test_a_film_of_many_frames_is_no_radiograph_and_four_pictures_are_enough() -> None:
    assert order(exposure(1, NumberOfFrames=30)) == []
    many = [exposure(n, ViewPosition=None, PatientOrientation=None) for n in range(1, 8)]
    random.Random(1).shuffle(many)
    assert order(*many) == [1, 2, 3, 4]


def test_at_the_bedside() -> None:
    [choice] = choose_pictures([exposure(1, ViewPosition="AP", SeriesDescription="CHEST PORTABLE")])
    assert choice.reason == "DX, AP view, at the bedside"


@pytest.mark.parametrize(
    ("tags", "view"),
    [
        ({"ViewPosition": "AP"}, "AP"),
        ({"ViewPosition": "RL"}, "lateral"),
        ({"ViewPosition": None, "ViewCodeSequence": [coded("272479007")]}, "PA"),
        ({"ViewPosition": None, "ViewCodeSequence": [coded("399173006")]}, "lateral"),
        ({"ViewPosition": None, "SeriesDescription": "THORAX P.A."}, "PA"),
        ({"ViewPosition": None, "SeriesDescription": "Chest lat"}, "lateral"),
        ({"ViewPosition": None, "SeriesDescription": "CHEST PA AND LATERAL"}, "frontal"),
        ({"ViewPosition": None}, "frontal"),
        ({"ViewPosition": None, "PatientOrientation": ["A", "F"]}, "lateral"),
        ({"ViewPosition": None, "PatientOrientation": None}, None),
        ({"ViewPosition": None, "PatientOrientation": None, "SeriesDescription": "LAPAROSCOPY CLIP"}, None),
    ],
)
def test_the_view_by_its_tags(tags: dict[str, Any], view: str | None) -> None:
    assert exposure(**tags).view == view


def test_a_prior_shows_the_same_view_or_another_frontal_one() -> None:
    lateral = exposure(1, ViewPosition="LL")
    ap = exposure(2, ViewPosition="AP")
    prior = choose_pictures([lateral, ap])
    assert [choice.exposure.view for choice in like_first(prior, "AP")] == ["AP"]
    assert [choice.exposure.view for choice in like_first(prior, "PA")] == ["AP"]
    assert [choice.exposure.view for choice in like_first(prior, "lateral")] == ["lateral"]
    assert like_first(choose_pictures([lateral]), "PA") == []
    assert like_first(choose_pictures([ap]), "lateral") == []


# -- sides ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tags", "column", "side"),
    [
        ({}, 20, "left"),
        ({}, 3, "right"),
        ({}, 12.5, "midline"),
        ({"PatientOrientation": ["R", "F"]}, 3, "left"),
        ({"PatientOrientation": ["LP", "FA"]}, 20, "left"),
        ({"PatientOrientation": None}, 20, None),
        ({"PatientOrientation": ["P", "F"], "ViewPosition": "LL"}, 20, None),
        ({"ViewPosition": "LL"}, 20, None),
        ({"BodyPartExamined": "HAND"}, 20, None),
    ],
)
def test_whose_side_a_column_is(tags: dict[str, Any], column: float, side: str | None) -> None:
    """24 columns; the patient's left is on the right of the picture unless Patient Orientation says otherwise."""
    shown = exposure(**tags)
    assert side_of(shown.frame, shown.body_part, column) == side


# -- millimetres ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tags", "size"),
    [
        ({}, (0.2, 0.2, True)),
        ({"PixelSpacing": [0.2, 0.2]}, (0.2, 0.2, True)),
        ({"PixelSpacing": [0.18, 0.18]}, (0.18, 0.18, False)),
        ({"PixelSpacing": [0.2, 0.2], "PixelSpacingCalibrationType": "FIDUCIAL"}, (0.2, 0.2, False)),
        ({"ImagerPixelSpacing": None, "PixelSpacing": [0.2, 0.2]}, None),
        ({"ImagerPixelSpacing": None, "PixelSpacing": [0.2, 0.2], "PixelSpacingCalibrationType": "GEOMETRY"}, (0.2, 0.2, False)),
        ({"ImagerPixelSpacing": None}, None),
        ({"ImagerPixelSpacing": [0, 0.2]}, None),
    ],
)  # fmt: skip
def test_what_the_millimetres_of_a_film_are(tags: dict[str, Any], size: tuple[float, float, bool] | None) -> None:
    """At the detector everything is magnified; Pixel Spacing alone does not say whether it was corrected, and nothing is measured by it."""
    found = exposure(**tags).frame.pixel_size
    assert (found and (found.row, found.column, found.projected)) == size
