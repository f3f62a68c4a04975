"""A series either becomes exactly the volume that was scanned, or is refused by name. highdicom is the oracle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from schemas.errors import GeometryError, PermanentFailure
from schemas.imaging import SeriesVolume
from schemas.volume import Volume
from tests.unit.series_samples import enhanced_ct, enhanced_mr, file_of, instance, noise, normal_of, stack
from workflows.series import read_series

LOCALIZER = {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"], "ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}


def refused(parts: list[Any]) -> str:
    with pytest.raises(GeometryError) as caught:
        read_series(parts)
    assert "1.2.3" not in str(caught.value)
    return caught.value.code


def assert_as_oracle(datasets: list[Dataset], series: SeriesVolume, volume: Volume) -> None:
    """Voxels and the position of every corner, as highdicom has them; it counts slices from the other end."""
    import highdicom  # half a second, for these tests alone

    oracle = highdicom.get_volume_from_series(datasets)
    assert np.array_equal(np.rint(oracle.array[::-1]), volume.voxels)
    last = len(series.frames) - 1
    for k, r, c in ((0, 0, 0), (last, 0, 0), (0, series.rows - 1, 0), (last, 0, series.columns - 1)):
        expected = (oracle.affine @ [last - k, r, c, 1])[:3]
        np.testing.assert_allclose(series.position(k, r, c), expected, atol=1e-3)


angles = st.tuples(*[st.floats(-np.pi, np.pi)] * 3)


def turned(around: tuple[float, float, float]) -> list[float]:
    """Direction cosines of rows and columns after three rotations, with the digits of a Decimal String."""
    matrix = np.eye(3)
    for axis, angle in enumerate(around):
        i, j = [n for n in range(3) if n != axis]
        rotation = np.eye(3)
        rotation[i, i] = rotation[j, j] = np.cos(angle)
        rotation[i, j], rotation[j, i] = -np.sin(angle), np.sin(angle)
        matrix = matrix @ rotation
    return [float(f"{x:.8f}") for x in (*matrix[0], *matrix[1])]


def shortened(datasets: list[Dataset]) -> list[Dataset]:
    for dataset in datasets:
        dataset.ImagePositionPatient = [float(f"{x:.6f}") for x in dataset.ImagePositionPatient]
    return datasets


@settings(max_examples=60, deadline=None)
@given(
    around=angles,
    gap=st.floats(0.3, 10),
    slices=st.integers(2, 7),
    slope=st.sampled_from([1, 2, 0.5]),
    implicit=st.booleans(),
    seed=st.randoms(use_true_random=False),
)
def test_any_orientation_spacing_and_order_gives_the_scanned_volume(
    around: Any, gap: float, slices: int, slope: float, implicit: bool, seed: Any
) -> None:
    datasets = shortened(stack(noise(slices), gap=gap, ImageOrientationPatient=turned(around)))
    for k, dataset in enumerate(datasets):
        dataset.RescaleSlope, dataset.RescaleIntercept = slope, -1024 + 3 * k
    seed.shuffle(datasets)
    syntax = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    series, volume = read_series([file_of(dataset, syntax) for dataset in datasets])
    assert (volume.units, series.modality) == ("HU", "CT")
    assert volume.spacing == pytest.approx((gap, 0.5, 0.75), rel=1e-3)
    assert_as_oracle(datasets, series, volume)


@settings(max_examples=30, deadline=None)
@given(around=angles, slices=st.integers(4, 8), at=st.integers(1, 6))
def test_a_missing_slice_is_a_gap_wherever_it_was(around: Any, slices: int, at: int) -> None:
    datasets = shortened(stack(noise(slices), gap=1.25, ImageOrientationPatient=turned(around)))
    del datasets[min(at, slices - 2)]
    assert refused(datasets) == "geometry-gap"


@settings(max_examples=30, deadline=None)
@given(around=angles, share=st.floats(0.07, 0.9))
def test_a_slice_out_of_its_place_is_a_gap(around: Any, share: float) -> None:
    datasets = stack(noise(5), gap=2.0, ImageOrientationPatient=turned(around))
    moved = np.array(datasets[2].ImagePositionPatient) + share * 2.0 * normal_of(datasets[2].ImageOrientationPatient)
    datasets[2].ImagePositionPatient = list(moved)
    assert refused(shortened(datasets)) == "geometry-gap"


def test_a_spacing_that_grows_along_the_stack_is_a_gap() -> None:
    datasets = stack(noise(60))
    for k, dataset in enumerate(
        datasets
    ):  # each gap within a hundredth of the mean, the middle slice far off its place
        dataset.ImagePositionPatient[2] = 30 + 5 * k + 0.0008 * k * k
    assert refused(datasets) == "geometry-gap"


@settings(max_examples=20, deadline=None)
@given(around=angles, slices=st.integers(2, 6))
def test_two_images_at_one_position_are_a_duplicate(around: Any, slices: int) -> None:
    datasets = shortened(stack(noise(slices), ImageOrientationPatient=turned(around)))
    copy = pydicom.dcmread(pydicom.filebase.DicomBytesIO(file_of(datasets[1])))
    copy.SOPInstanceUID = "1.2.3.99"
    assert refused([*datasets, copy]) == "geometry-duplicate"


def test_an_instance_that_comes_twice_is_a_duplicate() -> None:
    datasets = stack(noise())
    assert refused([*datasets, datasets[0]]) == "geometry-duplicate"


@settings(max_examples=30, deadline=None)
@given(around=angles, degrees=st.one_of(st.floats(0.5, 30), st.floats(-30, -0.5)))
def test_a_tilted_gantry_is_a_shear_not_a_volume(around: Any, degrees: float) -> None:
    orientation = turned(around)
    datasets = stack(noise(6), gap=2.5, ImageOrientationPatient=orientation)
    for k, dataset in enumerate(datasets):
        drift = k * 2.5 * np.tan(np.radians(degrees)) * np.array(orientation[3:])
        dataset.ImagePositionPatient = list(np.array(dataset.ImagePositionPatient) + drift)
    assert refused(shortened(datasets)) == "geometry-shear"


@pytest.mark.parametrize("decimals", [1, 2, 3])
def test_positions_that_a_scanner_has_rounded_are_still_a_grid(decimals: int) -> None:
    datasets = stack(noise(40), gap=1.25, origin=(-120.3, -98.7, -411.35))
    for dataset in datasets:
        dataset.ImagePositionPatient = [round(float(x), decimals) for x in dataset.ImagePositionPatient]
    series, _ = read_series(datasets)
    assert series.spacing[0] == pytest.approx(1.25, rel=0.01)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}, "geometry-mixed"),
        ({"PixelSpacing": [0.5, 0.8]}, "geometry-mixed"),
        ({"FrameOfReferenceUID": "1.2.9"}, "geometry-mixed"),
        ({"SeriesInstanceUID": "1.2.9"}, "geometry-mixed"),
        ({"StudyInstanceUID": "1.2.9"}, "geometry-mixed"),
        ({"RescaleType": "US"}, "geometry-mixed"),
        ({"ImagePositionPatient": None}, "geometry-missing-tags"),
        ({"ImageOrientationPatient": None}, "geometry-missing-tags"),
        ({"PixelSpacing": None}, "geometry-missing-tags"),
        ({"PixelSpacing": [0, 0.75]}, "geometry-missing-tags"),
    ],
)
def test_an_odd_one_among_the_slices_is_named(change: dict[str, Any], code: str) -> None:
    odd = instance(noise()[0], (-10, -20, 50), number=9, **change)
    assert refused([*stack(noise()), odd]) == code
    assert refused([file_of(dataset) for dataset in (*stack(noise()), odd)]) == code


def test_slices_of_another_size_are_mixed() -> None:
    assert refused([*stack(noise()), instance(noise(1, 8, 8)[0], (-10, -20, 50), number=9)]) == "geometry-mixed"


@pytest.mark.parametrize(
    "orientation", [[1, 0, 0, 1, 0, 0], [0.9, 0, 0, 0, 1, 0], [0, 0, 0, 0, 0, 0], [1, 0, 0, 0.1, 0.99, 0]]
)
def test_directions_that_are_no_right_angle_are_refused(orientation: list[float]) -> None:
    datasets = stack(noise())
    for dataset in datasets:
        dataset.ImageOrientationPatient = orientation
    assert refused(datasets) == "geometry-orientation"


def test_one_image_is_no_volume() -> None:
    assert refused(stack(noise(1))) == "geometry-single-slice"
    assert refused([]) == "geometry-single-slice"


def test_the_localizer_that_a_scanner_left_in_the_series_is_set_aside() -> None:
    scout = instance(noise(1, 9, 7)[0], (0, 0, 0), number=9, **LOCALIZER)
    series, volume = read_series([scout, *stack(noise())])
    assert [frame.instance_number for frame in series.frames] == [1, 2, 3, 4]
    np.testing.assert_array_equal(volume.voxels, noise().astype(int) - 1024)


def test_localizers_alone_are_refused() -> None:
    assert refused([instance(noise()[k], (0, 0, k), number=k, **LOCALIZER) for k in range(2)]) == "geometry-localizer"


def test_a_real_head_ct_is_as_the_oracle_reads_it(test_data: Path) -> None:
    datasets = real(test_data / "ct" / "head_5mm")
    series, volume = read_series(files(test_data / "ct" / "head_5mm"))
    assert (volume.units, len(series.frames), series.body_part) == ("HU", 28, "BRAIN")
    assert_as_oracle(datasets, series, volume)


def test_a_real_tilted_head_ct_is_refused(test_data: Path) -> None:
    assert refused(files(test_data / "ct" / "head_tilted")) == "geometry-shear"


def test_a_real_mr_is_as_the_oracle_reads_it(test_data: Path) -> None:
    series, volume = read_series(files(test_data / "mr" / "t1"))
    assert (volume.units, len(series.frames)) == ("stored", 384)
    assert_as_oracle(real(test_data / "mr" / "t1"), series, volume)


def files(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()]


def real(folder: Path) -> list[Dataset]:
    return [pydicom.dcmread(path) for path in sorted(folder.rglob("*")) if path.is_file()]


def test_an_enhanced_image_is_ordered_by_position_whatever_its_dimensions_say() -> None:
    voxels = noise(5, top=200)
    dataset = enhanced_ct(voxels, [3, 0, 4, 1, 2])
    series, volume = read_series([file_of(dataset)])
    expected = voxels.astype(int) * np.arange(1, 6)[:, None, None] + (np.arange(5) - 1000)[:, None, None]
    np.testing.assert_array_equal(volume.voxels, expected)
    assert [frame.frame for frame in series.frames] == [2, 4, 5, 1, 3]
    assert (volume.units, volume.spacing) == ("HU", (3.0, 0.5, 0.75))
    assert (series.frames[0].window_center, series.frames[0].window_width) == (40, 80)


def test_an_enhanced_image_of_two_phases_is_no_plain_grid() -> None:
    assert refused([file_of(enhanced_ct(noise(3), [0, 1, 2, 0, 1, 2]))]) == "geometry-duplicate"


def test_an_enhanced_mr_is_a_stack_of_its_own_values() -> None:
    series, volume = read_series([file_of(enhanced_mr(noise(4)))])
    assert (series.modality, series.units, series.spacing) == ("MR", "stored", (3.0, 0.5, 0.75))
    assert [frame.frame for frame in series.frames] == [1, 2, 3, 4]
    np.testing.assert_array_equal(volume.voxels, noise(4))


@pytest.mark.parametrize(
    ("macro", "tags", "code"),
    [
        ("FrameContentSequence", {"StackID": "2"}, "geometry-several-stacks"),
        ("FrameContentSequence", {"TemporalPositionIndex": 2}, "geometry-several-phases"),
        ("MRDiffusionSequence", {"DiffusionBValue": 1000.0}, "geometry-several-contrasts"),
        ("MREchoSequence", {"EffectiveEchoTime": 90.0}, "geometry-several-contrasts"),
    ],
)
def test_an_enhanced_mr_that_holds_several_series_says_which(macro: str, tags: dict[str, Any], code: str) -> None:
    """Twice the same places: the second time another stack, moment, b-value or echo."""
    voxels = noise(3)
    dataset = enhanced_mr(np.concatenate([voxels, voxels]))
    for k, item in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        item.PlanePositionSequence[0].ImagePositionPatient[2] = 30.0 + (k % 3) * 3.0
        held = item[macro].value[0] if macro in item else Dataset()
        if k >= 3:
            held.update(tags)
        setattr(item, macro, [held])
    assert refused([file_of(dataset)]) == code


def test_an_enhanced_image_without_a_frame_is_a_gap() -> None:
    assert refused([file_of(enhanced_ct(noise(5), [0, 1, 3, 4]))]) == "geometry-gap"


def test_frames_without_positions_are_refused() -> None:
    dataset = enhanced_ct(noise(3), [0, 1, 2])
    del dataset.PerFrameFunctionalGroupsSequence
    assert refused([file_of(dataset)]) == "geometry-missing-tags"


def test_a_position_that_is_no_number_is_named_without_its_value() -> None:
    data = file_of(stack(noise())[0])
    broken = data.replace(b"-10.0\\-20.0\\30.0", b"-10.0\\-20.0\\3a.0")
    assert broken != data
    with pytest.raises(PermanentFailure) as caught:
        read_series([broken, *[file_of(dataset) for dataset in stack(noise())[1:]]])
    assert (caught.value.code, "3a" in str(caught.value)) == ("dicom-value", False)
