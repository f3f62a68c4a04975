"""A user's own files: any Bundle with one patient, any folder with DICOM in it."""

from __future__ import annotations

import copy
import json
import os
import shutil
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import tifffile
from fhir.resources.R4B.imagingstudy import ImagingStudy

from schemas.errors import PermanentFailure
from services.demo.load import Index, SeriesIndex, StudyIndex, load_chart
from services.demo.own_chart import chart_of, dumps, loads, read_chart
from services.demo.own_images import find_studies, read_file
from services.demo.story import Story, phantom_story
from services.demo.subject import own_subject
from tests.unit.slide_files import write_tiff
from tests.unit.slide_samples import paint

DATA = Path(os.environ.get("LONGVIEW_TEST_DATA") or Path(__file__).parents[2] / "../shared/data").resolve()
SYNTHEA = sorted((DATA / "fhir/synthea").glob("*.json")) if (DATA / "fhir/synthea").is_dir() else []
BASE = "https://ai.example.org/fhir"
INDEX = Index(BASE, f"{BASE}/sid/accession")


@cache
def phantom(seed: int) -> Story:
    return phantom_story(seed, BASE, f"{BASE}/sid/accession")


class MemoryFhir:
    """Enough of a FHIR server to load into: PUT, read, search by identifier."""

    def __init__(self) -> None:
        self.resources: dict[str, dict[str, Any]] = {}
        self.posts: list[dict[str, Any]] = []

    def read(self, reference: str) -> dict[str, Any]:
        if reference not in self.resources:
            raise PermanentFailure("resource-not-found", "it is not there")
        return copy.deepcopy(self.resources[reference])

    def find(self, resource_type: str, system: str, value: str) -> list[dict[str, Any]]:
        of_type = (r for r in self.resources.values() if r["resourceType"] == resource_type)
        return [
            r
            for r in of_type
            if any((i.get("system"), i.get("value")) == (system, value) for i in r.get("identifier", []))
        ]

    def transaction(self, bundle: bytes) -> list[str]:
        posted = json.loads(bundle)
        self.posts.append(posted)
        for entry in posted["entry"]:
            self.resources[entry["request"]["url"]] = entry["resource"] | {"meta": {"versionId": str(len(self.posts))}}
        return [entry["request"]["url"] for entry in posted["entry"]]


def study(patient_id: str = "MRN-7", issuer: str = "") -> StudyIndex:
    series = [SeriesIndex("1.2.3.4", "CT", 2, "AXIAL", 40)]
    return StudyIndex("1.2.3", patient_id, issuer, "2026-03-10", "CT CHEST", "ACC1", series)


def bundle_of(*resources: dict[str, Any], kind: str = "collection") -> dict[str, Any]:
    return {"resourceType": "Bundle", "type": kind, "entry": [{"resource": resource} for resource in resources]}


PATIENT = {"resourceType": "Patient", "id": "p1", "name": [{"family": "Doe"}]}


@pytest.mark.skipif(not SYNTHEA, reason="the Synthea patients of LONGVIEW_TEST_DATA are not on this machine")
@pytest.mark.parametrize("path", SYNTHEA, ids=lambda path: path.name.split("_")[0])
def test_a_synthea_patient_becomes_puts_that_refer_to_each_other(path: Path) -> None:
    chart = read_chart(path)
    given = json.loads(path.read_bytes())
    urls = [entry["request"]["url"] for entry in chart.bundle["entry"]]
    assert len(urls) == len(set(urls)) == len(given["entry"])
    text = dumps(chart.bundle).decode()
    assert '"reference":"urn:uuid' not in text
    assert {entry["request"]["method"] for entry in chart.bundle["entry"]} == {"PUT"}
    references = {r for r in all_references(chart.bundle) if not r.startswith("#")}
    assert references <= set(urls)
    assert chart.patient in urls
    assert chart.patient in references
    fhir = MemoryFhir()
    load_chart(fhir, chart.bundle, chart.patient, [study()], INDEX)
    assert len(fhir.resources) == len(urls) + 1, "the chart and an ImagingStudy for the images"


def all_references(node: Any) -> list[str]:
    if isinstance(node, list):
        return [reference for item in node for reference in all_references(item)]
    if not isinstance(node, dict):
        return []
    own = [node["reference"]] if isinstance(node.get("reference"), str) else []
    return own + [reference for value in node.values() for reference in all_references(value)]


def test_decimals_keep_the_digits_they_were_written_with() -> None:
    written = b'{"value":7.10,"low":0.000,"exponent":1.50E-3,"count":3,"text":"7.10 \\u00e9"}'
    assert dumps(loads(written)) == written


def test_a_searchset_of_another_server_loses_its_addresses_and_versions() -> None:
    base = "https://other.example.org/r4"
    body = {
        "resourceType": "Bundle",
        "type": "searchset",
        "entry": [
            {
                "fullUrl": f"{base}/Patient/123",
                "resource": {"resourceType": "Patient", "id": "123"},
                "search": {"mode": "match"},
            },
            {
                "fullUrl": f"{base}/Observation/o1",
                "resource": {
                    "resourceType": "Observation",
                    "id": "o1",
                    "subject": {"reference": "Patient/123/_history/4"},
                },
            },
            {"resource": {"resourceType": "OperationOutcome", "issue": []}, "search": {"mode": "outcome"}},
        ],
    }
    chart = chart_of(body)
    assert chart.patient == "Patient/id-123", "some servers refuse ids of digits alone"
    assert [entry["request"]["url"] for entry in chart.bundle["entry"]] == ["Patient/id-123", "Observation/o1"]
    assert chart.bundle["entry"][1]["resource"]["subject"] == {"reference": "Patient/id-123"}


def test_a_reference_that_is_a_search_is_answered_from_the_file_or_becomes_logical() -> None:
    npi = "http://hl7.org/fhir/sid/us-npi"
    doctor = {"resourceType": "Practitioner", "id": "dr", "identifier": [{"system": npi, "value": "1"}]}
    visit = {
        "resourceType": "Encounter",
        "id": "e",
        "participant": [{"individual": {"reference": f"Practitioner?identifier={npi}|{n}"}} for n in (1, 2)],
    }
    entries = chart_of(bundle_of(PATIENT, doctor, visit)).bundle["entry"]
    first, second = (participant["individual"] for participant in entries[2]["resource"]["participant"])
    assert first == {"reference": "Practitioner/dr"}
    assert second == {"type": "Practitioner", "identifier": {"system": npi, "value": "2"}}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (bundle_of({"resourceType": "Observation", "id": "o"}), "patient-count"),
        (bundle_of(PATIENT, PATIENT | {"id": "p2"}), "patient-count"),
        (bundle_of(PATIENT, kind="history"), "bundle-type"),
        ({"resourceType": "Observation"}, "patient-file"),
        ([1, 2], "patient-file"),
    ],
)
def test_a_file_without_exactly_one_patient_is_refused_in_a_sentence(body: Any, code: str) -> None:
    with pytest.raises(PermanentFailure) as refused:
        chart_of(body)
    assert refused.value.code == code
    assert refused.value.hint.endswith(".")


def test_a_lone_patient_is_enough_and_without_an_id_gets_always_the_same() -> None:
    nameless = {"resourceType": "Patient", "name": [{"family": "Doe"}]}
    assert chart_of(PATIENT).patient == "Patient/p1"
    assert chart_of(nameless).patient == chart_of(copy.deepcopy(nameless)).patient


def test_the_patient_id_of_the_images_joins_the_patients_identifiers_and_that_is_said() -> None:
    fhir = MemoryFhir()
    said = load_chart(fhir, chart_of(PATIENT).bundle, "Patient/p1", [study(issuer="St. Elsewhere")], INDEX)
    (identifier,) = fhir.resources["Patient/p1"]["identifier"]
    assert (identifier["value"], identifier["assigner"]) == ("MRN-7", {"display": "St. Elsewhere"})
    assert any("PatientID with its issuer was added" in sentence for sentence in said)
    assert not any("MRN-7" in sentence for sentence in said), "what is said names nobody"


def test_loading_a_patient_again_loads_nothing_and_a_new_study_only_itself() -> None:
    fhir = MemoryFhir()
    bundle = chart_of(PATIENT).bundle
    load_chart(fhir, bundle, "Patient/p1", [study()], INDEX)
    before = copy.deepcopy(fhir.resources)
    said = load_chart(fhir, bundle, "Patient/p1", [study()], INDEX)
    assert fhir.resources == before
    assert len(fhir.posts) == 1
    assert said == ["The patient is there already and is not loaded again."]


def test_a_patient_id_that_another_patient_has_is_refused() -> None:
    fhir = MemoryFhir()
    load_chart(fhir, chart_of(PATIENT).bundle, "Patient/p1", [study()], INDEX)
    with pytest.raises(PermanentFailure) as refused:
        load_chart(fhir, chart_of(PATIENT | {"id": "p2"}).bundle, "Patient/p2", [study()], INDEX)
    assert refused.value.code == "patient-id-taken"
    assert "Patient/p2" not in fhir.resources


def test_the_imaging_study_we_add_is_valid_r4() -> None:
    fhir = MemoryFhir()
    load_chart(fhir, chart_of(PATIENT).bundle, "Patient/p1", [study()], INDEX)
    (added,) = [r for r in fhir.resources.values() if r["resourceType"] == "ImagingStudy"]
    ImagingStudy.model_validate({k: v for k, v in added.items() if k != "meta"})
    assert "1.2.3" not in added["id"], "an id holds no identifier"


def write_study(folder: Path, files: list[bytes]) -> None:
    folder.mkdir(parents=True)
    for number, data in enumerate(files):
        (folder / f"file{number}").write_bytes(data)


def test_a_folder_with_a_prior_a_current_study_and_other_files_is_sorted_out(tmp_path: Path) -> None:
    story = phantom(3)
    write_study(tmp_path / "b" / "now", story.studies[1].files[:3])
    write_study(tmp_path / "a", story.studies[0].files[:2])
    (tmp_path / "readme.txt").write_text("not an image")
    (tmp_path / "empty").touch()
    shutil.copy(tmp_path / "a" / "file0", tmp_path / "copy-of-the-same-instance")
    found = find_studies(tmp_path)
    assert [s.uid for s in found] == [s.study_instance_uid for s in story.studies], "the newest comes last"
    assert [s.instance_count for s in found] == [2, 3]


def test_a_file_without_preamble_is_read_and_gets_one(tmp_path: Path) -> None:
    whole = phantom(3).studies[0].files[0]
    original = pydicom.dcmread(BytesIO(whole))
    bare = BytesIO()
    pydicom.dcmwrite(bare, strip_meta(original), implicit_vr=True, little_endian=True)
    (tmp_path / "IM1").write_bytes(bare.getvalue())
    assert bare.getvalue()[128:132] != b"DICM"
    (found,) = find_studies(tmp_path)
    mended = pydicom.dcmread(BytesIO(read_file(found.paths[0])))
    assert mended.PixelData == original.PixelData
    assert mended.SOPInstanceUID == original.SOPInstanceUID


def strip_meta(ds: pydicom.Dataset) -> pydicom.Dataset:
    bare = pydicom.Dataset()
    bare.update(ds)
    return bare


def test_a_folder_without_dicom_or_without_patient_id_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(PermanentFailure, match="no DICOM file"):
        find_studies(tmp_path)
    ds = pydicom.dcmread(BytesIO(phantom(3).studies[0].files[0]))
    ds.PatientID = ""
    ds.save_as(tmp_path / "x")
    with pytest.raises(PermanentFailure, match="PatientID is empty"):
        find_studies(tmp_path)
    with pytest.raises(PermanentFailure, match="name a folder"):
        find_studies(tmp_path / "nowhere")


def test_a_folder_with_two_patients_is_refused(tmp_path: Path) -> None:
    mine = phantom(3).studies[0].files[:1]
    theirs = pydicom.dcmread(BytesIO(mine[0]))
    theirs.PatientID, theirs.StudyInstanceUID = "SOMEBODY-ELSE", "1.2.3.4"
    write_study(tmp_path / "mine", mine)
    theirs.save_as(tmp_path / "theirs")
    with pytest.raises(PermanentFailure) as refused:
        find_studies(tmp_path)
    assert refused.value.code == "study-patients"


@pytest.mark.skipif(not SYNTHEA, reason="the studies of LONGVIEW_TEST_DATA are not on this machine")
@pytest.mark.parametrize(("folder", "instances", "modality"), [("ct/head_5mm", 28, "CT"), ("mr/t1", 384, "MR")])
def test_real_studies_are_found_whole_and_untouched(folder: str, instances: int, modality: str) -> None:
    subject = own_subject(DATA / folder, SYNTHEA[0])
    (found,) = subject.studies
    assert found.instances == instances
    assert {series.modality for series in found.series} == {modality}
    path = find_studies(DATA / folder)[0].paths[0]
    assert read_file(path) == path.read_bytes()


# -- a whole slide in one file


def slide_file(folder: Path, **patient: Any) -> tuple[Path, Path]:
    chart = folder / "patient.json"
    chart.write_text(json.dumps(PATIENT | patient))
    return write_tiff(folder / "slide.tif", paint(700, 600, [(50, 50, 600, 500)]), levels=2), chart


def test_a_tiff_becomes_a_study_of_the_patient_with_a_level_an_instance(tmp_path: Path) -> None:
    path, chart = slide_file(tmp_path, identifier=[{"value": "x" * 70}, {"system": "urn:mrn", "value": "MRN-7"}])
    subject = own_subject(path, chart)
    [study_index] = subject.studies
    assert (study_index.patient_id, study_index.series[0].modality, study_index.instances) == ("MRN-7", "SM", 2)
    instances = [pydicom.dcmread(BytesIO(data)) for data in subject.files()]
    assert [(i.TotalPixelMatrixColumns, i.TotalPixelMatrixRows) for i in instances] == [(700, 600), (350, 300)]
    assert {(i.PatientID, i.StudyInstanceUID, i.Modality) for i in instances} == {("MRN-7", study_index.uid, "SM")}
    fhir = MemoryFhir()
    load_chart(fhir, subject.bundle, subject.patient, subject.studies, INDEX)
    [imaging] = [r for r in fhir.resources.values() if r["resourceType"] == "ImagingStudy"]
    ImagingStudy.model_validate(imaging)


def test_the_same_tiff_is_the_same_study_and_the_same_bytes(tmp_path: Path) -> None:
    path, chart = slide_file(tmp_path, identifier=[{"value": "MRN-7"}])
    first, again = own_subject(path, chart), own_subject(path, chart)
    assert first.studies == again.studies
    assert list(first.files()) == list(again.files())
    chart.write_text(json.dumps(PATIENT | {"identifier": [{"value": "MRN-8"}]}))
    assert own_subject(path, chart).studies[0].uid != first.studies[0].uid


def test_a_slide_of_a_patient_without_an_identifier_and_a_file_that_is_none_are_refused(tmp_path: Path) -> None:
    path, chart = slide_file(tmp_path)
    with pytest.raises(PermanentFailure, match="patient-id-empty"):
        own_subject(path, chart)
    with pytest.raises(PermanentFailure, match="slide-file"):
        own_subject(chart, chart)


def test_tiles_that_a_scanner_left_out_are_stored_white(tmp_path: Path) -> None:
    tile = np.full((256, 256, 3), 90, np.uint8)
    path = tmp_path / "sparse.tif"
    with tifffile.TiffWriter(path) as file:
        file.write(
            iter([tile, None]), shape=(256, 512, 3), dtype=np.uint8, tile=(256, 256), photometric="rgb", compression="jpeg",
            metadata=None, resolution=(20_000, 20_000), resolutionunit="CENTIMETER",
        )  # fmt: skip
    (tmp_path / "patient.json").write_text(json.dumps(PATIENT | {"identifier": [{"value": "MRN-7"}]}))
    [data] = own_subject(path, tmp_path / "patient.json").files()
    frames = pydicom.dcmread(BytesIO(data)).pixel_array
    assert np.abs(frames[0].astype(int) - 90).max() <= 2
    assert (frames[1] >= 254).all()
