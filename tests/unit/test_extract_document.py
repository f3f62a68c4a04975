"""Documents of the chart on the operator's terminal: PDF and text, files and attachments, with and without a model."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from schemas.errors import PermanentFailure
from services.cli import main
from services.extract_document import Content, contents_of, document_of, read_with_model, read_without_model
from tests.unit.injection.house import NoReader
from tests.unit.lab_reports import CHEMISTRY, table_pdf
from tests.unit.test_document_journey import FirstChoice
from workflows.documents.pdf import decode_pdf

PDF = table_pdf(CHEMISTRY)
TEXT = """St. Elsewhere Laboratory
Collected: 2026-11-20 08:10     Serum

Test                 Result    Unit      Reference
Sodium               140       mmol/L    135 - 145
Potassium            5.9 H     mmol/L    3.5 - 5.1
CRP ................ <0.3 mg/L (< 5.0)
"""


class Server:
    def __init__(self, **resources: dict[str, Any]) -> None:
        self.resources = resources

    def read(self, reference: str) -> dict[str, Any]:
        return self.resources[reference.replace("/", "_")]


def attachment(data: bytes, kind: str) -> dict[str, str]:
    return {"contentType": kind, "data": base64.b64encode(data).decode()}


def read(server: Any, reference: str) -> Any:
    reader: Any = NoReader()
    return document_of(contents_of(server, reference), decode_pdf, reader)


def test_text_of_a_report_is_read_by_its_columns() -> None:
    server = Server(DiagnosticReport_1={"presentedForm": [attachment(TEXT.encode(), "text/plain; charset=utf-8")]})
    found = read_with_model(read(server, "DiagnosticReport/1"), FirstChoice())
    values = {v.name: v for v in found.checked.values}
    assert {name: (v.number, v.ucum) for name, v in values.items()} == {
        "Sodium": ("140", "mmol/L"),
        "Potassium": ("5.9", "mmol/L"),
        "CRP": ("0.3", "mg/L"),
    }
    assert values["Potassium"].interpretation == "high"
    assert values["Potassium"].loinc == "2823-3"
    assert values["Sodium"].collected == "2026-11-20T08:10"


def test_a_pdf_may_be_inline_or_a_binary_of_the_same_server() -> None:
    binary = {"data": base64.b64encode(PDF).decode()}
    server = Server(
        DiagnosticReport_1={"presentedForm": [attachment(PDF, "application/pdf")]},
        DocumentReference_2={"content": [{"attachment": {"contentType": "application/pdf", "url": "Binary/3"}}]},
        Binary_3=binary,
    )
    for reference in ("DiagnosticReport/1", "DocumentReference/2"):
        found = read_without_model(read(server, reference))
        assert len(found.checked.values) == len(CHEMISTRY)
        assert (found.reader, found.checked.dropped) == ("geometry", [])


def test_nothing_is_fetched_from_elsewhere_and_other_kinds_are_not_read() -> None:
    server = Server(
        DocumentReference_1={
            "content": [{"attachment": {"contentType": "application/pdf", "url": "http://evil.example/x"}}]
        },
        DocumentReference_2={"content": [{"attachment": attachment(b"<html>", "text/html")}]},
        DocumentReference_3={"content": [{"attachment": {"contentType": "text/plain", "data": "not base64!"}}]},
        DocumentReference_4={"content": [{"attachment": attachment(b"  ", "text/plain")}]},
    )
    for number, code in enumerate(
        ["document-missing", "document-missing", "document-unreadable", "document-empty"], start=1
    ):
        with pytest.raises(PermanentFailure) as failed:
            read(server, f"DocumentReference/{number}")
        assert failed.value.code == code


def test_a_document_that_is_text_and_pdf_is_read_once() -> None:
    reader: Any = NoReader()
    both = [Content("text/plain", TEXT.encode()), Content("application/pdf", PDF)]
    assert len(read_without_model(document_of(both, decode_pdf, reader)).checked.values) == len(CHEMISTRY)


def test_the_command_shows_values_with_their_lines(tmp_path: Path) -> None:
    file = tmp_path / "report.pdf"
    file.write_bytes(PDF)
    env: dict[str, str | None] = {"LONGVIEW_STATE_DIR": str(tmp_path / "state")}
    told = CliRunner().invoke(main, ["document", "extract", str(file), "--no-model", "--json"], env=env)
    assert told.exit_code == 0, told.output
    shown = json.loads(told.stdout)
    assert [value["name"] for value in shown["values"]] == [cells[0] for cells in CHEMISTRY]
    assert shown["values"][1]["citation"]["text"] == "Potassium | 5.9 | mmol/L | 3.5 - 5.1 | H"
    table = CliRunner().invoke(main, ["document", "extract", str(file), "--no-model"], env=env)
    assert "Potassium" in table.output
    missing = CliRunner().invoke(main, ["document", "extract", str(tmp_path / "none.pdf"), "--no-model"], env=env)
    assert (missing.exit_code, "longview: the file cannot be read" in missing.output) == (1, True)
