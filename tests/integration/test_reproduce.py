"""A result of the whole system, reproduced from what FHIR, the archive and the object store hold."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from schemas.identifiers import canonical_json, hex_from_ni
from schemas.inference import ModelRequest
from schemas.reproduction import Reproduction
from services.cli import main
from services.demo.subject import phantom_subject
from services.operate import reproduce_result
from services.store import FolderObjectStore
from tests.integration.system import System
from workflows.report.kept import RENDERED_PROMPT

pytestmark = pytest.mark.integration
SEED = 881_001


@pytest.fixture(scope="module")
def result_id(system: System) -> str:
    """One phantom study, read once."""
    subject = phantom_subject(SEED, system.settings.canonical_base, system.settings.accessions)
    system.load(subject)
    written = system.result(system.announce(subject).workflow_id).written
    assert written is not None
    return written.result_id


def changed(found: Reproduction) -> list[str]:
    return [i.name for i in found.ingredients if i.state != "same"]


def test_the_model_gives_the_same_answer_to_the_same_question(system: System, result_id: str) -> None:
    found = reproduce_result(system.settings, result_id, ask=True)
    assert (found.verdict, found.asked, changed(found)) == ("same", True, []), found.model_dump_json(indent=1)
    names = {i.name for i in found.ingredients}
    assert {"chart", "FHIR Patient", "FHIR Observation", "images of the prior in the archive", "model answer"} <= names


def test_the_command_says_so_with_its_status(system: System, result_id: str) -> None:
    said = CliRunner().invoke(
        main, ["reproduce", result_id, "--json"], env={"LONGVIEW_STATE_DIR": system.settings.state_dir}
    )
    assert (said.exit_code, json.loads(said.stdout)["verdict"]) == (0, "same")
    shown = CliRunner().invoke(
        main, ["reproduce", result_id, "--no-model"], env={"LONGVIEW_STATE_DIR": system.settings.state_dir}
    )
    assert shown.exit_code == 0
    assert "the model was not asked again" in shown.stdout


def test_a_chart_that_moved_on_does_not_touch_the_result(system: System, result_id: str) -> None:
    """The patient's record gets a new version: the reading rests on the old one, which is still there."""
    [report] = system.fhir.find("DiagnosticReport", f"{system.settings.canonical_base}/sid/ai-result", result_id)
    patient = system.fhir.read(report["subject"]["reference"])
    place = f"Patient/{patient['id']}"
    entry = {
        "fullUrl": f"{system.settings.fhir_url}/{place}",
        "resource": patient | {"language": "sv"},
        "request": {"method": "PUT", "url": place},
    }
    system.fhir.transaction(canonical_json({"resourceType": "Bundle", "type": "transaction", "entry": [entry]}))
    assert system.fhir.read(place)["language"] == "sv"
    assert reproduce_result(system.settings, result_id, ask=False).verdict == "same"


def test_another_runtime_is_named(system: System, result_id: str, tmp_path: Path) -> None:
    release = json.loads(Path(system.settings.model_release).read_bytes())
    other = tmp_path / "release.json"
    other.write_text(json.dumps(release | {"runtime": release["runtime"] + "; float32"}))
    settings = replace(system.settings, model_release=str(other))
    found = reproduce_result(settings, result_id, ask=True)
    assert found.verdict == "same"
    assert changed(found) == ["serving runtime", "release", "release of the second pass"]
    assert reproduce_result(settings, result_id, ask=False).verdict == "inputs-changed"


def test_a_volume_that_is_gone_is_named(system: System, result_id: str) -> None:
    with without(current_volume(system, result_id)):
        found = reproduce_result(system.settings, result_id, ask=True)
    assert found.sentence() == "cannot-be-reproduced (gone: volume shown (current))"
    assert reproduce_result(system.settings, result_id, ask=False).verdict == "same"


def current_volume(system: System, result_id: str) -> Path:
    """Where the voxels lie that the model was shown: Provenance names the prompt, the prompt names them."""
    tag = f"{system.settings.canonical_base}/sid/ai-result"
    [provenance] = system.fhir.find_tagged("Provenance", tag, result_id)
    whats = [entity["what"] for entity in provenance["entity"]]
    [prompt] = [what["identifier"]["value"] for what in whats if what.get("display") == RENDERED_PROMPT]
    store = FolderObjectStore(system.settings.store)
    request = ModelRequest.model_validate_json(store.get(hex_from_ni(prompt)))
    return store.path(request.volumes[-1].digest)


@contextmanager
def without(file: Path) -> Iterator[None]:
    aside = file.with_suffix(".aside")
    file.rename(aside)
    try:
        yield
    finally:
        aside.rename(file)
