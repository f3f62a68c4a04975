"""DICOM instances that hold documents: Encapsulated PDF (PS3.3 A.45.1) and Secondary Capture scans (A.8). Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import Dataset
from pydicom.pixels.processing import apply_color_lut, convert_color_space

from schemas.codes import LOINC
from schemas.errors import PermanentFailure
from schemas.imaging import FrameSource
from workflows.documents.pdf import MAX_PAGES, PdfPage
from workflows.documents.reading import Page, page_of_pdf, page_of_scan
from workflows.series.attributes import DatasetAttributes, read_dataset
from workflows.series.plane import whole_number

ENCAPSULATED_PDF = "1.2.840.10008.5.1.4.1.1.104.1"
SECONDARY_CAPTURE = frozenset({"1.2.840.10008.5.1.4.1.1.7", *(f"1.2.840.10008.5.1.4.1.1.7.{n}" for n in range(1, 5))})
"""Single-frame, and multi-frame of one bit, of grey bytes, of grey words, in colour (PS3.4 B.5)."""
MAX_PIXELS = 64 * 1024 * 1024
"""Of one page: A4 at 600 dpi has 35 million."""
LONGEST_SIDE = 2600
"""Pixels of a page as it is kept and read: a scan of more is reduced by a whole number, A4 at 300 dpi to half."""

Picture = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Documents:
    """The pages of a series, where each comes from, and what the headers say about the document."""

    pages: list[Page]
    frames: list[FrameSource]
    title: str | None
    code: tuple[str, str] | None


def documents_of(parts: Sequence[bytes], decode: Callable[[bytes], list[PdfPage]]) -> Documents:
    """Every page in the order of Instance Number. `PermanentFailure`: `document-kind` for what is neither PDF nor scan, and those of the decoders."""
    datasets = sorted((read_dataset(part) for part in parts), key=_order)
    pages: list[Page] = []
    frames: list[FrameSource] = []
    for dataset in datasets:
        held = _pages(dataset, decode)
        if len(pages) + len(held) > MAX_PAGES:
            raise PermanentFailure("document-too-long", f"the series has more than {MAX_PAGES} pages")
        pages += held
        frames += [_frame(dataset, number) for number in range(1, len(held) + 1)]
    first = datasets[0] if datasets else Dataset()
    return Documents(pages, frames, str(first.get("DocumentTitle", "") or "").strip() or None, _code(first))


def _order(dataset: Dataset) -> tuple[int, str]:
    return _number(dataset, "InstanceNumber") or 0, str(dataset.get("SOPInstanceUID"))


def _number(dataset: Dataset, keyword: str) -> int | None:
    return whole_number(DatasetAttributes(dataset), keyword)


def _pages(dataset: Dataset, decode: Callable[[bytes], list[PdfPage]]) -> list[Page]:
    kind = str(dataset.get("SOPClassUID", ""))
    if kind == ENCAPSULATED_PDF:
        return [page_of_pdf(page) for page in decode(_encapsulated(dataset))]
    if kind in SECONDARY_CAPTURE:
        return list(_scans(dataset))
    raise PermanentFailure("document-kind", "a document of the study is neither a PDF nor a scan")


def _encapsulated(dataset: Dataset) -> bytes:
    """The file itself, without the byte that makes its length even (PS3.3 C.24.2)."""
    data = bytes(dataset.get("EncapsulatedDocument", b"") or b"")
    declared = str(dataset.get("MIMETypeOfEncapsulatedDocument", "") or "").lower()
    if declared != "application/pdf" and (declared or not data.startswith(b"%PDF-")):
        raise PermanentFailure("document-kind", "the encapsulated document is not declared to be a PDF")
    return data[: _number(dataset, "EncapsulatedDocumentLength") or len(data)]


def _scans(dataset: Dataset) -> Iterator[Page]:
    """Each frame in grey levels, dark print on bright paper as it is displayed."""
    frames_told = _number(dataset, "NumberOfFrames")
    if frames_told is None and "NumberOfFrames" in dataset:
        del dataset.NumberOfFrames  # no number: the decoder would stumble over it
    count = frames_told or 1
    if count > MAX_PAGES:
        raise PermanentFailure("document-too-long", f"a scan has more than {MAX_PAGES} pages")
    if (_number(dataset, "Rows") or 0) * (_number(dataset, "Columns") or 0) > MAX_PIXELS:
        raise PermanentFailure("document-too-large", "a page of the scan has more pixels than a page of paper needs")
    try:
        pixels = np.asarray(dataset.pixel_array)
        frames = pixels[None] if count == 1 else pixels
        for frame in frames:
            grey = _grey(frame, dataset)
            yield page_of_scan(_reduced(grey), grey.shape[1], grey.shape[0])
    except (AttributeError, ValueError, TypeError, RuntimeError, NotImplementedError, KeyError, IndexError) as error:
        raise PermanentFailure("document-unreadable", "the pixels of a scan cannot be decoded") from error


def _grey(frame: npt.NDArray[Any], dataset: Dataset) -> Picture:
    photometric = str(dataset.PhotometricInterpretation)
    most = (1 << int(dataset.get("BitsStored") or 8)) - 1
    if photometric == "PALETTE COLOR":
        frame = apply_color_lut(frame, dataset)
        most = int(np.iinfo(frame.dtype).max)
    elif photometric.startswith("YBR") and frame.ndim == 3:
        frame = convert_color_space(frame, photometric, "RGB")
    levels = frame.astype(np.float32).mean(axis=-1) if frame.ndim == 3 else frame.astype(np.float32)
    grey = np.clip(levels * (255.0 / most), 0, 255).astype(np.uint8)
    bright: Picture = 255 - grey if photometric == "MONOCHROME1" else grey
    return bright


def _reduced(grey: Picture) -> Picture:
    """By a whole number, as the mean of squares."""
    step = -(-max(grey.shape) // LONGEST_SIDE)
    if step < 2:
        return np.ascontiguousarray(grey)
    rows, columns = (size // step * step for size in grey.shape)
    squares = grey[:rows, :columns].reshape(rows // step, step, columns // step, step)
    reduced: Picture = squares.mean(axis=(1, 3)).astype(np.uint8)
    return reduced


def _frame(dataset: Dataset, number: int) -> FrameSource:
    return FrameSource(
        sop_instance_uid=str(dataset.SOPInstanceUID),
        sop_class_uid=str(dataset.SOPClassUID),
        instance_number=_number(dataset, "InstanceNumber"),
        frame=number,
    )


def _code(dataset: Dataset) -> tuple[str, str] | None:
    """The document's LOINC code (PS3.3 C.24.2, Concept Name Code Sequence; `LN` is its coding scheme, PS3.16 8)."""
    for item in dataset.get("ConceptNameCodeSequence") or []:
        if str(item.get("CodingSchemeDesignator", "")) in ("LN", LOINC) and item.get("CodeValue"):
            return str(item.CodeValue), str(item.get("CodeMeaning", "") or "")
    return None
