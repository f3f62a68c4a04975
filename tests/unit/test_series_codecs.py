"""One series in every transfer syntax that a hospital sends: the voxels are the same, and what was cut or is of another size is refused."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable
from io import BytesIO
from typing import Any, NamedTuple

import imagecodecs
import numpy as np
import numpy.typing as npt
import pytest
from pydicom import Dataset, dcmread, uid
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate, get_frame
from pydicom.pixels.encoders.base import get_encoder

from schemas.errors import PermanentFailure
from tests.unit.series_samples import enhanced_ct, file_of, noise, stack
from workflows.series import read_series
from workflows.series.attributes import DatasetAttributes
from workflows.series.codecs import DECODER_DEPENDENCIES, decoder_of
from workflows.series.frames import frames_of
from workflows.series.plane import instance_of

Pixels = npt.NDArray[Any]


class Syntax(NamedTuple):
    """`encode` gives one frame's codestream; `error` is how far a decoded value may be from the original."""

    uid: str
    bits: int
    encode: Callable[[Pixels], bytes]
    error: int = 0


def rle(pixels: Pixels) -> bytes:
    rows, columns = pixels.shape
    encoded: bytes = get_encoder(uid.RLELossless).encode(
        pixels.tobytes(), rows=rows, columns=columns, number_of_frames=1, samples_per_pixel=1, pixel_representation=0,
        bits_allocated=pixels.itemsize * 8, bits_stored=pixels.itemsize * 8, photometric_interpretation="MONOCHROME2",
    )  # fmt: skip
    return encoded


def lossless_jpeg(predictor: int, bits: int) -> Callable[[Pixels], bytes]:
    return lambda pixels: imagecodecs.jpeg8_encode(pixels, lossless=True, predictor=predictor, bitspersample=bits)


SYNTAXES = [
    Syntax(uid.JPEGBaseline8Bit, 8, lambda p: imagecodecs.jpeg8_encode(p, level=98), 3),
    Syntax(uid.JPEGExtended12Bit, 8, lambda p: imagecodecs.jpeg8_encode(p, level=98), 3),
    Syntax(uid.JPEGExtended12Bit, 12, lambda p: imagecodecs.jpeg8_encode(p, level=98, bitspersample=12), 24),
    Syntax(uid.JPEGLossless, 8, lossless_jpeg(4, 8)),
    Syntax(uid.JPEGLossless, 12, lossless_jpeg(6, 12)),
    Syntax(uid.JPEGLossless, 16, lossless_jpeg(7, 16)),
    Syntax(uid.JPEGLosslessSV1, 8, lossless_jpeg(1, 8)),
    Syntax(uid.JPEGLosslessSV1, 12, lossless_jpeg(1, 12)),
    Syntax(uid.JPEGLosslessSV1, 16, lossless_jpeg(1, 16)),
    Syntax(uid.JPEGLSLossless, 12, imagecodecs.jpegls_encode),
    Syntax(uid.JPEGLSNearLossless, 12, lambda p: imagecodecs.jpegls_encode(p, level=2), 2),
    Syntax(uid.JPEG2000Lossless, 12, lambda p: imagecodecs.jpeg2k_encode(p, codecformat="j2k", reversible=True)),
    Syntax(uid.JPEG2000, 12, lambda p: imagecodecs.jpeg2k_encode(p, codecformat="j2k", level=90, reversible=False), 12),
    Syntax(uid.HTJ2KLossless, 12, imagecodecs.htj2k_encode),
    Syntax(uid.HTJ2KLosslessRPCL, 12, imagecodecs.htj2k_encode),
    Syntax(uid.HTJ2K, 12, lambda p: imagecodecs.htj2k_encode(p, reversible=False, level=0.0001), 16),
    Syntax(uid.RLELossless, 16, rle),
]
NATIVE = [
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRLittleEndian,
    uid.DeflatedExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
]
named = pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda s: f"{uid.UID(s.uid).keyword}-{s.bits}")


def body(bits: int, slices: int = 2) -> Pixels:
    """A soft blob over noise: something that a lossy codec can keep."""
    y, x = np.mgrid[0:48, 0:40]
    blob = np.exp(-((y - 24) ** 2 + (x - 20) ** 2) / 200.0)
    grain = noise(slices, 48, 40, top=1 << max(bits - 7, 1)).astype(float)
    return np.clip(blob * (1 << bits) * 0.8 + grain, 0, (1 << bits) - 1).astype(np.uint8 if bits == 8 else np.uint16)


def series_in(syntax: Syntax, voxels: Pixels) -> list[bytes]:
    tags = {"BitsStored": syntax.bits, "HighBit": syntax.bits - 1, "RescaleIntercept": 0, "modality": "MR"}
    return [
        compressed(dataset, syntax.uid, syntax.encode(pixels))
        for dataset, pixels in zip(stack(voxels, **tags), voxels, strict=True)
    ]


def compressed(dataset: Dataset, syntax: str, *frames: bytes) -> bytes:
    dataset.PixelData = encapsulate(list(frames))
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    return file_of(dataset, uid.UID(syntax))


def refused(parts: list[bytes]) -> str:
    with pytest.raises(PermanentFailure) as caught:
        read_series(parts)
    return caught.value.code


@named
def test_a_series_in_every_compressed_syntax(syntax: Syntax) -> None:
    voxels = body(syntax.bits) // (2 if syntax.bits == 16 else 1)  # an MR of 16 bits must fit into int16
    _, volume = read_series(series_in(syntax, voxels))
    np.testing.assert_allclose(volume.voxels, voxels.astype(int), atol=syntax.error)


@pytest.mark.parametrize("syntax", NATIVE, ids=lambda s: s.keyword)
def test_a_series_in_every_native_syntax(syntax: uid.UID) -> None:
    voxels = body(12)
    datasets = stack(voxels, modality="MR", BitsStored=12, HighBit=11)
    if syntax == uid.ExplicitVRBigEndian:
        for dataset, pixels in zip(datasets, voxels, strict=True):
            dataset.PixelData = pixels.byteswap().tobytes()
    _, volume = read_series([file_of(dataset, syntax) for dataset in datasets])
    np.testing.assert_array_equal(volume.voxels, voxels)


@named
def test_a_codestream_that_was_cut_is_never_half_a_slice(syntax: Syntax) -> None:
    voxels = body(syntax.bits) // (2 if syntax.bits == 16 else 1)
    first, second = stack(voxels, modality="MR", BitsStored=syntax.bits, HighBit=syntax.bits - 1, RescaleIntercept=0)
    whole = syntax.encode(voxels[1])
    parts = [
        compressed(first, syntax.uid, syntax.encode(voxels[0])),
        compressed(second, syntax.uid, whole[: len(whole) // 2]),
    ]
    assert refused(parts) == "pixels-decode"


@pytest.mark.parametrize("syntax", [s for s in SYNTAXES if s.uid in DECODER_DEPENDENCIES], ids=lambda s: s.uid)
def test_a_codestream_of_another_size_does_not_decide_how_much_memory_is_taken(syntax: Syntax) -> None:
    voxels = body(syntax.bits)
    tags = {"modality": "MR", "BitsStored": syntax.bits, "HighBit": syntax.bits - 1}
    larger = np.pad(voxels, ((0, 0), (0, 8), (0, 8)))
    parts = [
        compressed(dataset, syntax.uid, syntax.encode(pixels))
        for dataset, pixels in zip(stack(voxels, **tags), larger, strict=True)
    ]
    assert refused(parts) == "pixels-decode"


@pytest.mark.parametrize("syntax", [uid.JPEGLosslessSV1, uid.HTJ2KLossless, uid.JPEG2000Lossless, uid.JPEGLSLossless])
def test_the_frames_of_an_enhanced_ct_in_a_compressed_syntax(syntax: str) -> None:
    """Each frame is a codestream of its own; the file's order of frames is not that of the body."""
    encode = next(s.encode for s in SYNTAXES if s.uid == syntax and s.bits == 12)
    voxels = body(12, slices=4) // 8
    order = [2, 0, 3, 1]
    dataset = enhanced_ct(voxels, order)
    dataset.BitsStored, dataset.HighBit = 12, 11
    _, volume = read_series([compressed(dataset, syntax, *[encode(voxels[k]) for k in order])])
    expected = voxels.astype(int) * np.arange(1, 5)[:, None, None] + (np.arange(4) - 1000)[:, None, None]
    np.testing.assert_array_equal(volume.voxels, expected)


def test_a_signed_image_keeps_its_sign_in_a_jpeg_that_knows_none() -> None:
    voxels = (body(12).astype(np.int16) - 1500).astype(np.int16)
    parts = [
        compressed(dataset, uid.JPEGLosslessSV1, lossless_jpeg(1, 16)(pixels.view(np.uint16)))
        for dataset, pixels in zip(stack(voxels, RescaleIntercept=0), voxels, strict=True)
    ]
    np.testing.assert_array_equal(read_series(parts)[1].voxels, voxels)


def test_a_real_image_of_twelve_bits_in_extended_jpeg() -> None:
    """A bone scan as its camera wrote it; the oracle decodes the codestream by itself."""
    dataset = dcmread(str(get_testdata_file("JPGExtended.dcm")))
    [frame] = frames_of(instance_of(DatasetAttributes(dataset)))
    codestream = get_frame(dataset.PixelData, 0, number_of_frames=1)
    np.testing.assert_array_equal(frame, imagecodecs.jpeg_decode(codestream))
    assert frame.max() > 255


def test_no_part_under_the_gpl_is_needed() -> None:
    """`pylibjpeg-libjpeg` and GDCM are what pydicom asks for; neither is here, and every syntax has its decoder all the same."""
    for syntax in SYNTAXES:
        decoder = decoder_of(syntax.uid)
        assert decoder is not None
        assert not {"gdcm", "pylibjpeg"} & set(decoder.available_plugins)
    assert decoder_of("1.2.840.10008.1.2.4.102") is None


def test_the_file_is_read_as_it_was_written() -> None:
    """The samples above are DICOM files that another reader takes too."""
    [part, _] = series_in(SYNTAXES[-1], body(16) // 2)
    np.testing.assert_array_equal(dcmread(BytesIO(part)).pixel_array, (body(16) // 2)[0])


@named
def test_a_damaged_codestream_ends_in_a_named_failure_or_an_image(syntax: Syntax) -> None:
    """And soon: none of the decoders that are used is held up by one, or shows memory that it has not written to."""
    voxels = body(syntax.bits) // (2 if syntax.bits == 16 else 1)
    tags = {"modality": "MR", "BitsStored": syntax.bits, "HighBit": syntax.bits - 1, "RescaleIntercept": 0}
    whole, rng = [syntax.encode(pixels) for pixels in voxels], random.Random(7)
    for _ in range(30):
        damaged = bytearray(whole[1])
        for _ in range(rng.randint(1, 6)):
            damaged[rng.randrange(rng.choice([len(damaged), min(len(damaged), 120)]))] = rng.randrange(256)
        first, second = stack(voxels, **tags)
        parts = [compressed(first, syntax.uid, whole[0]), compressed(second, syntax.uid, bytes(damaged))]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                _, volume = read_series(parts)
        except PermanentFailure:
            continue
        np.testing.assert_allclose(volume.voxels[0], voxels[0].astype(int), atol=syntax.error)
