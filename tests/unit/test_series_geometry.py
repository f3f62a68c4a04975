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


def assert_at_their_own_places(datasets: list[Dataset], series: SeriesVolume) -> None:
    """Every corner of every slice lies where its own header puts it (PS3.3 C.7.6.2.1.1)."""
    by_uid = {dataset.SOPInstanceUID: dataset for dataset in datasets}
    for k, frame in enumerate(series.frames):
        own = by_uid[frame.sop_instance_uid]
        row, column = np.array(own.ImageOrientationPatient[:3], float), np.array(own.ImageOrientationPatient[3:], float)
        down, across = (float(x) for x in own.PixelSpacing)
        for r, c in ((0, 0), (series.rows - 1, 0), (0, series.columns - 1)):
            expected = np.array(own.ImagePositionPatient, float) + r * down * column + c * across * row
            np.testing.assert_allclose(series.position(k, r, c), expected, atol=0.2)


@settings(max_examples=30, deadline=None)
@given(around=angles, share=st.floats(0.15, 0.95))
def test_a_slice_out_of_its_place_keeps_it_or_leaves_a_gap(around: Any, share: float) -> None:
    datasets = stack(noise(5), gap=2.0, ImageOrientationPatient=turned(around))
    moved = np.array(datasets[2].ImagePositionPatient) + share * 2.0 * normal_of(datasets[2].ImageOrientationPatient)
    datasets[2].ImagePositionPatient = list(moved)
    shortened(datasets)
    if share > 0.61:
        assert refused(datasets) == "geometry-gap"
    elif share < 0.59:
        assert_at_their_own_places(datasets, read_series(datasets)[0])


@settings(max_examples=20, deadline=None)
@given(
    around=angles,
    thin=st.integers(4, 12),
    thick=st.integers(4, 12),
    step=st.sampled_from([(4.0, 7.0), (2.5, 5.0), (3.0, 8.0)]),
)
def test_a_head_in_two_steps_keeps_each_slice_at_its_place(around: Any, thin: int, thick: int, step: Any) -> None:
    """Thin slices through the skull base, thick ones above: the everyday head CT of older scanners."""
    orientation = turned(around)
    depths = np.concatenate([np.arange(thin) * step[0], thin * step[0] + np.arange(thick) * step[1]])
    datasets = stack(noise(len(depths)), ImageOrientationPatient=orientation)
    for k, dataset in enumerate(datasets):
        dataset.ImagePositionPatient = list(np.array([-10, -20, 30]) + depths[k] * normal_of(orientation))
        dataset.SliceThickness = step[0] if k < thin else step[1]
    series, volume = read_series(shortened(datasets))
    assert len(series.slice_positions) == len(depths) == len(volume.voxels)
    assert_at_their_own_places(datasets, series)
    between = np.array(series.position(thin - 0.5, 0, 0)) - np.array(series.position(thin - 1, 0, 0))
    np.testing.assert_allclose(np.linalg.norm(between), step[0] / 2, atol=0.01)


def test_a_missing_slice_is_named_with_its_place() -> None:
    datasets = stack(noise(24), SliceThickness=5.0)
    del datasets[11]
    with pytest.raises(GeometryError, match=r"10\.0 mm lie between slice 11 of 23 \(instance 11\)"):
        read_series(datasets)


@settings(max_examples=20, deadline=None)
@given(around=angles, slices=st.integers(2, 6))
def test_two_images_at_one_position_are_a_duplicate(around: Any, slices: int) -> None:
    datasets = shortened(stack(noise(slices), ImageOrientationPatient=turned(around)))
    copy = pydicom.dcmread(pydicom.filebase.DicomBytesIO(file_of(datasets[1])))
    copy.SOPInstanceUID = "1.2.3.99"
    copy.PixelData = bytes(255 - value for value in copy.PixelData)
    assert refused([*datasets, copy]) == "geometry-duplicate"


def test_a_slice_that_was_sent_twice_is_there_once() -> None:
    """Under its own UID or, after a repair in the archive, under a new one."""
    datasets = stack(noise())
    copy = pydicom.dcmread(pydicom.filebase.DicomBytesIO(file_of(datasets[1])))
    copy.SOPInstanceUID = "1.2.3.99"
    series, volume = read_series([*datasets, datasets[0], copy])
    np.testing.assert_array_equal(volume.voxels, noise().astype(int) - 1024)
    assert series.set_aside == ["2 copies of slices"]


@settings(max_examples=30, deadline=None)
@given(around=angles, degrees=st.one_of(st.floats(0.5, 30), st.floats(-30, -0.5)))
def test_under_a_tilted_gantry_every_slice_lies_at_its_place(around: Any, degrees: float) -> None:
    orientation = turned(around)
    datasets = stack(noise(6), gap=2.5, ImageOrientationPatient=orientation)
    for k, dataset in enumerate(datasets):
        drift = k * 2.5 * np.tan(np.radians(degrees)) * np.array(orientation[3:])
        dataset.ImagePositionPatient = list(np.array(dataset.ImagePositionPatient) + drift)
    series, volume = read_series(shortened(datasets))
    np.testing.assert_array_equal(volume.voxels, noise(6).astype(int) - 1024)
    assert_at_their_own_places(datasets, series)
    assert series.tilt == pytest.approx(abs(degrees), abs=0.1)
    assert series.spacing[0] == pytest.approx(2.5, abs=0.01)


def test_slices_without_a_common_direction_are_refused_with_the_place() -> None:
    datasets = stack(noise(6))
    datasets[3].ImagePositionPatient[0] += 30.0
    with pytest.raises(GeometryError, match=r"slice 4 of 6 \(instance 4\) lies \d+ mm beside the line"):
        read_series(datasets)


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
        ({"SeriesInstanceUID": "1.2.9"}, "geometry-mixed"),
        ({"StudyInstanceUID": "1.2.9"}, "geometry-mixed"),
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


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}, "1 image of another orientation"),
        ({"PixelSpacing": [0.5, 0.8]}, "1 image of another pixel spacing"),
        ({"FrameOfReferenceUID": "1.2.9"}, "1 image of another frame of reference"),
        ({"RescaleType": "US"}, "1 image of another units"),
        ({"Modality": "PR", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.11.1", "Rows": None}, "1 presentation state"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.66", "Rows": None}, "1 object without an image"),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, "1 colour picture"),
    ],
)
def test_an_odd_object_is_set_aside_and_said(change: dict[str, Any], said: str) -> None:
    """It lies behind the last slice: the stack is whole without it."""
    odd = instance(noise()[0], (-10, -20, 50), number=9, **change)
    for parts in ([*stack(noise()), odd], [file_of(dataset) for dataset in (*stack(noise()), odd)]):
        series, volume = read_series(parts)
        np.testing.assert_array_equal(volume.voxels, noise().astype(int) - 1024)
        assert series.set_aside == [said]


def test_an_odd_image_in_the_place_of_a_slice_leaves_a_gap() -> None:
    datasets = stack(noise(8))
    datasets[3].PixelSpacing = [0.5, 0.8]
    assert refused(datasets) == "geometry-gap"


def test_a_series_that_is_half_of_one_kind_and_half_of_another_is_mixed() -> None:
    larger = [instance(noise(1, 8, 8)[0], (-10, -20, 50 + 5 * k), number=9 + k) for k in range(3)]
    assert refused([*stack(noise()), *larger]) == "geometry-mixed"


def test_slices_of_another_size_are_set_aside() -> None:
    series, _ = read_series([*stack(noise()), instance(noise(1, 8, 8)[0], (-10, -20, 50), number=9)])
    assert series.set_aside == ["1 image of another size"]


def test_a_second_acquisition_between_the_slices_of_the_first_is_another_stack() -> None:
    """Half a gap apart they would pass for one volume of half the gap."""
    first = stack(noise(6), AcquisitionNumber=1)
    second = stack(noise(5), origin=(-10, -20, 32.5), AcquisitionNumber=2)
    for k, dataset in enumerate(second):
        dataset.SOPInstanceUID = f"1.2.3.4.{k}"
    series, _ = read_series([*first, *second])
    assert (len(series.frames), series.spacing[0]) == (6, 5.0)
    assert series.set_aside == ["a second acquisition of 5 images that lie between the slices of the first"]


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


def test_a_real_tilted_head_ct_is_read_slice_by_slice_where_each_lies(test_data: Path) -> None:
    datasets = real(test_data / "ct" / "head_tilted")
    series, volume = read_series(files(test_data / "ct" / "head_tilted"))
    assert len(volume.voxels) == len(series.frames) > 10
    assert 5 < series.tilt < 40
    assert_at_their_own_places(datasets, series)


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
