"""A radiograph's stored values become the picture that its makers meant: against pydicom's chain, and once turned round at most."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file
from pydicom.pixels.processing import apply_modality_lut, apply_presentation_lut, apply_voi_lut
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

from schemas.errors import LongviewError, PermanentFailure
from tests.unit.picture_samples import film, ramp, table
from tests.unit.series_samples import file_of
from workflows.pictures import read_exposure, render

TWELVE = {"BitsStored": 12, "HighBit": 11}


def shown(dataset: Dataset | bytes) -> npt.NDArray[np.uint8]:
    levels = render(read_exposure(dataset))
    return levels[..., 0] if levels.shape[-1] == 1 else levels


def refused(dataset: Dataset | bytes) -> str:
    with pytest.raises(PermanentFailure) as caught:
        shown(dataset)
    return caught.value.code


def oracle(dataset: Dataset, low: float, high: float) -> npt.NDArray[np.float64]:
    """pydicom's chain; `low` and `high` are the ends of the range that its VOI LUT gives out."""
    values = apply_modality_lut(dataset.pixel_array, dataset)
    if "VOILUTSequence" in dataset:
        values = values.astype(np.int64)
    with np.errstate(over="ignore"):
        values = apply_voi_lut(values, dataset)
    grey = np.clip((values - low) / (high - low), 0, 1) * 255
    if "PresentationLUTShape" in dataset:
        identity = dataset.PresentationLUTShape == "IDENTITY"
        grey = apply_presentation_lut(np.array([[0.0, 255.0]]), dataset)[0, 0] + (1 if identity else -1) * grey
    elif dataset.PhotometricInterpretation == "MONOCHROME1":
        grey = 255 - grey
    return grey


# -- windows ----------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    center=st.floats(-500, 4500),
    width=st.floats(1, 5000),
    function=st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID", None]),
    signed=st.booleans(),
    intercept=st.sampled_from([None, 0, -1024]),
)
def test_every_window_function_as_pydicom_has_it(
    center: float, width: float, function: str | None, signed: bool, intercept: int | None
) -> None:
    pixels = ramp(top=2047, dtype=np.int16 if signed else np.uint16)
    if signed:
        pixels = (pixels - 1000).astype(np.int16)
    rescale = {} if intercept is None else {"RescaleSlope": 2, "RescaleIntercept": intercept}
    tags = {"WindowCenter": round(center, 2), "WindowWidth": round(width, 2), "VOILUTFunction": function}
    dataset = film(pixels, BitsStored=12, HighBit=11, **tags, **rescale)
    low, high = (-2048, 2047) if signed else (0, 4095)
    if rescale:
        low, high = low * 2 + intercept, high * 2 + intercept
    np.testing.assert_allclose(shown(dataset).astype(float), oracle(dataset, low, high), atol=0.51)


def test_the_first_of_several_windows_is_the_default() -> None:
    one = film(ramp(), **TWELVE, WindowCenter=1000, WindowWidth=800)
    two = film(ramp(), **TWELVE, WindowCenter=[1000, 3000], WindowWidth=[800, 100])
    np.testing.assert_array_equal(shown(one), shown(two))


@pytest.mark.parametrize(("width", "function"), [(0, "LINEAR"), (-5, "LINEAR"), (0, "LINEAR_EXACT"), (0, "SIGMOID")])
def test_a_window_that_cannot_be_one_leaves_the_full_range(width: float, function: str) -> None:
    broken = film(ramp(), **TWELVE, WindowCenter=9, WindowWidth=width, VOILUTFunction=function)
    np.testing.assert_array_equal(shown(broken), shown(film(ramp(), **TWELVE)))
    assert (shown(broken).min(), shown(broken).max()) == (0, 255)


def test_a_window_of_one_is_a_step() -> None:
    grey = shown(film(ramp(), **TWELVE, WindowCenter=2000, WindowWidth=1))
    np.testing.assert_array_equal(grey, np.where(ramp() > 1999.5, 255, 0))


# -- tables -----------------------------------------------------------------------------------------------------------

CURVE = [round(65535 * (n / 999) ** 2.2) for n in range(1000)]


def test_a_voi_table_comes_before_a_window() -> None:
    item = table(CURVE, 200, 16)
    dataset = film(ramp(), **TWELVE, VOILUTSequence=[item], WindowCenter=40, WindowWidth=80)
    np.testing.assert_allclose(shown(dataset).astype(float), oracle(dataset, 0, 65535), atol=0.51)


def test_a_modality_table_comes_before_the_window() -> None:
    item = table([n * 3 for n in range(4096)], 0, 16, ModalityLUTType="OD")
    dataset = film(ramp(), **TWELVE, ModalityLUTSequence=[item], WindowCenter=6000, WindowWidth=8000)
    np.testing.assert_allclose(shown(dataset).astype(float), oracle(dataset, 0, 65535), atol=0.51)


def test_a_voi_table_of_rescaled_values_below_zero() -> None:
    """The descriptor's first value has the sign of the rescaled values, whatever its VR says."""
    rescale = {"RescaleSlope": 1, "RescaleIntercept": -1024}
    signed = film(ramp(), **TWELVE, **rescale, VOILUTSequence=[table(CURVE, -500, 16, signed=True)])
    wrapped = film(ramp(), **TWELVE, **rescale, VOILUTSequence=[table(CURVE, 65036, 16)])
    np.testing.assert_allclose(shown(signed).astype(float), oracle(signed, 0, 65535), atol=0.51)
    np.testing.assert_array_equal(shown(signed), shown(wrapped))


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_a_table_is_the_same_in_every_native_syntax(syntax: Any) -> None:
    dataset = film(ramp(), **TWELVE, VOILUTSequence=[table(CURVE, 0, 16)])
    expected = shown(dataset)
    if syntax == ExplicitVRBigEndian:
        dataset.PixelData = ramp().byteswap().tobytes()
        item = dataset.VOILUTSequence[0]
        item.LUTData = np.array(CURVE, ">u2").tobytes()
    np.testing.assert_array_equal(shown(file_of(dataset, syntax)), expected)


def test_a_table_that_holds_more_than_its_bits_say_is_not_cut() -> None:
    dataset = film(ramp(), **TWELVE, VOILUTSequence=[table(list(range(4096)), 0, 10)])
    assert shown(dataset).max() == 255
    assert np.unique(shown(dataset)).size > 250


@pytest.mark.parametrize(
    "broken", [table([1, 2, 3], 0, 0), table([1, 2, 3], 0, 17), table(CURVE[:10], 0, 16, LUTDescriptor=[1000, 0, 16])]
)
def test_a_broken_table_is_named(broken: Dataset) -> None:
    assert refused(film(ramp(), **TWELVE, VOILUTSequence=[broken])) == "pixels-lut"


def test_a_real_table_of_a_radiograph_needs_no_window() -> None:
    """Entries as US values in the data set, as many writers have them."""
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [4096, 0, 12])
    item.add_new("LUTData", "US", list(range(4096)))
    dataset = film(ramp(), **TWELVE, VOILUTSequence=[item])
    np.testing.assert_allclose(shown(dataset).astype(float), ramp() / 4095 * 255, atol=0.51)


# -- polarity ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("photometric", "shape", "turned"),
    [
        ("MONOCHROME2", None, False),
        ("MONOCHROME2", "IDENTITY", False),
        ("MONOCHROME2", "INVERSE", True),
        ("MONOCHROME1", None, True),
        ("MONOCHROME1", "INVERSE", True),
    ],
)
def test_the_picture_is_turned_round_once_at_most(photometric: str, shape: str | None, turned: bool) -> None:
    tags = {"PhotometricInterpretation": photometric, "PresentationLUTShape": shape}
    dataset = film(ramp(), **TWELVE, WindowCenter=2048, WindowWidth=4096, **tags)
    plain = shown(film(ramp(), **TWELVE, WindowCenter=2048, WindowWidth=4096)).astype(int)
    np.testing.assert_allclose(shown(dataset), 255 - plain if turned else plain, atol=1)
    np.testing.assert_allclose(shown(dataset).astype(float), oracle(dataset, 0, 4095), atol=0.51)


def test_a_second_turn_is_not_made_where_window_and_polarity_meet() -> None:
    """The window of a MONOCHROME1 image is given for its values as they are: low is bright."""
    dataset = film(ramp(), **TWELVE, PhotometricInterpretation="MONOCHROME1", WindowCenter=1000, WindowWidth=500)
    grey = shown(dataset)
    assert (grey[ramp() < 740] == 255).all()
    assert (grey[ramp() > 1260] == 0).all()


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_black_and_does_not_decide_the_range(photometric: str) -> None:
    pixels = (ramp(top=2000) + 500).astype(np.uint16)
    pixels[:, :4] = 65535
    tags = {"PhotometricInterpretation": photometric, "PixelPaddingValue": 65535}
    grey = shown(film(pixels, **tags))
    assert not grey[:, :4].any()
    assert (grey[:, 4:].min(), grey[:, 4:].max()) == (0, 255)


def test_a_picture_of_one_value_is_black_and_does_not_fail() -> None:
    assert not shown(film(np.full((8, 8), 77, np.uint16))).any()


def test_what_the_device_has_turned_is_not_turned_again() -> None:
    turned = film(ramp(), **TWELVE, FieldOfViewRotation=90, FieldOfViewHorizontalFlip="YES")
    np.testing.assert_array_equal(shown(turned), shown(film(ramp(), **TWELVE)))


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16])
def test_every_depth_and_sign_spans_the_greys(dtype: Any) -> None:
    info = np.iinfo(dtype)
    pixels = np.linspace(info.min, info.max, 16 * 24).round().astype(dtype).reshape(16, 24)
    grey = shown(film(pixels))
    assert (grey[0, 0], grey[-1, -1]) == (0, 255)
    assert (np.diff(grey.ravel().astype(int)) >= 0).all()


def test_bits_beyond_those_stored_are_not_pixels() -> None:
    pixels = (ramp() | 0xA000).astype(np.uint16)
    np.testing.assert_array_equal(shown(film(pixels, **TWELVE)), shown(film(ramp(), **TWELVE)))


# -- other pictures ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["SC_rgb_rle.dcm", "SC_rgb_jpeg_dcmtk.dcm", "SC_rgb_small_odd.dcm", "SC_ybr_full_422_uncompressed.dcm", "examples_ybr_color.dcm"],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore")
def test_secondary_captures_in_colour_are_rgb(name: str) -> None:
    dataset = dcmread(str(get_testdata_file(name)))
    frames = int(dataset.get("NumberOfFrames", 1) or 1)
    if frames > 1:
        assert refused(dataset) == "pixels-frames"
        return
    np.testing.assert_array_equal(shown(dataset), dataset.pixel_array)


def test_a_palette_is_looked_up() -> None:
    grey = shown(dcmread(str(get_testdata_file("examples_palette.dcm"))))
    assert grey.shape[2] == 3
    assert np.unique(grey.reshape(-1, 3), axis=0).shape[0] > 16


@pytest.mark.parametrize(
    ("tags", "code"),
    [
        ({"NumberOfFrames": 2}, "pixels-frames"),
        ({"Rows": None}, "pixels-missing"),
        ({"Rows": 60000, "Columns": 60000}, "picture-too-large"),
        ({"ImagerPixelSpacing": [0.1, 1.0]}, "picture-aspect"),
        ({"PhotometricInterpretation": "MONOCHROME2", "PixelData": b"\0\0"}, "pixels-cut"),
        ({"RescaleSlope": 0, "RescaleIntercept": 0}, "pixels-rescale"),
        ({"SOPInstanceUID": None}, "dicom-unreadable"),
    ],
)
def test_pictures_that_cannot_be_shown_are_named(tags: dict[str, Any], code: str) -> None:
    assert refused(film(ramp(), **tags)) == code


def test_a_picture_without_preamble_is_read() -> None:
    dataset = film(ramp(), **TWELVE)
    file = BytesIO(file_of(dataset, ImplicitVRLittleEndian)[132:])
    np.testing.assert_array_equal(shown(file.getvalue()), shown(dataset))


WHOLE = [
    file_of(film(ramp(), **TWELVE, VOILUTSequence=[table(CURVE, 0, 16)], RescaleSlope=1, RescaleIntercept=0), ImplicitVRLittleEndian),
    file_of(film(ramp(), **TWELVE, WindowCenter=2000, WindowWidth=4000, ModalityLUTSequence=[table(list(range(4096)), 0, 16)])),
]  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(
    which=st.integers(0, 1),
    places=st.lists(st.tuples(st.integers(0, 1400), st.integers(0, 255)), min_size=1, max_size=8),
)
@pytest.mark.filterwarnings("ignore")
def test_a_damaged_header_ends_in_a_named_failure_or_a_picture(which: int, places: list[tuple[int, int]]) -> None:
    damaged = bytearray(WHOLE[which])
    for at, value in places:
        damaged[at] = value
    try:
        exposure = read_exposure(bytes(damaged))
        levels = render(exposure)
    except LongviewError:
        return
    assert levels.dtype == np.uint8
    assert levels.shape[:2] == (exposure.frame.square.rows, exposure.frame.square.columns)
