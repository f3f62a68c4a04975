"""`longview document extract`: the values of one document on the operator's terminal, each with the line it stands in. Nothing is written anywhere.

The document is a PDF or text file, or what a DiagnosticReport (`presentedForm`) or a DocumentReference (`content`) of the chart holds. It is read by
the same code as a document of the archive; only pictures of scanned pages are not sent to the model, which sees their OCR.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import orjson

from schemas.documents import AnsweredRow, DocumentAnswer, ReadDocument
from schemas.errors import PermanentFailure
from services.settings import Settings
from workflows.documents.check import CheckedDocument, check_document, read_document_answer
from workflows.documents.pdf import MAX_BYTES
from workflows.documents.prompt import asked_lines, document_request
from workflows.documents.reading import page_of_pdf, read_pages, read_text
from workflows.documents.rows import Rows
from workflows.ports import FhirServer, Model, PdfDecoder, Resource, TextInPixels
from workflows.report.text import line_name

Reader = Literal["model", "geometry"]
PDF, TEXT = "application/pdf", "text/plain"
OF_FHIR = ("DiagnosticReport/", "DocumentReference/")


@dataclass(frozen=True)
class Extracted:
    """What was found, by whom, and the lines that it was found in."""

    checked: CheckedDocument
    rows: Rows
    reader: Reader
    release: str


@dataclass(frozen=True)
class Content:
    """A document as it is held: its media type without parameters, and its bytes."""

    media_type: str
    data: bytes


def extract(settings: Settings, target: str, *, ask: bool) -> Extracted:
    """`target` is a file, `DiagnosticReport/ID` or `DocumentReference/ID`; without `ask` rows are read by their geometry alone."""
    from services.adapters import fhir, model
    from services.clients.pdf_process import PdfInItsOwnProcess
    from services.clients.pixel_text import OcrTextInPixels
    from services.store import FolderObjectStore

    if target.startswith(OF_FHIR):
        server = fhir(settings)
        try:
            contents = contents_of(server, target)
        finally:
            server.close()
    else:
        contents = [content_of_file(Path(target))]
    document = document_of(contents, PdfInItsOwnProcess(), OcrTextInPixels())
    if not ask:
        return read_without_model(document)
    served = model(settings, FolderObjectStore(settings.store))
    try:
        return read_with_model(document, served)
    finally:
        served.close()


def content_of_file(path: Path) -> Content:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise PermanentFailure("document-missing", "the file cannot be read: name a PDF or text file") from error
    return Content(PDF if data[:1024].lstrip().startswith(b"%PDF") else TEXT, data)


def contents_of(server: FhirServer, reference: str) -> list[Content]:
    """Every attachment of the resource that can be read. `PermanentFailure` (`document-missing`) if it has none."""
    resource = server.read(reference)
    held = resource.get("presentedForm") or [c["attachment"] for c in resource.get("content", []) if "attachment" in c]
    found = [content for attachment in held if (content := _attached(server, attachment)) is not None]
    if not found:
        raise PermanentFailure("document-missing", "the resource holds no text and no PDF that can be read")
    return found


def _attached(server: FhirServer, attachment: Resource) -> Content | None:
    """Inline data, or a Binary of the same server; nothing is fetched from anywhere else."""
    media_type = str(attachment.get("contentType", "")).partition(";")[0].strip().lower()
    if media_type not in (PDF, TEXT):
        return None
    data, url = attachment.get("data"), str(attachment.get("url", ""))
    if data is None and url.startswith("Binary/"):
        data = server.read(url).get("data")
    if data is None:
        return None
    try:
        return Content(media_type, base64.b64decode(data, validate=True))
    except (binascii.Error, ValueError) as error:
        raise PermanentFailure("document-unreadable", "an attachment is not valid base64") from error


def document_of(contents: list[Content], decode: PdfDecoder, reader: TextInPixels) -> ReadDocument:
    """All contents as one document, PDFs first."""
    if sum(len(content.data) for content in contents) > MAX_BYTES:
        raise PermanentFailure("document-too-large", f"the document is larger than {MAX_BYTES >> 20} MB")
    pdfs = [content.data for content in contents if content.media_type == PDF]
    if pdfs:
        pages = [page_of_pdf(page) for pdf in pdfs for page in decode(pdf)]
        return read_pages(pages, reader.printed, lambda picture: "")
    return read_text([content.data.decode("utf-8", "replace") for content in contents])


def read_with_model(document: ReadDocument, model: Model) -> Extracted:
    rows = Rows(document)
    answer = model.ask(document_request(rows, [], "routine"))
    checked = check_document(read_document_answer(answer), rows)
    return Extracted(checked, rows, "model", model.release().name)


def read_without_model(document: ReadDocument) -> Extracted:
    """The second reader's rows under the same checks: an operator's view of what geometry alone gives, never a result."""
    rows = Rows(document)
    answered = {name: _by_geometry(rows, name) for name in asked_lines(rows)}
    return Extracted(check_document(DocumentAnswer(lines=answered), rows), rows, "geometry", "")


def _by_geometry(rows: Rows, name: str) -> AnsweredRow | None:
    row, when = rows.row(name), rows.contexts[name].collected
    if row is None:
        return None
    return AnsweredRow(
        name=row.name,
        value=row.value,
        unit=row.unit,
        range=row.range,
        flag=row.flag,
        collected=when[0] if when else None,
    )


def as_document(found: Extracted) -> dict[str, Any]:
    """For machines."""
    told = {
        "reader": found.reader,
        "release": found.release,
        "abstained": found.checked.abstained,
        "values": [value.model_dump(mode="json") for value in found.checked.values],
        "dropped": [dropped.model_dump(mode="json") for dropped in found.checked.dropped],
        "unreported": found.checked.unreported,
        "lines": {line.id: line.text for line in found.rows.document.lines},
    }
    document: dict[str, Any] = orjson.loads(orjson.dumps(told))
    return document


def print_extracted(found: Extracted, table: Callable[[str, list[str], list[list[str]]], None]) -> None:
    """For people: the values with their lines, then what was dropped, then what looks like a result and gave none."""
    columns = ["analyte", "value", "UCUM", "LOINC", "reference", "outside", "collected", "where", "as written"]
    values = [
        [
            value.name,
            value.value,
            value.ucum,
            value.loinc or "",
            value.range.text if value.range else "",
            value.interpretation or "",
            value.collected or "",
            line_name(value.label),
            value.citation.text,
        ]
        for value in found.checked.values
    ]
    table(f"values, read by {found.release or 'geometry alone'}", columns, values)
    texts = {line.id: line.text for line in found.rows.document.lines}
    if found.checked.dropped:
        rows = [[line_name(d.label), d.code, texts.get(d.label, "")] for d in found.checked.dropped]
        table("dropped by a check", ["where", "check", "as written"], rows)
    if found.checked.unreported:
        table(
            "look like results, not reported",
            ["where", "as written"],
            [[line_name(n), texts[n]] for n in found.checked.unreported],
        )
