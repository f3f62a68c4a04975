"""Which series is read, which slice of the prior stands beside it, which side a place is on, and what the reviewer sees."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from schemas.imaging import SeriesInventory, SeriesVolume, StudyInventory
from tests.unit.series_samples import noise, stack
from workflows.series import choose_series, nearest_slice, read_series, render_slice, side_of

SAGITTAL = [0, 1, 0, 0, 0, -1]
CORONAL = [1, 0, 0, 0, 0, -1]


def study(*series: tuple[str, str | None, int]) -> StudyInventory:
    listed = [
        SeriesInventory(
            series_instance_uid=f"1.2.{n}", modality=modality, series_number=n, description=text, instance_count=count
        )
        for n, (modality, text, count) in enumerate(series, start=1)
    ]
    return StudyInventory(
        study_instance_uid="1.2.3", patient_id="P1", issuer_of_patient_id=None, accession_number=None, study_date=None, study_time=None,
        description=None, series=listed, sop_instance_uids=[],
    )  # fmt: skip


def body(slices: int = 20, gap: float = 5.0, **tags: Any) -> SeriesVolume:
    """An axial stack whose 200 x 200 pixels of 2 mm are centred on x = 0."""
    voxels = np.zeros((slices, 200, 200), np.int16)
    tags = {"PixelSpacing": [2, 2], "BodyPartExamined": "CHEST", **tags}
    series, _ = read_series(stack(voxels, gap=gap, origin=(-199, -199, 100), **tags))
    return series


def order(found: StudyInventory, like: SeriesVolume | None = None) -> list[int | None]:
    return [choice.series.series_number for choice in choose_series(found, like)]


def test_the_largest_acquired_stack_of_the_modality_comes_first() -> None:
    found = study(
        ("CT", "Topogram 0.6", 500),
        ("CT", "Thorax 5.0", 60),
        ("CT", "Thorax 1.0", 300),
        ("CT", "COR MPR 3.0", 400),
        ("SR", None, 1),
    )
    assert order(found) == [3, 2, 4, 1]
    assert "300" in choose_series(found)[0].reason
    assert "Thorax" not in choose_series(found)[0].reason


def test_the_ct_of_a_pet_ct_has_the_anatomy() -> None:
    assert order(study(("PT", "WB", 900), ("CT", "AC CT", 300), ("MR", "t1", 20))) == [2, 3, 1]


def test_a_study_without_stacks_has_no_choice() -> None:
    assert order(study(("DX", None, 2), ("SR", None, 1))) == []


def test_a_prior_is_read_by_the_series_most_like_the_current_one() -> None:
    current = body(slices=40, SeriesDescription="Thorax 5.0 soft")
    found = study(
        ("MR", "Thorax 5.0 soft", 40), ("CT", "Thorax cor", 40), ("CT", "Lung 1.0", 300), ("CT", "Thorax 5.0 soft", 42), ("CT", "Thorax 3.0 soft", 80)
    )  # fmt: skip
    assert order(found, current) == [4, 5, 3, 2]


@pytest.mark.parametrize("orientation", [[1, 0, 0, 0, 1, 0], [-1, 0, 0, 0, 1, 0], CORONAL])
def test_the_side_follows_the_patient_and_not_the_picture(orientation: list[float]) -> None:
    voxels = np.zeros((40, 200, 200), np.int16)
    across = orientation[0] * 199
    series, _ = read_series(
        stack(voxels, origin=(-across, -199, 100), PixelSpacing=[2, 2], ImageOrientationPatient=orientation)
    )
    start, end = ("right", "left") if across > 0 else ("left", "right")
    assert side_of(series, 3, 100, 20) == start
    assert side_of(series, 3, 100, 180) == end
    assert side_of(series, 3, 100, 100) == "midline"


def test_the_side_in_a_sagittal_stack_is_the_slice() -> None:
    voxels = np.zeros((41, 50, 50), np.int16)
    series, _ = read_series(stack(voxels, origin=(100, -100, 100), gap=5, ImageOrientationPatient=SAGITTAL))
    sides = [side_of(series, k, 25, 25) for k in (0, 20, 40)]
    assert sides == ["left", "midline", "right"]  # the normal of rows to the back and columns to the feet points right
    assert series.position(0, 25, 25)[0] > series.position(40, 25, 25)[0]


def test_no_side_is_told_where_one_limb_fills_the_picture() -> None:
    assert side_of(body(BodyPartExamined="KNEE"), 3, 100, 20) is None
    thin = stack(np.zeros((3, 50, 50), np.int16), gap=3, ImageOrientationPatient=SAGITTAL)
    assert side_of(read_series(thin)[0], 0, 25, 25) is None


def test_the_prior_slice_is_that_of_the_same_place() -> None:
    current, prior = body(20, 5.0), body(41, 2.5)
    assert [nearest_slice(current, k, prior) for k in (0, 7, 19)] == [0, 14, 38]


def test_without_a_common_frame_of_reference_the_stacks_are_laid_side_by_side() -> None:
    prior = body(41, 2.5, FrameOfReferenceUID="1.2.99")
    assert [nearest_slice(body(21), k, prior) for k in (0, 10, 20)] == [0, 20, 40]
    turned = body(41, 2.5, FrameOfReferenceUID="1.2.99", ImageOrientationPatient=[-1, 0, 0, 0, 1, 0])
    assert [nearest_slice(body(21), k, turned) for k in (0, 10, 20)] == [40, 20, 0]


def test_a_place_beyond_the_prior_is_shown_by_its_last_slice() -> None:
    assert nearest_slice(body(20), 19, body(5)) == 4


def png(data: bytes) -> np.ndarray[Any, Any]:
    image = Image.open(BytesIO(data))
    assert image.mode == "L"
    return np.asarray(image)


def test_a_picture_is_pixel_for_pixel_in_the_series_window() -> None:
    voxels = np.full((2, 6, 8), 1024, np.int16)
    voxels[0, 1, 2:5] = [1024 + 40, 1024 + 240, 1024 - 160]
    series, volume = read_series(stack(voxels, WindowCenter=[40, 300], WindowWidth=[400, 2000]))
    shown = png(render_slice(volume, series, 0))
    assert shown.shape == (6, 8)
    assert [int(x) for x in shown[1, 2:5]] == [127, 255, 0]


@pytest.mark.parametrize(("part", "white"), [("HEAD", True), ("ABDOMEN", False)])
def test_without_a_window_the_body_part_decides(part: str, white: bool) -> None:
    series, volume = read_series(stack(np.full((2, 4, 4), 1024 + 90, np.int16), BodyPartExamined=part))
    assert bool((png(render_slice(volume, series, 1)) == 255).all()) is white


def test_an_mr_without_window_is_shown_over_its_own_range() -> None:
    series, volume = read_series(stack(noise(3, 40, 40), modality="MR"))
    shown = png(render_slice(volume, series, 1))
    assert (shown.min(), shown.max()) == (0, 255)
    assert 100 < shown.mean() < 155
    empty = stack(np.zeros((2, 4, 4), np.int16), modality="MR")
    assert png(render_slice(*reversed(read_series(empty)), 0)).shape == (4, 4)  # type: ignore[misc]


def test_a_real_head_is_seen(test_data: Path) -> None:
    files = [path.read_bytes() for path in sorted((test_data / "ct" / "head_5mm").rglob("*")) if path.is_file()]
    series, volume = read_series(files)
    shown = png(render_slice(volume, series, 14))
    assert shown.shape == (512, 512)
    assert shown[0, 0] == 0
    assert (shown == 255).mean() > 0.01


def test_a_stack_in_one_enhanced_object_counts_by_its_frames() -> None:
    """One instance of 300 frames is no less of a series than 40 instances."""
    found = study(("CT", "thorax 5.0", 40), ("CT", "thorax 1.0", 1))
    enhanced = found.series[1].model_copy(update={"frame_count": 300})
    listed = found.model_copy(update={"series": [found.series[0], enhanced]})
    assert order(found) == [1, 2]
    assert order(listed) == [2, 1]
