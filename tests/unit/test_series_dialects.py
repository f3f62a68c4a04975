"""What scanners and archives write besides the standard's letter, and what is read of it all the same."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from typing import Any

import imagecodecs
import numpy as np
import pytest
from pydicom import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGLSLossless, generate_uid

from schemas.errors import PermanentFailure
from tests.unit.series_samples import file_of, noise, stack
from workflows.series import read_series

WINDOW = b"\x28\x00\x50\x10DS"
"""Window Center, explicit."""


def with_center(data: bytes, value: bytes) -> bytes:
    """The file with these bytes as its Window Center."""
    at = data.index(WINDOW)
    (length,) = struct.unpack_from("<H", data, at + 6)
    return data[: at + 6] + struct.pack("<H", len(value)) + value + data[at + 8 + length :]


@pytest.mark.parametrize("value", [b"NaN ", b"40,5", b"40\\ ", b"low ", b""])
def test_a_broken_display_hint_never_refuses_a_series(value: bytes) -> None:
    files = [with_center(file_of(each), value) for each in stack(noise(), WindowCenter=40, WindowWidth=400)]
    series, volume = read_series(files)
    np.testing.assert_array_equal(volume.voxels, noise().astype(int) - 1024)
    assert series.frames[0].window_center in (None, 40.0)


@pytest.mark.parametrize("weight", [float("nan"), float("inf"), None])
def test_a_diffusion_weight_that_is_no_number_is_as_if_absent(weight: float | None) -> None:
    weighted = stack(noise(), modality="MR", DiffusionBValue=1000.0)
    unknown = stack(noise()[::-1], modality="MR", DiffusionBValue=weight)
    for each in unknown:
        each.SOPInstanceUID = generate_uid()
    series, volume = read_series([file_of(each) for each in (*unknown, *weighted)])
    np.testing.assert_array_equal(volume.voxels, noise().astype(int))
    assert any("of another diffusion weight (none given; read: 1000 s/mm2)" in each for each in series.set_aside)


def test_a_broken_value_that_is_needed_is_named() -> None:
    files = [file_of(each).replace(b"-10.0\\-20.0\\30.0", b"-10.0\\-20.0\\3a.0") for each in stack(noise())]
    with pytest.raises(PermanentFailure, match="ImagePositionPatient of an image is not a number"):
        read_series(files)


def explicit_called_implicit(data: bytes) -> bytes:
    explicit, implicit = b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2\0\0\0"
    at = data.index(explicit)
    return data[:at] + implicit + data[at + len(explicit) :]


def implicit_called_explicit(data: bytes) -> bytes:
    at = data.index(b"\x02\x00\x10\x00UI")
    (length,) = struct.unpack_from("<H", data, at + 6)
    value = b"1.2.840.10008.1.2.1\0"
    longer = data[:at] + b"\x02\x00\x10\x00UI" + struct.pack("<H", len(value)) + value + data[at + 8 + length :]
    group = struct.unpack_from("<I", longer, 140)[0] + len(value) - length
    return longer[:140] + struct.pack("<I", group) + longer[144:]


@pytest.mark.parametrize(
    ("syntax", "broken"),
    [(ExplicitVRLittleEndian, explicit_called_implicit), (ImplicitVRLittleEndian, implicit_called_explicit)],
)
def test_a_file_under_the_wrong_transfer_syntax_is_read_as_it_is_written(
    syntax: Any, broken: Callable[[bytes], bytes]
) -> None:
    _, volume = read_series([broken(file_of(each, syntax)) for each in stack(noise())])
    np.testing.assert_array_equal(volume.voxels, noise().astype(int) - 1024)


def test_an_image_of_no_frames_is_one() -> None:
    _, volume = read_series([file_of(each) for each in stack(noise(), NumberOfFrames=0)])
    np.testing.assert_array_equal(volume.voxels, noise().astype(int) - 1024)


def test_padding_beyond_the_stored_bits_is_air() -> None:
    """-2000 written into 16 bits of which 12 are stored: cut to 12 it would shine as bone."""
    voxels = np.full((4, 6, 8), 1064, np.uint16)
    voxels[:, :2] = 63536
    padded = stack(voxels, BitsStored=12, HighBit=11)
    for each in padded:
        each.add_new(0x00280120, "US", 63536)
    _, volume = read_series([file_of(each) for each in padded])
    assert (volume.voxels[:, :2] == -1024).all()
    assert (volume.voxels[:, 2:] == 40).all()


def test_signed_values_in_jpeg_ls() -> None:
    voxels = noise(4).astype(np.int16) - 500
    files = []
    for dataset, pixels in zip(stack(voxels, RescaleIntercept=0), voxels, strict=True):
        files.append(compressed(dataset, imagecodecs.jpegls_encode(pixels.view(np.uint16))))
    _, volume = read_series(files)
    np.testing.assert_array_equal(volume.voxels, voxels)


def compressed(dataset: Dataset, frame: bytes) -> bytes:
    dataset.PixelData = encapsulate([frame])
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = JPEGLSLossless
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
