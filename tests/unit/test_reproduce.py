"""`longview reproduce`: a result is taken apart by its Provenance, asked again, and what has changed is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import PermanentFailure, TransientFailure
from schemas.facts import StudyAvailable
from schemas.identifiers import canonical_json, hex_from_ni, ni_digest, ni_from_hex, sha256_hex
from schemas.imaging import StoredStack, StudyInventory
from schemas.inference import ModelAnswer, ModelRelease, ModelRequest, VolumeItem, answer_schema
from schemas.model import Record
from schemas.report import InputManifest
from schemas.reproduction import Reproduction
from schemas.runs import BuildResult, ModelAnswered, PriorFetched, ReadingChecked, StudyFetched
from services import reproduce
from services.clients.fhir import SourceDecimal
from services.reproduce import Reproducer
from services.store import FolderObjectStore
from tests.contract.written_bundles import ISSUED, NAMESPACE, PRIOR, STUDY, TRAINED, chart, context, reading, series
from workflows.reading.release import release_id
from workflows.report import build_result
from workflows.report.kept import kept_objects

ANSWER = ModelAnswer(
    text='{"findings": {"pulmonary-nodule": {"presence": "detected"}, "pleural-effusion": {"presence": "not-detected"}}}',
    finish_reason="stop",
    prompt_tokens=900,
    completion_tokens=80,
    served_model_name=TRAINED.served_model_name,
)
CURRENT_SOPS = [f"{STUDY}.2.{k}" for k in range(1, 5)]
PRIOR_SOPS = [f"{PRIOR}.2.{k}" for k in range(1, 5)]


class Server:
    """A FHIR server that keeps every version."""

    def __init__(self) -> None:
        self.versions: dict[str, dict[str, Any]] = {}

    def put(self, resource: dict[str, Any], version: str = "1") -> dict[str, Any]:
        held = deepcopy(resource)
        held.setdefault("meta", {})["versionId"] = version
        place = f"{held['resourceType']}/{held['id']}"
        self.versions[place] = self.versions[f"{place}/_history/{version}"] = held
        return held

    def post(self, bundle: dict[str, Any]) -> None:
        places = {e["fullUrl"]: f"{e['resource']['resourceType']}/r{i}" for i, e in enumerate(bundle["entry"])}
        text = json.dumps([e["resource"] for e in bundle["entry"]])
        for url, place in places.items():
            text = text.replace(f'"{url}"', f'"{place}"')
        for resource, place in zip(json.loads(text), places.values(), strict=True):
            self.put(resource | {"id": place.split("/")[1]})

    def read(self, reference: str) -> dict[str, Any]:
        if reference not in self.versions:
            raise PermanentFailure("fhir-not-found", "gone")
        return self.versions[reference]

    read_exact = read

    def find(self, resource_type: str, system: str, value: str) -> list[dict[str, Any]]:
        wanted = (system, value)
        return [r for r in self._of(resource_type) if wanted in [(i["system"], i["value"]) for i in r["identifier"]]]

    def find_tagged(self, resource_type: str, system: str, code: str) -> list[dict[str, Any]]:
        wanted = (system, code)
        tags = [(r, [(t["system"], t["code"]) for t in r["meta"].get("tag", [])]) for r in self._of(resource_type)]
        return [r for r, held in tags if wanted in held]

    def _of(self, resource_type: str) -> list[dict[str, Any]]:
        return [r for place, r in self.versions.items() if place.count("/") == 1 and r["resourceType"] == resource_type]


@dataclass
class Archive:
    held: dict[str, list[str]] = field(default_factory=lambda: {STUDY: CURRENT_SOPS, PRIOR: PRIOR_SOPS})

    def find_study(self, study_instance_uid: str) -> StudyInventory:
        if study_instance_uid not in self.held:
            raise PermanentFailure("study-not-found", "gone")
        more = dict.fromkeys(("issuer_of_patient_id", "accession_number", "study_date", "study_time", "description"))
        sops = self.held[study_instance_uid]
        return StudyInventory(
            study_instance_uid=study_instance_uid, patient_id="M0001", series=[], sop_instance_uids=sops, **more
        )


@dataclass
class Model:
    served: ModelRelease = TRAINED
    says: ModelAnswer = ANSWER
    asked: list[ModelRequest] = field(default_factory=list)

    def release(self) -> ModelRelease:
        return self.served

    def ask(self, request: ModelRequest) -> ModelAnswer:
        self.asked.append(request)
        return self.says


class Hospital:
    """A result that was posted, with everything it rests on still there."""

    def __init__(self, folder: Path, history: dict[str, str] | None = None) -> None:
        self.store, self.fhir, self.archive, self.model = FolderObjectStore(folder), Server(), Archive(), Model()
        for resource in chart():
            self.fhir.put(resource)
        self.volume = self.store.put(b"voxels of the study")
        self.before = self.store.put(b"voxels of the prior")
        volumes = [
            VolumeItem(digest=self.before, slices=4, role="prior"),
            VolumeItem(digest=self.volume, slices=4, role="current"),
        ]
        self.request = ModelRequest(
            instruction="i", volumes=volumes, query="q", answer_schema={}, max_tokens=9, priority=10
        )
        made = context()
        manifest = self.keep(
            InputManifest(
                sop_instance_uids=CURRENT_SOPS, prior_sop_instance_uids=PRIOR_SOPS, fhir=made.timeline.sources()
            )
        )
        self.manifest, release = manifest, release_id(TRAINED)
        self.run = self.built(made.timeline, history)
        made = replace(
            made,
            manifest_ni=ni_from_hex(manifest),
            release=release,
            result_id=NAMESPACE.result_id(made.thread_id, ni_from_hex(manifest), release),
            rendered_prompt_ni=ni_from_hex(self.run.answered.request),
            kept=kept_objects(self.run),
        )
        self.result_id = made.result_id
        self.fhir.post(build_result(made))

    def built(self, timeline: Record, history: dict[str, str] | None) -> BuildResult:
        kept = reading().model_dump(mode="json") | ({"history": history} if history else {})
        fetched = [
            StudyFetched(
                volume=self.keep(self.stored(uid, digest)), sop_instance_uids="0" * 64, inventory_digest="x", slices=4
            )
            for uid, digest in ((STUDY, self.volume), (PRIOR, self.before))
        ]
        return BuildResult(
            thread_id="t",
            issued=ISSUED,
            event=StudyAvailable(
                event_id="e",
                study_instance_uid=STUDY,
                patient="Patient/pat-1",
                inventory_digest="x",
                completeness="quiescent",
                instance_count=4,
            ),
            timeline=self.keep(timeline),
            current=fetched[0],
            prior=PriorFetched(fetched=fetched[1], study=None, reason=None),
            answered=ModelAnswered(
                answer=self.keep(ANSWER), request=self.store.put(self.request.as_asked()), started="s", ended="e"
            ),
            checked=ReadingChecked(reading=self.store.put(canonical_json(kept)), finding_count=2, dropped_count=1),
            priority="urgent",
        )

    def stored(self, uid: str, digest: str) -> StoredStack:
        return StoredStack(
            series=series().model_copy(update={"study_instance_uid": uid}),
            volume_digest=digest,
            model_volume_digest=digest,
            model_slices=[0, 1, 2, 3],
            reason="only series",
        )

    def keep(self, record: Record) -> str:
        return self.store.put(canonical_json(record.model_dump(mode="json")))

    def lose(self, digest: str) -> None:
        self.store.path(digest).unlink()

    def reproduce(self, result: str = "", *, ask: bool = True) -> Reproduction:
        reproducer = Reproducer(
            NAMESPACE,
            fhir=self.fhir,
            archive=self.archive,
            store=self.store,
            model=self.model,  # type: ignore[arg-type]
        )
        return reproducer.reproduce(result or self.result_id, ask=ask)


@pytest.fixture
def hospital(tmp_path: Path) -> Hospital:
    return Hospital(tmp_path)


def states(found: Reproduction) -> dict[str, str]:
    return {i.name: i.state for i in found.ingredients}


def changed(found: Reproduction) -> list[str]:
    return [i.name for i in found.ingredients if i.state != "same"]


def test_a_result_that_nothing_has_touched_is_the_same(hospital: Hospital) -> None:
    found = hospital.reproduce()
    assert found.verdict == "same"
    assert changed(found) == []
    assert found.sentence() == "same"
    assert {
        "input manifest",
        "identity",
        "chart",
        "FHIR Observation",
        "FHIR Patient",
        "weights",
        "model answer",
    } <= set(states(found))


def test_the_question_is_the_recorded_one_and_keeps_no_patient_waiting(hospital: Hospital) -> None:
    hospital.reproduce()
    [asked] = hospital.model.asked
    assert asked.model_copy(update={"priority": 10}) == hospital.request
    assert asked.priority > 20, "it would be answered before a patient's study"


def test_a_report_can_be_named_as_well(hospital: Hospital) -> None:
    [report] = hospital.fhir.find("DiagnosticReport", f"{NAMESPACE.base}/sid/ai-result", hospital.result_id)
    assert hospital.reproduce(f"DiagnosticReport/{report['id']}").verdict == "same"


def test_another_answer_is_told_with_what_changed_in_the_release(hospital: Hospital) -> None:
    hospital.model.says = ANSWER.model_copy(update={"text": ANSWER.text.replace("not-detected", "detected")})
    hospital.model.served = TRAINED.model_copy(update={"weights_sha256": "1b" * 32, "runtime": "vllm 9; bfloat16"})
    found = hospital.reproduce()
    assert found.verdict == "answer-differs"
    assert changed(found) == ["weights", "serving runtime", "release", "model answer"]
    answer = next(i for i in found.ingredients if i.name == "model answer")
    assert answer.note == "1 of 2 findings answered alike"
    weights = next(i for i in found.ingredients if i.name == "weights")
    assert (weights.was, weights.now) == ("9a" * 32, "1b" * 32)


def test_a_newer_release_that_answers_the_same_is_the_same_and_is_named(hospital: Hospital) -> None:
    hospital.model.served = TRAINED.model_copy(update={"runtime": "vllm 9; bfloat16"})
    found = hospital.reproduce()
    assert found.verdict == "same"
    assert changed(found) == ["serving runtime", "release"]


def test_the_prompt_and_the_code_are_compared_with_those_in_force(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reproduce, "PROMPT_TEMPLATE", b"another prompt")
    monkeypatch.setattr(reproduce, "READING_CODE_VERSION", "next")
    hospital.model.served = TRAINED.model_copy(update={"model_card": "# Another card\n"})
    assert changed(hospital.reproduce()) == ["prompt template", "model card", "reading code"]


# -- inputs --------------------------------------------------------------------------------------------------------------------


def a_new_version_of_a_lab(hospital: Hospital) -> None:
    lab = next(r for r in chart() if r["id"] == "creat-9")
    hospital.fhir.put(lab | {"valueQuantity": {"value": 9.9, "unit": "mg/dL"}}, version="2")


def late_slices(hospital: Hospital) -> None:
    hospital.archive.held[STUDY] = [*CURRENT_SOPS, f"{STUDY}.2.5"]


def a_server_that_writes_fewer_digits(hospital: Hospital) -> None:
    lab = hospital.fhir.versions["Observation/creat-9/_history/1"]
    lab["valueQuantity"]["value"] = SourceDecimal("1.100")


@pytest.mark.parametrize("event", [a_new_version_of_a_lab, late_slices, a_server_that_writes_fewer_digits])
def test_what_came_after_the_reading_does_not_touch_it(hospital: Hospital, event: Callable[[Hospital], None]) -> None:
    event(hospital)
    assert hospital.reproduce().verdict == "same"


def test_a_version_whose_content_was_altered_is_noticed(hospital: Hospital) -> None:
    """A server, or somebody with access to its database, has rewritten history."""
    hospital.fhir.versions["Observation/creat-9/_history/1"]["valueQuantity"]["value"] = 4.2
    found = hospital.reproduce()
    assert found.verdict == "inputs-changed"
    assert changed(found) == ["chart"]
    assert "1 of" in next(i.note for i in found.ingredients if i.name == "chart")


def test_a_result_that_bears_anothers_identity_is_noticed(hospital: Hospital) -> None:
    other = hospital.keep(InputManifest(sop_instance_uids=CURRENT_SOPS, prior_sop_instance_uids=PRIOR_SOPS, fhir=[]))
    [provenance] = hospital.fhir.find_tagged("Provenance", f"{NAMESPACE.base}/sid/ai-result", hospital.result_id)
    rewritten = json.loads(json.dumps(provenance).replace(ni_from_hex(hospital.manifest), ni_from_hex(other)))
    hospital.fhir.put(rewritten)
    found = hospital.reproduce()
    assert found.verdict == "inputs-changed"
    assert "identity" in changed(found)


def test_bytes_that_changed_in_the_store_are_noticed_and_never_shown_to_the_model(hospital: Hospital) -> None:
    hospital.store.path(hospital.volume).write_bytes(b"other voxels")
    found = hospital.reproduce()
    assert found.verdict == "inputs-changed"
    assert changed(found) == ["volume shown (current)"]
    assert hospital.model.asked == []
    assert not found.asked


LOSSES: dict[str, tuple[Callable[[Hospital], None], str]] = {
    "a FHIR version was purged": (lambda h: drop(h, "Condition/copd/_history/1"), "FHIR Condition"),
    "the volume was deleted": (lambda h: h.lose(h.volume), "volume shown (current)"),
    "the prior's volume was deleted": (lambda h: h.lose(h.before), "volume shown (prior)"),
    "the prompt was deleted": (lambda h: h.lose(h.run.answered.request), "rendered prompt"),
    "the manifest was deleted": (lambda h: h.lose(h.manifest), "input manifest"),
    "the timeline was deleted": (lambda h: h.lose(h.run.timeline), "timeline"),
    "an image left the archive": (lambda h: h.archive.held.update({STUDY: CURRENT_SOPS[1:]}), "images in the archive"),
    "the prior left the archive": (lambda h: drop_study(h, PRIOR), "images of the prior in the archive"),
}


def drop(hospital: Hospital, reference: str) -> None:
    del hospital.fhir.versions[reference]


def drop_study(hospital: Hospital, uid: str) -> None:
    del hospital.archive.held[uid]


@pytest.mark.parametrize("loss", LOSSES)
def test_what_is_gone_is_named(hospital: Hospital, loss: str) -> None:
    lose, name = LOSSES[loss]
    lose(hospital)
    found = hospital.reproduce()
    assert found.verdict == "cannot-be-reproduced"
    assert found.gone == [name]
    assert found.sentence() == f"cannot-be-reproduced (gone: {name})"


def test_a_lost_answer_is_compared_by_its_digest(hospital: Hospital) -> None:
    hospital.lose(hospital.run.answered.answer)
    assert hospital.reproduce().verdict == "same"
    hospital.model.says = ANSWER.model_copy(update={"text": "{}"})
    assert hospital.reproduce().verdict == "answer-differs"


def test_results_from_before_digests_of_answers_were_kept_cannot_be_reproduced(hospital: Hospital) -> None:
    [provenance] = hospital.fhir.find_tagged("Provenance", f"{NAMESPACE.base}/sid/ai-result", hospital.result_id)
    kept = {ni_from_hex(kept.digest) for kept in kept_objects(hospital.run)}
    old = [e for e in provenance["entity"] if e["what"].get("identifier", {}).get("value") not in kept]
    hospital.fhir.put(provenance | {"entity": old})
    found = hospital.reproduce()
    assert found.sentence() == "cannot-be-reproduced (gone: model answer)"
    assert states(found)["timeline"] == states(found)["volume of the study"] == "not-recorded"


# -- without the model ---------------------------------------------------------------------------------------------------------


def test_ingredients_alone_can_be_checked(hospital: Hospital) -> None:
    found = hospital.reproduce(ask=False)
    assert (found.verdict, found.asked, hospital.model.asked) == ("same", False, [])
    assert found.sentence() == "same (the model was not asked again)"
    hospital.model.served = TRAINED.model_copy(update={"runtime": "vllm 9"})
    assert hospital.reproduce(ask=False).verdict == "inputs-changed"


def test_a_part_that_is_away_is_a_failure_and_no_verdict(hospital: Hospital) -> None:
    def away(_: str) -> Any:
        raise TransientFailure("archive-unavailable", "away")

    hospital.archive.find_study = away  # type: ignore[method-assign]
    with pytest.raises(TransientFailure):
        hospital.reproduce()


def test_what_is_no_result_of_ours_is_refused(hospital: Hospital) -> None:
    with pytest.raises(PermanentFailure, match="result-not-found"):
        hospital.reproduce("no-such-result")
    hospital.fhir.put({"resourceType": "DiagnosticReport", "id": "ris", "identifier": []})
    with pytest.raises(PermanentFailure, match="provenance-missing"):
        hospital.reproduce("DiagnosticReport/ris")


def test_a_second_question_about_the_history_is_asked_again_as_well(tmp_path: Path) -> None:
    """Where a reading names the prompt and the answer of its second pass."""
    store = FolderObjectStore(tmp_path)
    question = ModelRequest(instruction="i", volumes=[], query="h", answer_schema={}, max_tokens=9, priority=10)
    kept = {"request": question, "answer": ANSWER.model_copy(update={"text": "{}"})}
    digests = {name: store.put(canonical_json(record.model_dump(mode="json"))) for name, record in kept.items()}
    hospital = Hospital(tmp_path, history=digests)
    found = hospital.reproduce()
    assert len(hospital.model.asked) == 2
    assert changed(found) == ["model answer about the history"]
    hospital.lose(digests["request"])
    assert hospital.reproduce().gone == ["prompt about the history"]


def test_nothing_of_the_patient_is_in_what_is_said(hospital: Hospital) -> None:
    drop(hospital, "Condition/copd/_history/1")
    said = hospital.reproduce().model_dump_json()
    for secret in ("pat-1", "M0001", STUDY, "COPD", "copd", "A-4711", "detected"):
        assert secret not in said


def test_the_question_is_kept_in_the_order_in_which_it_was_asked(tmp_path: Path) -> None:
    """The model writes its answer in the order of the schema's properties: sorted keys would be another question with another answer."""
    labels = ["pulmonary-nodule", "pleural-effusion", "consolidation"]
    asked = ModelRequest(
        instruction="i",
        volumes=[],
        query="q",
        answer_schema=answer_schema(labels, [4], compared=True),
        max_tokens=9,
        priority=0,
    )
    store = FolderObjectStore(tmp_path)
    again = ModelRequest.model_validate_json(store.get(store.put(asked.as_asked())))
    assert json.dumps(again.answer_schema) == json.dumps(asked.answer_schema)
    assert list(again.answer_schema["properties"]["findings"]["properties"]) == labels


def test_a_digest_survives_its_name() -> None:
    assert hex_from_ni(ni_digest(b"x")) == sha256_hex(b"x")
    for other in ("", "ni:///sha-256;short", "ni:///sha-256;" + "!" * 43, "urn:uuid:1"):
        with pytest.raises(ValueError, match=r".*"):
            hex_from_ni(other)
