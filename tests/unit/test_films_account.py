"""What becomes of each film of a radiograph study: shown, or named with its place and the reason. One that is broken does not lose the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from schemas.codes import report_code
from schemas.errors import PermanentFailure
from schemas.imaging import StoredStack
from schemas.outcomes import SeriesOutcome
from services.store import FolderObjectStore
from tests.unit.archive_samples import RELEASE, Shelf, inventory
from tests.unit.picture_samples import film, ramp
from tests.unit.series_samples import file_of
from workflows.stacks.account import Fetched, NothingRead
from workflows.stacks.kind import Sources
from workflows.stacks.pictures import PicturesKind

KIND = PicturesKind()
PRESENTATION_STATE, KEY_OBJECTS = "1.2.840.10008.5.1.4.1.1.11.1", "1.2.840.10008.5.1.4.1.1.88.59"
LATERAL = {"ViewPosition": "LL", "PatientOrientation": ["A", "F"]}


def dx(number: int, series: str = "1.2.1", **tags: Any) -> bytes:
    return file_of(film(ramp(), number=number, SeriesInstanceUID=series, **{"BitsStored": 12, "HighBit": 11, **tags}))


def without_pixels(number: int, modality: str, sop_class: str) -> bytes:
    dataset = film(ramp(), modality=modality, number=number, SeriesInstanceUID="1.2.1", SOPClassUID=sop_class)
    for keyword in ("Rows", "Columns", "PixelData", "PhotometricInterpretation"):
        delattr(dataset, keyword)
    return file_of(dataset)


def capture(number: int, **tags: Any) -> bytes:
    """A screen in colour, stored among the films."""
    colour = np.zeros((16, 24, 3), np.uint8)
    return file_of(film(colour, modality="SC", number=number, SeriesInstanceUID="1.2.1", **{"Modality": "DX", **tags}))


def fetch(tmp_path: Path, *films: bytes, like: StoredStack | None = None) -> Fetched:
    shelf = Shelf(**{"1.2.1": list(films)})
    sources = Sources(archive=shelf, store=FolderObjectStore(tmp_path), text_in_pixels=None)  # type: ignore[arg-type]
    return KIND.fetch(sources, inventory(("DX", "CHEST", len(films))), RELEASE, like)


def told(rows: list[SeriesOutcome]) -> list[tuple[int | None, str, str]]:
    return sorted(((row.image, row.outcome, row.code) for row in rows), key=str)


def test_a_presentation_state_a_report_and_a_screen_do_not_lose_the_films(tmp_path: Path) -> None:
    found = fetch(
        tmp_path,
        without_pixels(7, "PR", PRESENTATION_STATE),
        dx(1),
        capture(8),
        without_pixels(9, "KO", KEY_OBJECTS),
        dx(2, **LATERAL),
        capture(10, Modality="OT"),
    )
    assert [stack.series.frames[0].view for stack in found.stacks] == ["PA", "lateral"]
    assert told(found.rows) == [
        (1, "read", "read"),
        (10, "left-out", "film-other-kind"),
        (2, "read", "read"),
        (7, "left-out", "film-without-pixels"),
        (8, "left-out", "film-in-colour"),
        (9, "left-out", "film-without-pixels"),
    ]
    assert report_code(found.stacks[0].series, [])["code"] == "36643-5"


def test_the_other_films_are_read_beside_one_that_is_cut(tmp_path: Path) -> None:
    """The account says refused; that the study has two views stays true though one was not seen."""
    found = fetch(tmp_path, dx(1), dx(2, **LATERAL)[:-500])
    assert [stack.series.frames[0].view for stack in found.stacks] == ["PA"]
    [row] = [row for row in found.rows if row.outcome == "refused"]
    assert (row.code, row.image, row.instances) == ("pixels-cut", 2, 1)
    assert report_code(found.stacks[0].series, [])["code"] == "36643-5"


def test_a_film_that_is_no_dicom_is_named_by_its_place(tmp_path: Path) -> None:
    found = fetch(tmp_path, dx(1), b"nothing that anybody could read")
    [row] = [row for row in found.rows if row.outcome == "refused"]
    assert (row.code, row.image, row.instances) == ("dicom-unreadable", None, 1)
    assert row.reason.startswith("file 2 of the series: ")


def test_films_without_a_number_have_a_row_each_by_their_place(tmp_path: Path) -> None:
    unnumbered = {"InstanceNumber": None}
    found = fetch(
        tmp_path, dx(1, **LATERAL, **unnumbered), dx(2, **unnumbered), dx(3, PixelData=b"\0" * 100, **unnumbered)
    )
    told = [(row.instances, row.outcome, row.reason[: len("file 1 of the series")]) for row in found.rows]
    assert sorted(told) == [
        (1, "read", "file 1 of the series"),
        (1, "read", "file 2 of the series"),
        (1, "refused", "file 3 of the series"),
    ]


@pytest.mark.parametrize(
    ("broken", "code"),
    [
        ({"PixelData": b"\0" * 100}, "pixels-cut"),
        ({"BitsAllocated": 32}, "pixels-bit-depth"),
        ({"RescaleSlope": 0, "RescaleIntercept": 0}, "pixels-rescale"),
        ({"Rows": None}, "pixels-missing"),
        ({"PhotometricInterpretation": "RGB"}, "pixels-photometric"),
        ({"PixelAspectRatio": [1, 9], "ImagerPixelSpacing": None}, "picture-aspect"),
    ],
)
def test_a_film_that_cannot_be_shown_is_refused_by_name(tmp_path: Path, broken: dict[str, Any], code: str) -> None:
    found = fetch(tmp_path, dx(1), dx(2, **{**LATERAL, **broken}))
    assert told(found.rows) == [(1, "read", "read"), (2, "refused", code)]
    with pytest.raises(NothingRead) as alone:
        fetch(tmp_path, dx(2, **{**LATERAL, **broken}))
    assert (alone.value.code, told(alone.value.rows)) == (code, [(2, "refused", code)])


def test_where_the_newest_repeat_cannot_be_decoded_the_film_before_it_is_shown(tmp_path: Path) -> None:
    found = fetch(tmp_path, dx(1), dx(2, PixelData=b"\0" * 100))
    assert told(found.rows) == [(1, "read", "read"), (2, "refused", "pixels-cut")]


def test_each_film_that_is_not_shown_says_why_and_what_stands_for_it(tmp_path: Path) -> None:
    event = {"IrradiationEventUID": "1.2.9"}
    found = fetch(
        tmp_path,
        dx(1),
        dx(2, **event),
        dx(3, **event, SeriesDescription="CHEST PA BONE SUPPRESSION"),
        dx(4, PresentationIntentType="FOR PROCESSING"),
        dx(5, NumberOfFrames=3),
    )
    reasons = {row.image: (row.code, row.reason) for row in found.rows if row.outcome == "left-out"}
    assert reasons == {
        1: ("film-repeat", "image 2 is of the same view and was taken later: it stands in its place"),
        3: ("film-version", "another version of the exposure of image 2"),
        4: ("film-for-processing", "raw values of the detector, which are for processing and not for reading"),
        5: ("film-several-frames", "a film of 3 frames is no radiograph"),
    }


def test_films_beyond_the_most_are_left_out_by_name(tmp_path: Path) -> None:
    unnamed = {"ViewPosition": None, "PatientOrientation": None}
    found = fetch(tmp_path, *(dx(n, **unnamed) for n in range(1, 7)))
    assert [code for _, _, code in told(found.rows)] == ["read"] * 4 + ["film-beyond-most"] * 2
    assert {row.reason for row in found.rows if row.image == 6} == {
        "the study has 6 different films, of which 4 can be shown"
    }
    assert found.stacks[0].series.views == 6


def test_of_a_prior_the_films_that_are_not_compared_are_named(tmp_path: Path) -> None:
    [current] = fetch(tmp_path, dx(1, ViewPosition="AP")).stacks
    prior = fetch(tmp_path, dx(1, **LATERAL), dx(2), like=current)
    assert told(prior.rows) == [(1, "left-out", "film-not-compared"), (2, "read", "read")]


MARK = "88888888"


def as_written(hint: str, **tags: Any) -> bytes:
    """The film with these bytes where the tag has `MARK`: what scanners write and no tag library would."""
    file = dx(1, AcquisitionTime="101502", **tags)
    assert file.count(MARK.encode()) == 1
    return file.replace(MARK.encode(), hint.encode().ljust(len(MARK)))


@pytest.mark.parametrize("hint", ["NaN", "40,5", "40\\", "inf", "1A"])
@pytest.mark.parametrize("keyword", ["WindowCenter", "WindowWidth", "PixelSpacing", "SeriesNumber", "InstanceNumber"])
def test_a_broken_hint_is_as_if_it_were_absent(tmp_path: Path, keyword: str, hint: str) -> None:
    window: dict[str, Any] = {"WindowCenter": "2000", "WindowWidth": "1000", "PixelSpacing": ["0.21", "0.21"]}
    [absent] = fetch(tmp_path, dx(1, AcquisitionTime="101502", **{**window, keyword: None})).stacks
    [broken] = fetch(tmp_path, as_written(hint, **{**window, keyword: MARK})).stacks
    assert broken.volume_digest == absent.volume_digest
    one, other = (stack.series.frames[0] for stack in (broken, absent))
    assert (one.pixel_size, one.instance_number) == (other.pixel_size, other.instance_number)
    assert broken.series.series_number == absent.series.series_number


@pytest.mark.parametrize("keyword", ["RescaleSlope", "RescaleIntercept"])
def test_a_value_that_is_needed_is_named(tmp_path: Path, keyword: str) -> None:
    with pytest.raises(NothingRead, match=f"dicom-value: {keyword} of the image is not a number"):
        fetch(tmp_path, as_written("1,0", **{"RescaleSlope": 1, "RescaleIntercept": 0, keyword: MARK}))


def test_a_series_that_the_archive_cannot_give_does_not_lose_the_next(tmp_path: Path) -> None:
    class Half(Shelf):
        def retrieve_series(self, study_instance_uid: str, series_instance_uid: str) -> Any:
            if series_instance_uid == "1.2.2":
                raise PermanentFailure(self.code, "no")
            return super().retrieve_series(study_instance_uid, series_instance_uid)

    shelf = Half(**{"1.2.1": [dx(1)]})
    sources = Sources(archive=shelf, store=FolderObjectStore(tmp_path), text_in_pixels=None)  # type: ignore[arg-type]
    shelf.code = "pixels-codec"
    found = KIND.fetch(sources, inventory(("DX", None, 1), ("DX", None, 1)), RELEASE, None)
    assert [(row.number, row.outcome, row.code) for row in found.rows] == [
        (2, "refused", "pixels-codec"),
        (1, "read", "read"),
    ]
    shelf.code = "study-mismatch"
    with pytest.raises(PermanentFailure, match="study-mismatch"):
        KIND.fetch(sources, inventory(("DX", None, 1), ("DX", None, 1)), RELEASE, None)
