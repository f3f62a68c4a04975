"""Several reports in one study: one that cannot be read is named, and the others are; a number that is none is as if it were absent."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest

from schemas.errors import PermanentFailure
from services.store import FolderObjectStore
from tests.contract.written_bundles import TRAINED
from tests.unit.archive_samples import Shelf, inventory
from tests.unit.document_samples import encapsulated, scan
from tests.unit.lab_reports import CHEMISTRY, Picture, scanned, table_pdf
from workflows.documents.dicom import documents_of
from workflows.documents.pdf import decode_pdf
from workflows.stacks.account import Fetched, NothingRead
from workflows.stacks.document import DocumentKind
from workflows.stacks.kind import Sources


@cache
def report() -> bytes:
    return table_pdf(CHEMISTRY)


@cache
def page() -> Picture:
    return scanned(report())[:400].copy()


def as_written(part: bytes, mark: str, hint: str) -> bytes:
    """The file with other bytes for a number: no tag library would write them."""
    at = part.index(mark.encode())
    return part[:at] + hint.encode().ljust(len(mark)) + part[at + len(mark) :]


def fetch(tmp_path: Path, *series: list[bytes]) -> Fetched:
    shelf = Shelf(**{f"1.2.{n}": files for n, files in enumerate(series, start=1)})
    reader = SimpleNamespace(printed=lambda picture: [])
    sources = Sources(archive=shelf, store=FolderObjectStore(tmp_path), text_in_pixels=reader)  # type: ignore[arg-type]
    listed = inventory(*(("DOC", "Laboratory", len(files)) for files in series))
    return DocumentKind().fetch(sources, listed, TRAINED, None)


def of_series(number: int, **tags: object) -> bytes:
    return encapsulated(report(), SeriesInstanceUID=f"1.2.{number}", **tags)


def test_one_report_that_cannot_be_read_is_refused_and_the_others_are_read(tmp_path: Path) -> None:
    broken = encapsulated(b"no PDF at all", SeriesInstanceUID="1.2.1")
    found = fetch(tmp_path, [broken], [of_series(2)], [of_series(3)])
    assert [(row.number, row.outcome, row.code) for row in found.rows] == [
        (1, "refused", "document-unreadable"),
        (2, "read", "read"),
        (3, "read", "read"),
    ]
    assert found.rows[1].reason == "1 page"
    assert [page.number for stack in found.stacks for page in stack.series.document.pages] == [1, 2]  # type: ignore[union-attr]
    with pytest.raises(NothingRead, match="document-unreadable") as none:
        fetch(tmp_path, [broken])
    assert [row.outcome for row in none.value.rows] == ["refused"]


def test_another_patients_document_is_the_studys_failure(tmp_path: Path) -> None:
    class Mixed(Shelf):
        def retrieve_series(self, study_instance_uid: str, series_instance_uid: str) -> object:  # type: ignore[override]
            raise PermanentFailure("study-mismatch", "another patient")

    sources = Sources(archive=Mixed(), store=FolderObjectStore(tmp_path), text_in_pixels=None)  # type: ignore[arg-type]
    with pytest.raises(PermanentFailure, match="study-mismatch") as failed:
        DocumentKind().fetch(sources, inventory(("DOC", None, 1)), TRAINED, None)
    assert not isinstance(failed.value, NothingRead)


@pytest.mark.parametrize("hint", ["1A", "NaN", "4.5x"])
@pytest.mark.parametrize(
    "written",
    [lambda: encapsulated(report(), InstanceNumber=8888), lambda: scan(page(), InstanceNumber=8888)],
    ids=["PDF", "scan"],
)
def test_an_instance_number_that_is_none_is_as_if_it_were_absent(written: Callable[[], bytes], hint: str) -> None:
    held = documents_of([as_written(written(), "8888", hint)], decode_pdf)
    assert [(frame.instance_number, frame.frame) for frame in held.frames] == [(None, 1)]


def test_a_number_of_frames_that_is_none_is_one_page() -> None:
    held = documents_of([as_written(scan(page(), NumberOfFrames=8888), "8888", "1A")], decode_pdf)
    assert len(held.pages) == 1


@pytest.mark.parametrize("tags", [{"EncapsulatedDocumentLength": 0}, {"MIMETypeOfEncapsulatedDocument": ""}])
def test_a_report_without_its_length_or_type_is_the_pdf_that_it_is(tags: dict[str, object]) -> None:
    assert len(documents_of([encapsulated(report(), **tags)], decode_pdf).pages) == 1
