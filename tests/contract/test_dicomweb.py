"""What we rely on of a DICOMweb archive. The same stories on every archive: the embedded one, and Orthanc in the real tier."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from pydicom import Dataset
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian, RLELossless, generate_uid

from schemas.errors import PermanentFailure, TransientFailure
from services.clients.dicomweb import DicomWebArchive
from tests.contract.archives import embedded
from tests.real import parts
from tests.unit.series_samples import file_of, instance, noise, stack
from workflows.series import choose_series, read_series


@pytest.fixture(scope="module", params=["embedded", pytest.param("orthanc", marks=pytest.mark.real)])
def base_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp(request.param)
    start = parts.orthanc if request.param == "orthanc" else lambda place: embedded(place / "files")
    with start(folder) as url:
        yield url


@pytest.fixture
def archive(base_url: str) -> Iterator[DicomWebArchive]:
    client = DicomWebArchive(base_url, page=7)
    yield client
    client.close()


def study_of(*series: list[Dataset], **tags: Any) -> tuple[str, list[Dataset]]:
    """The series as one study with UIDs of its own."""
    study, number = generate_uid(), itertools.count(1)
    for datasets in series:
        own = generate_uid()
        for dataset in datasets:
            dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID = study, own, generate_uid()
            dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
            dataset.InstanceNumber = next(number)
            for keyword, value in tags.items():
                setattr(dataset, keyword, value)
    return study, [dataset for datasets in series for dataset in datasets]


def patient() -> str:
    return uuid.uuid4().hex[:16]


def test_a_study_comes_back_as_it_was_stored(archive: DicomWebArchive) -> None:
    scout = [instance(noise(1, 8, 8)[0], (0, 0, 0), number=99, SeriesDescription="Topogram", SeriesNumber=1)]
    thorax = stack(noise(20), SeriesDescription="Thorax 5.0", SeriesNumber=2)
    who = patient()
    tags = {
        "PatientID": who,
        "AccessionNumber": "A-17",
        "StudyDate": "20240229",
        "StudyTime": "101112",
        "StudyDescription": "CT Thorax",
    }
    study, datasets = study_of(scout, thorax, **tags)
    files = {str(dataset.SOPInstanceUID): file_of(dataset) for dataset in datasets}
    assert archive.store(files.values()) == 21
    found = archive.find_study(study)
    assert (found.patient_id, found.accession_number, found.study_date) == (who, "A-17", "20240229")
    assert (found.description, (found.study_time or "")[:6]) == ("CT Thorax", "101112")
    assert set(found.sop_instance_uids) == set(files)
    listed = {(s.modality, s.series_number, s.description, s.instance_count) for s in found.series}
    assert listed == {("CT", 1, "Topogram", 1), ("CT", 2, "Thorax 5.0", 20)}
    chosen = choose_series(found)[0].series
    assert chosen.series_instance_uid == thorax[0].SeriesInstanceUID
    series, volume = read_series(list(archive.retrieve_series(study, chosen.series_instance_uid)))
    np.testing.assert_array_equal(volume.voxels, noise(20).astype(int) - 1024)
    assert [frame.sop_instance_uid for frame in series.frames] == [dataset.SOPInstanceUID for dataset in thorax]


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, RLELossless, ExplicitVRBigEndian])
def test_a_series_comes_in_the_syntax_it_is_stored_in(archive: DicomWebArchive, syntax: Any) -> None:
    study, datasets = study_of(stack(noise(3, 16, 16)), PatientID=patient())
    if syntax == RLELossless:
        for dataset in datasets:
            dataset.compress(RLELossless, generate_instance_uid=False)
    if syntax == ExplicitVRBigEndian:
        for dataset, pixels in zip(datasets, noise(3, 16, 16), strict=True):
            dataset.PixelData = pixels.byteswap().tobytes()
    archive.store(file_of(dataset, syntax) for dataset in datasets)
    received = list(archive.retrieve_series(study, datasets[0].SeriesInstanceUID))
    assert all(f"{syntax}".encode() in part[:1000] for part in received)
    np.testing.assert_array_equal(read_series(received)[1].voxels, noise(3, 16, 16).astype(int) - 1024)


def test_storing_again_changes_nothing(archive: DicomWebArchive) -> None:
    study, datasets = study_of(stack(noise(3)), PatientID=patient())
    files = [file_of(dataset) for dataset in datasets]
    assert archive.store(files) == archive.store(files) == 3
    assert len(archive.find_study(study).sop_instance_uids) == 3


def test_a_study_that_nobody_stored_is_not_found(archive: DicomWebArchive) -> None:
    with pytest.raises(PermanentFailure) as caught:
        archive.find_study("1.2.826.0.1.3680043.8.498.1")
    assert (caught.value.code, "1.2.826" in str(caught.value)) == ("study-not-found", False)


def test_a_series_that_is_not_of_the_study_is_not_retrieved(archive: DicomWebArchive) -> None:
    (mine, ours), (_, other) = (study_of(stack(noise(3)), PatientID=patient()) for _ in range(2))
    archive.store(file_of(dataset) for dataset in (*ours, *other))
    with pytest.raises(PermanentFailure) as caught:
        list(archive.retrieve_series(mine, other[0].SeriesInstanceUID))
    assert caught.value.code in ("series-not-found", "study-not-found")


@pytest.mark.parametrize("uid", ["", "1.2.3/..", "*", "1.2.3\\1.2.4", "1" * 65])
def test_what_is_no_uid_is_never_asked_for(archive: DicomWebArchive, uid: str) -> None:
    with pytest.raises(PermanentFailure, match="uid-invalid"):
        archive.find_study(uid)
    with pytest.raises(PermanentFailure, match="uid-invalid"):
        list(archive.retrieve_series("1.2.3", uid))


def test_what_is_no_dicom_is_not_stored(archive: DicomWebArchive) -> None:
    with pytest.raises(PermanentFailure, match="archive-store-refused"):
        archive.store([b"not DICOM at all" * 20])


@pytest.mark.parametrize(("charset", "name"), [("ISO_IR 192", "山田^太郎"), ("ISO_IR 100", "Müller^Jörg")])
def test_names_in_other_scripts_do_not_hide_a_study(archive: DicomWebArchive, charset: str, name: str) -> None:
    study, datasets = study_of(stack(noise(2)), SpecificCharacterSet=charset, PatientName=name, PatientID=patient())
    archive.store(file_of(dataset) for dataset in datasets)
    assert len(archive.find_study(study).sop_instance_uids) == 2


def test_real_series_come_back_bit_by_bit(archive: DicomWebArchive, test_data: Path) -> None:
    files = [path.read_bytes() for path in sorted((test_data / "ct" / "head_5mm").rglob("*")) if path.is_file()]
    archive.store(files)
    first = read_series(files)[0]
    received = list(archive.retrieve_series(first.study_instance_uid, first.series_instance_uid))
    assert sorted(map(len, received)) == sorted(map(len, files))
    np.testing.assert_array_equal(read_series(received)[1].voxels, read_series(files)[1].voxels)


def test_an_archive_that_is_away_is_tried_again_later() -> None:
    client = DicomWebArchive("http://127.0.0.1:9/dicom-web", timeout=2)
    with pytest.raises(TransientFailure) as caught:
        client.find_study("1.2.3")
    assert (caught.value.code, caught.value.__cause__) == ("archive-unavailable", None)
    client.close()


def test_an_answer_is_given_by_the_standard(base_url: str) -> None:
    """An unknown study is an empty list, or none, at the search; and no such resource at the retrieval."""
    search = httpx.get(f"{base_url}/studies", params={"StudyInstanceUID": "1.2.9.9"}, trust_env=False)
    assert search.status_code in (200, 204)
    assert (search.json() if search.content else []) == []
    assert httpx.get(f"{base_url}/studies/1.2.9.9", headers={"Accept": "*/*"}, trust_env=False).status_code == 404


def test_studies_are_found_by_their_date_and_by_no_other(archive: DicomWebArchive) -> None:
    """More than one page of them; a patient of ours in three days, one of whom came from abroad with a prior of long ago."""
    days = ["20260101", "20260102", "20260103", "20260104"]
    uids: dict[str, list[str]] = {}
    for day in days:
        for _ in range(5):
            study, datasets = study_of([instance(noise(1, 8, 8)[0], (0, 0, 0))], PatientID=patient(), StudyDate=day)
            archive.store([file_of(dataset) for dataset in datasets])
            uids.setdefault(day, []).append(study)
    found = archive.list_studies(date(2026, 1, 2), date(2026, 1, 3))
    assert [s.study_instance_uid for s in found] == sorted(uids["20260102"] + uids["20260103"])
    assert {(s.study_date, tuple(s.modalities)) for s in found} == {("20260102", ("CT",)), ("20260103", ("CT",))}
    assert all(s.patient_id for s in found)
    assert archive.list_studies(date(2025, 1, 1), date(2025, 1, 2)) == []
