"""Laboratory reports on the bus: what an Encapsulated PDF and a scan become in FHIR, in the inbox and on the page."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import replace
from typing import Any

import httpx
import pydicom
import pytest

from schemas.events import now_rfc3339
from schemas.report import AmendedValue, ReviewAct
from services.demo.load import SeriesIndex, StudyIndex
from services.demo.subject import Subject
from tests.integration.journeys import decide, phantom, uid_of
from tests.integration.system import System
from tests.unit.document_samples import encapsulated, scan
from tests.unit.lab_reports import CHEMISTRY, scanned, table_pdf

pytestmark = pytest.mark.integration
MORE = [
    ("Chloride", "101", "mmol/L", "98 - 107", ""),
    ("Calcium", "2.31", "mmol/L", "2.15 - 2.55", ""),
    ("Albumin", "41", "g/L", "35 - 52", ""),
    ("Glucose", "7.2", "mmol/L", "3.9 - 5.8", "H"),
]
REPORT = [*CHEMISTRY, *MORE]
WRITTEN = {cells[0]: (cells[1], cells[2]) for cells in REPORT}


def reported(system: System, make: Any) -> Subject:
    """A patient whose only study holds one document; `make` gives the instance for the tags it is told."""
    made = phantom(system)
    last = made.studies[-1]
    study, series = pydicom.uid.generate_uid(), pydicom.uid.generate_uid()
    tags = {
        "StudyInstanceUID": study,
        "SeriesInstanceUID": series,
        "SOPInstanceUID": pydicom.uid.generate_uid(),
        "PatientID": last.patient_id,
        "IssuerOfPatientID": last.issuer,
        "StudyDate": "20261121",
        "StudyDescription": "Laboratory report",
    }
    indexed = [SeriesIndex(series, "DOC", 1, "Laboratory report", 1)]
    index = StudyIndex(study, last.patient_id, last.issuer, "2026-11-21", "Laboratory report", "", indexed)
    return replace(made, studies=[index], files=lambda: iter([make(**tags)]))


def as_pdf(**tags: Any) -> bytes:
    return encapsulated(table_pdf(REPORT), **tags)


def as_scan(**tags: Any) -> bytes:
    return scan(scanned(table_pdf(REPORT)), **tags)


def values_of(system: System, report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found = [system.fhir.read(link["reference"]) for link in report.get("result", [])]
    return {value["code"]["text"]: value for value in found}


def check_result(system: System, subject: Subject, source: str) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """What every document's result promises, whatever the model answered."""
    [report] = system.reports(uid_of(subject))
    assert report["status"] == "partial"
    assert report["category"][0]["coding"][0]["code"] == "LAB"
    assert report["code"]["text"] == "Laboratory report - AI extraction (unverified)"
    assert report["conclusion"].startswith("AI-generated, not verified. Untrained model")
    values = values_of(system, report)
    for name, value in values.items():
        written, unit = WRITTEN[name]
        comparator = value["valueQuantity"].get("comparator", "")
        assert float(written.lstrip("< ")) == value["valueQuantity"]["value"]
        assert comparator == ("<" if "<" in written else "")
        assert value["valueQuantity"]["unit"] == unit
        assert value["status"] == "preliminary"
        line = next(e for e in value["extension"] if e["url"].endswith("/document-line"))
        parts = {part["url"]: part for part in line["extension"]}
        assert parts["source"]["valueCode"] == source
        assert {name, unit} <= set(parts["text"]["valueString"].split(" | "))
    return report, values


def test_a_pdf_on_the_bus_becomes_values_in_fhir_and_on_the_page(quick: System) -> None:
    subject = reported(quick, as_pdf)
    quick.load(subject)
    published = quick.announce(subject)
    written = quick.result(published.workflow_id).written
    assert written is not None
    report, values = check_result(quick, subject, "text-layer")
    assert 0 < len(values) < len(REPORT)  # the script says of some lines that they hold no result
    missed = len(REPORT) - len(values)
    assert f"Lines that look like results and are not reported: {missed} " in report["conclusion"]
    [(result, _)] = quick.inbox_entries(uid_of(subject))
    address = f"{quick.settings.inbox_url}/results/{result}"
    page = httpx.get(address, trust_env=False).text
    assert page.count("<rect ") == len(values)
    assert all(f'<th scope="row">{name}' in page for name in values)
    strip = httpx.get(f"{address}/evidence/1/current", trust_env=False)
    assert strip.content.startswith(b"\x89PNG")
    listed = httpx.get(f"{quick.settings.inbox_url}/?modality=DOC", trust_env=False).text
    assert f"{len(values)} values read from the document" in listed


def test_a_reviewer_amends_a_value_of_a_document(quick: System) -> None:
    subject = reported(quick, as_pdf)
    quick.load(subject)
    published = quick.announce(subject)
    written = quick.result(published.workflow_id).written
    assert written is not None
    [report] = quick.reports(uid_of(subject))
    name, value = next(iter(values_of(quick, report).items()))
    line = next(e for e in value["extension"] if e["url"].endswith("/document-line"))
    label = next(part["valueString"] for part in line["extension"] if part["url"] == "line")
    act = ReviewAct(
        act_id=str(uuid.uuid4()),
        result_id=written.result_id,
        outcome="amended",
        reviewer="Dr. R. Test",
        at=now_rfc3339(),
        report_version=written.report,
        amended_values=[AmendedValue(label=label, value="77.5", text="read from the paper")],
    )
    assert asyncio.run(decide(quick, published.workflow_id, act)).outcome == "amended"
    [report] = quick.reports(uid_of(subject))
    assert report["status"] == "preliminary"
    mine = values_of(quick, report)[name]
    assert (mine["valueQuantity"]["value"], mine["status"]) == (77.5, "final")
    assert [label["code"] for label in mine["meta"]["security"]] == ["CLINAST"]
    assert quick.inbox_entries(uid_of(subject)) == [(written.result_id, "amended")]


def test_a_scan_on_the_bus_becomes_values_in_fhir(quick: System) -> None:
    subject = reported(quick, as_scan)
    quick.load(subject)
    quick.result(quick.announce(subject).workflow_id)
    _, values = check_result(quick, subject, "ocr")
    assert values


def test_a_document_that_cannot_be_opened_is_a_failed_run_with_a_name(quick: System) -> None:
    subject = reported(quick, lambda **tags: encapsulated(b"%PDF-1.7 and nothing else", **tags))
    quick.load(subject)
    run = quick.failed_run(quick.announce(subject).study_key)
    assert (run.stage, run.code, run.retryable) == ("fetch-images", "document-unreadable", False)
