"""Which library decodes which transfer syntax: pydicom's own decoders, and where those would need a GPL part or have none, imagecodecs (BSD-3) and
pylibjpeg-openjpeg (MIT).

=========================================  ====================================================
JPEG baseline                              pydicom with pillow
JPEG extended, 8 and 12 bit                imagecodecs (libjpeg-turbo); colour by pillow
JPEG lossless, process 14 and 14 SV1       imagecodecs (libjpeg-turbo)
JPEG-LS lossless and near-lossless         pyjpegls (CharLS), as pydicom uses it
JPEG 2000 lossless and lossy               pydicom with pillow (OpenJPEG)
High-throughput JPEG 2000, all three       pylibjpeg-openjpeg (OpenJPEG)
RLE                                        pydicom
=========================================  ====================================================

This module is a decoder plugin as pydicom takes them: `is_available`, `DECODER_DEPENDENCIES` and a function of frame and runner.
"""

from __future__ import annotations

import struct
from collections.abc import Collection
from functools import lru_cache

import imagecodecs
import numpy as np
from openjpeg.utils import decode_pixel_data
from pydicom.pixels.decoders import pyjpegls
from pydicom.pixels.decoders.base import Decoder, DecodeRunner, get_decoder
from pydicom.uid import (
    HTJ2K,
    UID,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
)

_JPEG_LS = (JPEGLSLossless, JPEGLSNearLossless)
_HTJ2K = (HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K)
SOC_SIZ = b"\xff\x4f\xff\x51"
END = b"\xff\xd9"
"""EOI of a JPEG, EOC of a JPEG 2000: decoders take a cut codestream for a picture with a grey rest."""
FILL = b"\0\xff"
"""What encoders fill a fragment with to an even length."""
DECODER_DEPENDENCIES = {
    str(uid): ("imagecodecs", "pylibjpeg-openjpeg")
    for uid in (JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1, *_HTJ2K)
} | {str(uid): ("pyjpegls",) for uid in _JPEG_LS}


def is_available(uid: str) -> bool:
    return str(uid) in DECODER_DEPENDENCIES


@lru_cache
def decoder_of(syntax: str) -> Decoder | None:
    """The decoder of an encapsulated transfer syntax; None if it cannot be decoded here."""
    if syntax in DECODER_DEPENDENCIES:
        return _own_decoder(syntax)
    try:
        decoder = get_decoder(UID(syntax))
    except NotImplementedError:
        return None
    return decoder if decoder.is_available else None


def _own_decoder(syntax: str) -> Decoder:
    """One of our own, so that pydicom's, which the whole process shares, stay as they are."""
    decoder = Decoder(UID(syntax))
    decoder.add_plugin("longview", (__name__, "decode_frame"))
    if syntax == JPEGExtended12Bit:
        decoder.add_plugin("pillow", ("pydicom.pixels.decoders.pillow", "_decode_frame"))
    return decoder


def decode_frame(encoded: bytes, runner: DecodeRunner) -> bytes:
    """One frame, as bytes of `runner.pixel_dtype`; `ValueError` where the codestream is not the image that the data set describes.

    Its own header is compared first, so that it cannot ask for more memory than the image has.
    """
    if runner.transfer_syntax in _JPEG_LS:
        return _jpeg_ls(encoded, runner)
    if not encoded.rstrip(FILL).endswith(END):
        raise ValueError("the codestream ends early")
    decode = _htj2k if runner.transfer_syntax in _HTJ2K else _jpeg
    decoded, bits = decode(encoded, runner)
    runner.set_option("bits_allocated", bits)
    if runner.samples_per_pixel > 1:
        runner.set_option("planar_configuration", 0)
    if runner.photometric_interpretation in ("YBR_RCT", "YBR_ICT"):
        runner.set_option("photometric_interpretation", "RGB")
    return decoded


def _htj2k(encoded: bytes, runner: DecodeRunner) -> tuple[bytes, int]:
    """By OpenJPEG, which says when a codestream is broken; SIZ is the first segment (ISO/IEC 15444-1 A.5.1)."""
    if encoded[:4] != SOC_SIZ:
        raise ValueError("not a codestream")
    width, height, left, top = struct.unpack_from(">4I", encoded, 8)
    (samples,) = struct.unpack_from(">H", encoded, 40)
    if (height - top, width - left, samples) != (runner.rows, runner.columns, runner.samples_per_pixel):
        raise ValueError("the codestream is of another size than the image")
    bits = 8 if runner.get_option("j2k_precision", runner.bits_stored) <= 8 else 16
    return bytes(decode_pixel_data(encoded, version=2)), bits


def _jpeg_ls(encoded: bytes, runner: DecodeRunner) -> bytes:
    """By CharLS, which past the end of a cut codestream counts zeros for seconds; within one, END cannot stand (ISO/IEC 14495-1 A.1)."""
    if END not in encoded:
        raise ValueError("the codestream ends early")
    _, *size = _frame_header(encoded, (0xF7,))
    if size != [runner.rows, runner.columns]:
        raise ValueError("the codestream is of another size than the image")
    if runner.bits_allocated == 16 and runner.get_option(
        "pixel_representation", 0
    ):  # CharLS by pyjpegls refuses signed values
        return np.asarray(imagecodecs.jpegls_decode(encoded)).tobytes()
    return bytes(pyjpegls._decode_frame(encoded, runner))


def _jpeg(encoded: bytes, runner: DecodeRunner) -> tuple[bytes, int]:
    """By libjpeg-turbo, into an array of the described size and of the depth that the codestream names."""
    samples = runner.samples_per_pixel
    if runner.transfer_syntax == JPEGExtended12Bit and samples > 1:
        raise ValueError("colour is left to the decoder that knows how JPEG says its colour space")
    bits = 8 if _precision(encoded) <= 8 else 16
    shape = (runner.rows, runner.columns) if samples == 1 else (runner.rows, runner.columns, samples)
    out = np.zeros(shape, np.dtype(f"u{bits // 8}"))
    imagecodecs.jpeg8_decode(encoded, out=out)
    return out.tobytes(), bits


def _precision(encoded: bytes) -> int:
    """Bits of a sample, which may be fewer than those stored."""
    return _frame_header(encoded, [marker for marker in range(0xC0, 0xD0) if marker not in (0xC4, 0xC8, 0xCC)])[0]


def _frame_header(encoded: bytes, markers: Collection[int]) -> tuple[int, int, int]:
    """Precision, rows and columns by the frame header (ITU-T T.81 B.2.2), which starts with one of the markers."""
    pos = 2
    while encoded[pos : pos + 1] == b"\xff" and pos + 9 <= len(encoded):
        marker, length = encoded[pos + 1], int.from_bytes(encoded[pos + 2 : pos + 4], "big")
        if marker in markers:
            precision, rows, columns = struct.unpack_from(">BHH", encoded, pos + 4)
            return precision, rows, columns
        pos += 2 + length
    raise ValueError("the codestream has no frame header")
