"""Stored values become voxels as the standard says, in every syntax; what would not be true is refused by name."""

from __future__ import annotations

import random
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from schemas.errors import LongviewError, PermanentFailure
from tests.unit.series_samples import enhanced_ct, file_of, noise, stack
from workflows.series import read_series
from workflows.series.attributes import identity_of

CODECS = [
    "MR_small_implicit.dcm",
    "MR_small_bigendian.dcm",
    "MR_small_RLE.dcm",
    "MR_small_jp2klossless.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
]


def refused(parts: list[Any]) -> str:
    with pytest.raises(PermanentFailure) as caught:
        read_series(parts)
    return caught.value.code


def two_of(name: str) -> list[bytes]:
    """A file that pydicom carries, and its copy 5 mm along the normal: a series of two."""
    first = dcmread(str(get_testdata_file(name)))
    second = dcmread(str(get_testdata_file(name)))
    row, column = np.array(first.ImageOrientationPatient[:3], float), np.array(first.ImageOrientationPatient[3:], float)
    moved = np.array(first.ImagePositionPatient, float) + 5 * np.cross(row, column)
    second.ImagePositionPatient = [round(float(x), 6) for x in moved]
    second.SOPInstanceUID = second.file_meta.MediaStorageSOPInstanceUID = "1.2.3.77"
    return [saved(first), saved(second)]


def saved(dataset: Dataset) -> bytes:
    file = BytesIO()
    dataset.save_as(file)
    return file.getvalue()


@pytest.mark.parametrize("name", CODECS)
def test_one_mr_image_is_the_same_in_every_transfer_syntax(name: str) -> None:
    plain = dcmread(str(get_testdata_file("MR_small.dcm"))).pixel_array
    _, volume = read_series(two_of(name))
    assert volume.units == "stored"
    for slice_ in volume.voxels:
        np.testing.assert_array_equal(slice_, plain)


@pytest.mark.parametrize("name", ["693_J2KI.dcm", "J2K_pixelrep_mismatch.dcm", "CT_small.dcm"])
def test_real_ct_images_get_the_hounsfield_units_of_the_oracle(name: str) -> None:
    dataset = dcmread(str(get_testdata_file(name)))
    expected = dataset.pixel_array * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)
    _, volume = read_series(two_of(name))
    np.testing.assert_array_equal(volume.voxels[0], expected)


SYNTAXES = [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16])
def test_every_native_syntax_sign_and_depth(syntax: Any, dtype: Any) -> None:
    voxels = noise(3, rows=4, columns=6, top=100, dtype=dtype) - (50 if np.dtype(dtype).kind == "i" else 0)
    voxels = voxels.astype(dtype)
    parts = []
    for dataset, pixels in zip(stack(voxels), voxels, strict=True):
        if syntax == ExplicitVRBigEndian:  # 8 bits as OW: two pixels a word
            dataset["PixelData"].VR = "OW"
            dataset.PixelData = (
                pixels.astype(pixels.dtype.newbyteorder(">")).tobytes()
                if pixels.itemsize == 2
                else pixels.view("<u2").byteswap().tobytes()
            )
        parts.append(file_of(dataset, syntax))
    _, volume = read_series(parts)
    np.testing.assert_array_equal(volume.voxels, voxels.astype(int) - 1024)


def test_compressed_frames_of_an_enhanced_image() -> None:
    voxels = noise(4, top=200)
    dataset = enhanced_ct(voxels, [2, 0, 3, 1])
    dataset.compress(RLELossless, generate_instance_uid=False)
    _, volume = read_series([saved(dataset)])
    expected = voxels.astype(int) * np.arange(1, 5)[:, None, None] + (np.arange(4) - 1000)[:, None, None]
    np.testing.assert_array_equal(volume.voxels, expected)


def test_bits_beyond_those_stored_are_not_pixels() -> None:
    voxels = noise(3, top=4096)
    _, volume = read_series(stack(voxels | 0xF000, BitsStored=12, HighBit=11))
    np.testing.assert_array_equal(volume.voxels, voxels.astype(int) - 1024)


def test_twelve_signed_bits_keep_their_sign() -> None:
    voxels = (noise(3, top=4096).astype(np.int16) - 2048).astype(np.int16)
    _, volume = read_series(stack(voxels & np.int16(0x0FFF), BitsStored=12, HighBit=11))
    np.testing.assert_array_equal(volume.voxels, voxels.astype(int) - 1024)


def test_pixels_that_do_not_begin_at_the_lowest_bit() -> None:
    voxels = noise(3, top=4096)
    _, volume = read_series(stack((voxels << 4).astype(np.uint16), BitsStored=12, HighBit=15))
    np.testing.assert_array_equal(volume.voxels, voxels.astype(int) - 1024)


def test_each_slice_has_its_own_rescale() -> None:
    voxels = noise(3)
    datasets = stack(voxels)
    for dataset, slope, intercept in zip(datasets, ("1", "2", "0.25"), ("-1024", "-1000", "-8192"), strict=True):
        dataset.RescaleSlope, dataset.RescaleIntercept = slope, intercept
    _, volume = read_series(datasets)
    expected = [voxels[0] - 1024.0, voxels[1] * 2 - 1000.0, np.rint(voxels[2] * 0.25 - 8192)]
    np.testing.assert_array_equal(volume.voxels, np.array(expected))


def test_an_mr_with_one_slope_keeps_its_stored_values() -> None:
    series, volume = read_series(stack(noise(), modality="MR", RescaleSlope=0.003, WindowCenter=3, WindowWidth=6))
    np.testing.assert_array_equal(volume.voxels, noise())
    assert volume.units == "stored"
    assert series.frames[0].window_center == pytest.approx(1000)
    assert series.frames[0].window_width == pytest.approx(2000)


def test_pet_slices_with_slopes_of_their_own_stay_comparable() -> None:
    voxels = noise(3, top=30000, dtype=np.int16)
    datasets = stack(voxels, modality="PT", Units="BQML")
    for dataset, slope in zip(datasets, (0.5, 1.5, 3.0), strict=True):
        dataset.RescaleSlope = slope
    _, volume = read_series(datasets)
    np.testing.assert_array_equal(volume.voxels[2], voxels[2])
    np.testing.assert_array_equal(volume.voxels[0], np.rint(voxels[0] / 6))


def test_a_negative_mr_is_turned_and_a_negative_ct_is_not() -> None:
    mr = stack(noise(), modality="MR", PhotometricInterpretation="MONOCHROME1", BitsStored=12, HighBit=11)
    np.testing.assert_array_equal(read_series(mr)[1].voxels, 4095 - noise().astype(int))
    ct = stack(noise(), PhotometricInterpretation="MONOCHROME1", BitsStored=12, HighBit=11)
    np.testing.assert_array_equal(read_series(ct)[1].voxels, noise().astype(int) - 1024)


def test_a_ct_of_other_units_is_not_called_hounsfield() -> None:
    assert read_series(stack(noise(), RescaleType="HU"))[1].units == "HU"
    assert read_series(stack(noise(), RescaleType="Z_EFF"))[1].units == "stored"


def test_a_ct_without_rescale_has_no_hounsfield_units() -> None:
    assert refused(stack(noise(), RescaleSlope=None)) == "pixels-rescale"
    assert refused(stack(noise(), RescaleSlope=0)) == "pixels-rescale"


def test_values_beyond_16_bits_are_refused_and_never_wrap() -> None:
    voxels = noise(top=100)
    voxels[1, 2, 3] = 40000
    assert refused(stack(voxels, RescaleIntercept=0)) == "pixels-range"
    assert refused(stack(voxels, modality="MR")) == "pixels-range"
    assert refused(stack(voxels)) == "pixels-range"
    voxels[1, 2, 3] = 32767 + 1024
    assert read_series(stack(voxels))[1].voxels[1, 2, 3] == 32767


def test_padding_beyond_16_bits_is_held_at_the_end() -> None:
    voxels = noise(top=2000, dtype=np.int16)
    voxels[:, 0, 0] = -32768
    _, volume = read_series(stack(voxels, PixelPaddingValue=-32768))
    assert (volume.voxels[:, 0, 0] == -32768).all()
    np.testing.assert_array_equal(volume.voxels[:, 1:], voxels[:, 1:].astype(int) - 1024)
    assert refused(stack(voxels)) == "pixels-range"


@pytest.mark.parametrize(
    ("tags", "code"),
    [
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "pixels-photometric"),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, "pixels-photometric"),
        ({"BitsStored": 17}, "pixels-bit-depth"),
        ({"BitsAllocated": 32, "BitsStored": 32, "HighBit": 31}, "pixels-bit-depth"),
        ({"Rows": None}, "pixels-missing"),
        ({"PixelData": b"\0" * 10}, "pixels-cut"),
    ],
)
def test_pixels_that_cannot_be_read_are_named(tags: dict[str, Any], code: str) -> None:
    assert refused(stack(noise(), **tags)) == code
    assert refused([file_of(dataset) for dataset in stack(noise(), **tags)]) == code


def test_a_modality_table_is_not_taken_for_a_slope() -> None:
    table = Dataset()
    table.LUTData, table.LUTDescriptor, table.ModalityLUTType = [0, 1], [2, 0, 16], "US"
    datasets = stack(noise())
    for dataset in datasets:
        dataset.ModalityLUTSequence = [table]
        dataset["ModalityLUTSequence"].value[0]["LUTDescriptor"].VR = "US"
        dataset["ModalityLUTSequence"].value[0]["LUTData"].VR = "US"
    assert refused([file_of(dataset) for dataset in datasets]) == "pixels-modality-lut"


def test_a_syntax_without_decoder_says_so() -> None:
    parts = two_of("MR_small_RLE.dcm")
    unknown = [part.replace(b"1.2.840.10008.1.2.5\0", b"1.2.840.10008.1.2.9\0") for part in parts]
    assert refused(unknown) == "pixels-codec"


def test_a_file_that_was_cut_is_never_a_volume() -> None:
    first, second = two_of("MR_small.dcm")
    assert refused([first, Path(str(get_testdata_file("MR_truncated.dcm"))).read_bytes()]).startswith(
        ("pixels-", "geometry-")
    )
    for length in (0, 100, 140, 300, 700, len(second) - 200, len(second) // 2):
        code = refused([first, second[:length]])
        assert code.startswith(("dicom-", "pixels-", "geometry-missing")), (length, code)


@pytest.mark.parametrize("name", CODECS[2:])
def test_compressed_pixels_that_were_cut_are_refused(name: str) -> None:
    first, second = two_of(name)
    assert refused([first, second[:-300]]) in ("pixels-cut", "dicom-cut")


MR = two_of("MR_small.dcm")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(places=st.lists(st.tuples(st.integers(0, 1700), st.integers(0, 255)), min_size=1, max_size=6))
@pytest.mark.filterwarnings("ignore")
def test_a_damaged_header_ends_in_a_named_failure_or_a_volume(places: list[tuple[int, int]]) -> None:
    damaged = bytearray(MR[1])
    for at, value in places:
        damaged[at] = value
    try:
        _, volume = read_series([MR[0], bytes(damaged)])
    except LongviewError:
        return
    assert volume.voxels.shape == (2, 64, 64)


def test_sequences_of_undefined_length_are_stepped_over() -> None:
    inner, outer = Dataset(), Dataset()
    inner.PatientID = "SOMEONE-ELSE"
    inner.is_undefined_length_sequence_item = True
    outer.ReferencedStudySequence = [inner]
    outer.is_undefined_length_sequence_item = True
    outer["ReferencedStudySequence"].is_undefined_length = True
    for syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian):
        dataset = stack(noise())[0]
        dataset.ReferencedPerformedProcedureStepSequence = [outer]
        dataset["ReferencedPerformedProcedureStepSequence"].is_undefined_length = True
        data = file_of(dataset, syntax)
        assert b"SOMEONE-ELSE" in data
        assert identity_of(data) == ("P1", "1.2.3", "1.2.3.4", dataset.SOPInstanceUID)


def test_text_in_another_character_set() -> None:
    datasets = stack(noise(), SpecificCharacterSet="ISO_IR 192", SeriesDescription="Schädel nativ")
    series, _ = read_series([file_of(dataset) for dataset in datasets])
    assert series.description == "Schädel nativ"


def test_files_without_preamble_are_read_too() -> None:
    parts = [file_of(dataset)[132:] for dataset in stack(noise())]
    np.testing.assert_array_equal(read_series(parts)[1].voxels, noise().astype(int) - 1024)


@pytest.mark.parametrize("data", [b"", b"not DICOM at all", bytes(5000), random.Random(1).randbytes(5000)])
def test_what_is_no_dicom_is_refused(data: bytes) -> None:
    assert refused([data, data]) in ("dicom-unreadable", "dicom-cut")


def test_pydicom_is_not_needed_for_the_plain_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    """What makes a series fast: no slice goes through the general reader."""
    parts = [file_of(d, ImplicitVRLittleEndian) for d in stack(noise())]
    monkeypatch.setattr(pydicom.filereader, "dcmread", None)
    monkeypatch.setattr("workflows.series.attributes.dcmread", None)
    assert read_series(parts)[1].voxels.shape == (4, 6, 5)
