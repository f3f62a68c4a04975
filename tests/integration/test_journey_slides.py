"""A whole slide goes the whole way: as DICOM in the archive, announced on the bus, read in patches, to FHIR and the inbox's page."""

from __future__ import annotations

import asyncio
import itertools
import json
from pathlib import Path

import httpx
import numpy as np
import pytest

from schemas.pictures import decode_pictures
from services.demo.subject import Subject, own_subject
from services.store import FolderObjectStore
from tests.integration.journeys import ABSENT, DETECTED, answering_model, asked, codes, page_of, read, start_on, uid_of
from tests.integration.system import System, until
from tests.unit.slide_files import write_tiff
from tests.unit.slide_samples import paint

pytestmark = pytest.mark.integration
NUMBERS = itertools.count(1)
LABELS = ("tissue-tumour", "tissue-inflammation", "tissue-necrosis")
WIDTH, HEIGHT = 6000, 5000
"""Pixels of 0.5 micrometres: 4 x 3 patches of 1792 pixels, those at the right and lower edge in part."""
TISSUE = (700, 600, 4700, 4300)


def slide(folder: Path, *pieces: tuple[int, int, int, int]) -> Subject:
    """A slide of one more patient, as a scanner's TIFF; the demonstration stores it as DICOM."""
    number = next(NUMBERS)
    path = write_tiff(folder / "slide.tif", paint(WIDTH, HEIGHT, list(pieces or (TISSUE,)), seed=number), levels=5)
    patient = {
        "resourceType": "Patient",
        "id": f"pat-slide-{number}",
        "identifier": [{"system": "urn:mrn", "value": f"SLIDE{number}"}],
        "name": [{"family": "Biopsy", "given": ["Bo"]}],
    }
    (folder / "patient.json").write_text(json.dumps(patient))
    return own_subject(path, folder / "patient.json")


def test_a_slide_becomes_one_labelled_result_of_pathology(quick: System, tmp_path: Path) -> None:
    subject = slide(tmp_path)
    report = read(quick, subject)
    assert (report["status"], codes(report["category"][0]), codes(report["code"])) == ("partial", ["PAT"], ["11526-1"])
    assert report["conclusion"].startswith("AI-generated, not verified.")
    assert "Not compared with a prior study" in report["conclusion"]
    request = asked(quick, subject)
    assert sorted(request.answer_schema["properties"]["findings"]["required"]) == sorted(LABELS)
    [item] = request.volumes
    assert (item.role, item.kind, item.slices) == ("current", "picture", 9)
    pixels = decode_pictures(FolderObjectStore(quick.settings.store).get(item.digest)).pixels
    assert pixels.shape == (9, 896, 896, 3)
    assert (np.array([patch.mean() for patch in pixels]) < 238).all(), "every patch shows tissue"
    page = page_of(quick, subject)
    assert "Overview: outlined the 9 of 9 patches of tissue that were read" in page


def test_a_place_on_a_patch_reaches_fhir_and_page_in_the_total_pixel_matrix(quick: System, tmp_path: Path) -> None:
    """Tumour on the sixth patch, as a trained model would report it; one box lies beyond the slide's edge."""
    subject = slide(tmp_path, TISSUE, (5400, 600, 6000, 1800))
    quick.load(subject)
    place = {"slice": 6, "box_2d": [250, 500, 500, 750]}
    nothing = ABSENT | {"change": "not-compared"}
    seen = nothing | {"presence": "detected", "likelihood": "probable", "location": place}
    beyond = seen | {"location": {"slice": 4, "box_2d": [0, 0, 500, 900]}}
    answer = {"tissue-tumour": seen, "tissue-inflammation": nothing, "tissue-necrosis": beyond}
    with (
        answering_model(quick, json.dumps({"findings": answer})) as url,
        quick.another_worker(model_url=url, task_queue="slide"),
    ):
        asyncio.run(start_on(quick, subject, "slide"))
        until(lambda: quick.inbox_entries(uid_of(subject)) or None, "the entry")
    [report] = quick.reports(uid_of(subject))
    assert "Necrosis of the tissue, because its box lies outside the image" in report["conclusion"]
    findings = [quick.fhir.read(link["reference"]) for link in report["result"]]
    [tumour] = [f for f in findings if codes(f["valueCodeableConcept"]) == [DETECTED]]
    assert tumour["bodySite"]["text"] == "Specimen"
    [region] = [e for e in tumour["extension"] if e["url"].endswith("/image-region")]
    parts = [(part["url"], next(v for k, v in part.items() if k != "url")) for part in region["extension"]]
    named = dict(parts)
    assert "frame" not in named
    assert (named["columns"], named["rows"]) == (WIDTH, HEIGHT)
    left, top = 1792 + 896, 1792 + 448  # the second patch of the second row
    corners = [float(value) for name, value in parts if name == "coordinate"]
    assert corners[:6] == [left, top, left + 448, top, left + 448, top + 448]
    [base] = [
        uid
        for uid in quick.archive.instances(uid_of(subject), named["seriesUid"], named["sopClass"]["code"][8:])
        if quick.archive.metadata(uid_of(subject), named["seriesUid"], uid)["00480006"]["Value"] == [WIDTH]
    ]
    assert named["instanceUid"] == base
    page = page_of(quick, subject)
    assert "patch 6 of 10" in page
    assert '<rect x="448.0" y="224.0" width="224.0" height="224.0"' in page
    [(result, _)] = quick.inbox_entries(uid_of(subject))
    shown = httpx.get(f"{quick.settings.inbox_url}/results/{result}/evidence/1/current", trust_env=False)
    assert (shown.status_code, shown.headers["content-type"]) == (200, "image/png")


def test_glass_without_tissue_fails_by_name_and_makes_no_report(quick: System, tmp_path: Path) -> None:
    subject = slide(tmp_path, (0, 0, 40, 40))
    quick.load(subject)
    run = quick.failed_run(quick.announce(subject).study_key)
    assert (run.stage, run.code) == ("fetch-images", "slide-no-tissue")
    assert quick.reports(uid_of(subject)) == []


def test_the_same_slide_again_is_one_result(quick: System, tmp_path: Path) -> None:
    subject = slide(tmp_path)
    first = read(quick, subject)
    again = own_subject(tmp_path / "slide.tif", tmp_path / "patient.json")
    quick.load(again)
    quick.announce(again)
    assert [report["id"] for report in quick.reports(uid_of(again))] == [first["id"]]
