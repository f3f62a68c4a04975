"""One journey of each kind with vLLM and our runtime in it, and vLLM killed on the way; the rest is asked of the scripted model."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from schemas.codes import Canonical
from services.demo.subject import own_subject
from services.parts.process import members
from tests.integration.films import mr_study, patient_file
from tests.integration.journeys import asked, codes, page_of, phantom, read, uid_of
from tests.integration.system import System, until
from tests.integration.test_document_journey import as_pdf, check_result, reported
from tests.integration.test_faults import assert_one_result
from tests.integration.test_journey_pictures import films
from tests.integration.test_journey_slides import slide

pytestmark = pytest.mark.integration


def test_a_study_becomes_one_labelled_result(system: System) -> None:
    """Unverified, labelled as an AI's, said to be untrained, compared with the prior, with a task for the duty radiologist."""
    subject = phantom(system)
    system.load(subject)
    progress = system.result(system.announce(subject).workflow_id)
    assert progress.written is not None
    [report] = system.reports(uid_of(subject))
    assert report["status"] == "partial"
    assert [label["code"] for label in report["meta"]["security"]] == ["AIAST"]
    assert report["conclusion"].startswith("AI-generated, not verified. Untrained model")
    assert "Compared with the study of 2025-09-05" in report["conclusion"]
    findings = [system.fhir.read(link["reference"]) for link in report["result"]]
    assert {f["status"] for f in findings} == {"preliminary"}
    assert {f["subject"]["reference"] for f in findings} == {subject.patient}
    assert "pulmonary-nodule" in {c["code"] for f in findings for c in f["code"]["coding"]}
    device = system.fhir.read(findings[0]["device"]["reference"])
    assert device["deviceName"][0]["name"].startswith("Longview") or "untrained" in str(device["version"])
    task = system.fhir.read(progress.written.task.partition("/_history")[0])
    assert (task["status"], task["focus"]["reference"]) == ("requested", f"DiagnosticReport/{report['id']}")
    [provenance] = system.fhir.find_tagged(
        "Provenance", Canonical(system.settings.canonical_base).sid("ai-result"), progress.written.result_id
    )
    assert {"CREATE"} == {c["code"] for c in provenance["activity"]["coding"]}


def test_a_film(system: System, tmp_path: Path) -> None:
    """The padded square as a picture container, earlier picture first."""
    report = read(system, films(tmp_path))
    assert report["status"] == "partial"
    assert "Compared with the study of 2025-09-05" in report["conclusion"]


def test_an_mr_of_several_sequences(system: System, tmp_path: Path) -> None:
    mr_study(tmp_path / "study", "MRIVLLM")
    report = read(system, own_subject(tmp_path / "study", patient_file(tmp_path, "MRIVLLM")))
    assert report["status"] == "partial"


def test_a_slide(system: System, tmp_path: Path) -> None:
    """Nine patches as one picture container."""
    subject = slide(tmp_path)
    report = read(system, subject)
    assert (report["status"], codes(report["code"])) == ("partial", ["11526-1"])
    assert [item.slices for item in asked(system, subject).volumes] == [9]
    assert "Overview" in page_of(system, subject)


def test_a_laboratory_report(system: System) -> None:
    """Random weights under guided decoding: what they say stands in the document all the same."""
    subject = reported(system, as_pdf)
    system.load(subject)
    system.result(system.announce(subject).workflow_id)
    check_result(system, subject, "text-layer")


def test_vllm_is_killed_while_it_answers(system: System) -> None:
    """It leaves none of its children behind, and another in its place gives the answer. The others of `test_faults` need no vLLM."""
    subject = phantom(system)
    system.load(subject)
    with system.held("model"):
        published = system.announce(subject)
        system.reached(published.workflow_id, "ask_model")
        process = system.launcher.records()["model"].process
        assert process is not None
        assert len(list(members(process))) > 1, "the engine is a process of its own"
        os.kill(process.pid, signal.SIGKILL)
        until(lambda: not list(members(process)) or None, "the end of the model server and its children")
    system.restart()
    system.result(published.workflow_id)
    assert_one_result(system, subject)
