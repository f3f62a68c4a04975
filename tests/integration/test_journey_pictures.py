"""Radiographs and an MR of several sequences go the whole way: from a folder of files over bus, archive and model to FHIR and the inbox's page."""

from __future__ import annotations

import asyncio
import itertools
import json
from io import BytesIO
from pathlib import Path

import pydicom
import pytest

from schemas.pictures import decode_pictures
from services.demo.subject import Subject, own_subject
from services.store import FolderObjectStore
from tests.integration.films import NODULE_BOX, film_study, mr_study, patient_file
from tests.integration.journeys import ABSENT, DETECTED, answering_model, asked, codes, page_of, read, start_on, uid_of
from tests.integration.system import System, until

pytestmark = pytest.mark.integration
NUMBERS = itertools.count(1)
CHEST_FILM = (
    "pulmonary-nodule", "pleural-effusion", "consolidation", "pneumothorax", "cardiomegaly", "pulmonary-oedema", "atelectasis",
)  # fmt: skip


def films(tmp_path: Path) -> Subject:
    patient = f"FILM{next(NUMBERS)}"
    film_study(tmp_path / "study", patient)
    return own_subject(tmp_path / "study", patient_file(tmp_path, patient))


def test_a_film_and_its_prior_become_one_labelled_result(quick: System, tmp_path: Path) -> None:
    """Two views, compared with the bedside film of half a year before; raw values are not shown; coded as a radiograph of the chest."""
    subject = films(tmp_path)
    report = read(quick, subject)
    assert (report["status"], codes(report["category"][0]), codes(report["code"])) == ("partial", ["RX"], ["36643-5"])
    assert report["conclusion"].startswith("AI-generated, not verified.")
    assert "Compared with the study of 2025-09-05" in report["conclusion"]
    request = asked(quick, subject)
    assert [(v.role, v.kind, v.slices, v.heading) for v in request.volumes] == [
        ("prior", "picture", 1, "STUDY 1, IMAGE 1"),
        ("current", "picture", 1, "STUDY 2, IMAGE 1"),
        ("current", "picture", 1, "STUDY 2, IMAGE 2"),
    ]
    labels = request.answer_schema["properties"]["findings"]["required"]
    assert sorted(labels) == sorted(CHEST_FILM)
    store = FolderObjectStore(quick.settings.store)
    prior, pa, lateral = (decode_pictures(store.get(v.digest)).pixels[0, ..., 0] for v in request.volumes)
    assert (prior.shape, pa.shape, lateral.shape) == ((720, 720), (720, 720), (480, 480))
    assert not pa[:160].any()
    inner = pa[160:560].astype(int)
    assert inner[:, 340:380].mean() > inner[:, 180:220].mean() + 30, (
        "the spine is brighter than the lung: MONOCHROME1 was turned round once"
    )
    assert abs(inner - prior[160:560].astype(int)).mean() < 12, "film and prior, in opposite polarities, look alike"
    page = page_of(quick, subject)
    assert "image 1 of 2" in page or "image 2 of 2" in page


def test_a_box_on_a_film_reaches_fhir_and_page_in_the_films_own_pixels(quick: System, tmp_path: Path) -> None:
    """The nodule as a trained model would report it: in the right lung, larger than before, its length that of a shadow."""
    subject = films(tmp_path)
    quick.load(subject)
    place = {"series": 1, "slice": 1, "box_2d": NODULE_BOX, "long_axis_mm": 15}
    seen = {"presence": "detected", "likelihood": "probable", "side": "right", "change": "worse", "location": place}
    padding = seen | {"side": "left", "location": place | {"box_2d": [20, 400, 120, 600]}}
    wrong = seen | {"side": "left"}
    answer = dict.fromkeys(CHEST_FILM, ABSENT) | {
        "pulmonary-nodule": seen, "pleural-effusion": padding, "atelectasis": wrong,
    }  # fmt: skip
    with (
        answering_model(quick, json.dumps({"findings": answer})) as url,
        quick.another_worker(model_url=url, task_queue="film"),
    ):
        asyncio.run(start_on(quick, subject, "film"))
        until(lambda: quick.inbox_entries(uid_of(subject)) or None, "the entry")
    [report] = quick.reports(uid_of(subject))
    assert "long axis 15 mm at the detector (magnified)" in report["conclusion"]
    assert "Pleural effusion, because its box lies outside the image" in report["conclusion"]
    assert "Atelectasis, because its side contradicts its box" in report["conclusion"]
    findings = [quick.fhir.read(link["reference"]) for link in report["result"]]
    [nodule] = [f for f in findings if codes(f["valueCodeableConcept"]) == [DETECTED]]
    [region] = [e for e in nodule["extension"] if e["url"].endswith("/image-region")]
    parts = [(part["url"], next(v for k, v in part.items() if k != "url")) for part in region["extension"]]
    named = dict(parts)
    assert (named["columns"], named["rows"]) == (720, 400)
    corners = [float(value) for name, value in parts if name == "coordinate"]
    assert corners[:6] == [181.44, 139.52, 210.24, 139.52, 210.24, 168.32]
    pa = next(
        ds for ds in map(pydicom.dcmread, map(BytesIO, subject.files())) if ds.SOPInstanceUID == named["instanceUid"]
    )
    assert (pa.ViewPosition, pa.PhotometricInterpretation) == ("PA", "MONOCHROME1")
    page = page_of(quick, subject)
    assert '<rect x="181.44" y="139.52" width="28.8" height="28.8"' in page
    assert "15 mm at the detector" in page


def test_an_mr_of_several_sequences_is_asked_as_several_stacks(quick: System, tmp_path: Path) -> None:
    patient = f"MRI{next(NUMBERS)}"
    mr_study(tmp_path / "study", patient)
    subject = own_subject(tmp_path / "study", patient_file(tmp_path, patient))
    report = read(quick, subject)
    assert (codes(report["category"][0]), codes(report["code"])) == (["NMR"], ["24590-2"])
    request = asked(quick, subject)
    assert [(v.kind, v.heading) for v in request.volumes] == [("volume", f"STUDY 1, SERIES {n}") for n in (1, 2, 3)]
    assert [v.slices for v in request.volumes] == [28, 29, 28]
    assert "slice" in page_of(quick, subject)
