"""The phantom patient: a nodule that really grew, images that are valid DICOM, a chart that is valid FHIR."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from fhir.resources.R4B.bundle import Bundle

from services.demo.story import CURRENT_DIAMETER, NODULE_AT, PRIOR_DIAMETER, DicomStudy, Story, phantom_story

BASE = "https://ai.example.org/fhir"
ACCESSIONS = f"{BASE}/sid/accession"


@pytest.fixture(scope="module")
def story() -> Story:
    return phantom_story(7, BASE, ACCESSIONS)


def datasets(study: DicomStudy) -> list[pydicom.Dataset]:
    return sorted(
        (pydicom.dcmread(BytesIO(data)) for data in study.files), key=lambda ds: float(ds.ImagePositionPatient[2])
    )


def hounsfield(ds: pydicom.Dataset) -> npt.NDArray[np.float64]:
    return ds.pixel_array * float(ds.RescaleSlope) + float(ds.RescaleIntercept)


def nodule_volume(study: DicomStudy) -> float:
    """mm3 of soft tissue within 14 mm of where the nodule is known to be, each voxel weighed by how much of it is not lung."""
    volume = 0.0
    for ds in datasets(study):
        x0, y0, z = (float(v) for v in ds.ImagePositionPatient)
        pixel = float(ds.PixelSpacing[0])
        x, y = x0 + np.arange(ds.Columns) * pixel, y0 + np.arange(ds.Rows) * pixel
        near = (x[None, :] - NODULE_AT[0]) ** 2 + (y[:, None] - NODULE_AT[1]) ** 2 + (z - NODULE_AT[2]) ** 2 < 14.0**2
        tissue = np.clip((hounsfield(ds) + 860) / (42 + 860), 0, 1)
        volume += float((tissue * (tissue > 0.1) * near).sum()) * pixel * pixel * float(ds.SliceThickness)
    return volume


def diameter(volume: float) -> float:
    return float((6 * volume / np.pi) ** (1 / 3))


def test_the_nodule_grew_as_the_story_says(story: Story) -> None:
    prior, current = (diameter(nodule_volume(study)) for study in story.studies)
    assert prior == pytest.approx(PRIOR_DIAMETER, abs=1.0)
    assert current == pytest.approx(CURRENT_DIAMETER, abs=1.0)


def test_the_images_look_like_a_chest_to_a_scanner(story: Story) -> None:
    middle = datasets(story.studies[1])[20]
    image = hounsfield(middle)
    assert image[0, 0] == pytest.approx(-1000, abs=80)
    right_lung, body = image[128, 75], image[128, 128]
    assert right_lung < -700
    assert -50 < body < 150
    assert 5 < image[5:40, 5:40].std() < 30, "air has noise"


def test_every_instance_is_a_ct_image_of_one_plain_stack(story: Story) -> None:
    for study in story.studies:
        stack = datasets(study)
        assert {ds.SOPClassUID for ds in stack} == {"1.2.840.10008.5.1.4.1.1.2"}
        assert len({ds.SOPInstanceUID for ds in stack}) == len(stack)
        assert {ds.PatientID for ds in stack} == {study.patient_id}
        assert all(ds.file_meta.MediaStorageSOPInstanceUID == ds.SOPInstanceUID for ds in stack)
        steps = np.diff([float(ds.ImagePositionPatient[2]) for ds in stack])
        assert np.allclose(steps, float(stack[0].SliceThickness))
        required = "FrameOfReferenceUID Modality StudyDate SeriesInstanceUID ImageType KVP PixelSpacing ImageOrientationPatient RescaleIntercept"
        assert all(keyword in ds for ds in stack for keyword in required.split())


def test_the_same_seed_gives_the_same_bytes_and_another_seed_another_patient(story: Story) -> None:
    again, other = phantom_story(7, BASE, ACCESSIONS), phantom_story(8, BASE, ACCESSIONS)
    assert again == story
    assert other.studies[1].study_instance_uid != story.studies[1].study_instance_uid
    assert other.patient != story.patient


def test_the_chart_is_valid_r4_and_names_the_images(story: Story) -> None:
    Bundle.model_validate(story.bundle)
    resources = [entry["resource"] for entry in story.bundle["entry"]]
    studies = [r for r in resources if r["resourceType"] == "ImagingStudy"]
    assert {f"urn:oid:{s.study_instance_uid}" for s in story.studies} == {s["identifier"][0]["value"] for s in studies}
    assert [s["numberOfInstances"] for s in studies] == [len(s.files) for s in story.studies]
    assert {
        "AllergyIntolerance",
        "Condition",
        "DiagnosticReport",
        "MedicationRequest",
        "Procedure",
        "ServiceRequest",
    } <= kinds(resources)


def kinds(resources: list[dict[str, Any]]) -> set[str]:
    return {resource["resourceType"] for resource in resources}


def test_the_chart_speaks_of_one_patient_and_refers_only_to_itself(story: Story) -> None:
    names = {entry["request"]["url"] for entry in story.bundle["entry"]}
    references = set(find_references(story.bundle))
    assert references <= names
    assert {r for r in references if r.startswith("Patient/")} == {story.patient}
    (patient,) = [e["resource"] for e in story.bundle["entry"] if e["request"]["url"] == story.patient]
    assert patient["identifier"][0]["value"] == story.studies[0].patient_id


def find_references(node: Any) -> list[str]:
    if isinstance(node, list):
        return [reference for item in node for reference in find_references(item)]
    if not isinstance(node, dict):
        return []
    own = [node["reference"]] if isinstance(node.get("reference"), str) else []
    return own + [reference for value in node.values() for reference in find_references(value)]
