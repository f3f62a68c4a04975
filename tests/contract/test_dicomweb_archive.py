"""The embedded archive by itself: what it refuses, what survives a kill, what it never logs. dicomweb-client is the second opinion."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from dicomweb_client import DICOMwebClient
from pydicom import Dataset, dcmread
from pydicom.filebase import DicomBytesIO
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from services.clients.dicomweb import DicomWebArchive
from services.multipart import MultipartReader, MultipartWriter
from tests.contract.archives import embedded
from tests.unit.series_samples import file_of, instance, noise, stack

SECRETS = ("SECRET-MRN", "Geheim", "1.2.840.99999", "ACC-4711")
STUDY, SERIES = "1.2.840.99999.1", "1.2.840.99999.1.1"


def scans(slices: int = 3, **tags: Any) -> list[Dataset]:
    datasets = stack(
        noise(slices, 16, 16), PatientID="SECRET-MRN", PatientName="Geheim^Anna", AccessionNumber="ACC-4711", StudyDate="20240229",
        StudyInstanceUID=STUDY, SeriesInstanceUID=SERIES, **tags,
    )  # fmt: skip
    for k, dataset in enumerate(datasets):
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"{SERIES}.{k + 1}"
    return datasets


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("archive") / "files"


@pytest.fixture(scope="module")
def base_url(folder: Path) -> Iterator[str]:
    with embedded(folder) as url:
        client = DicomWebArchive(url)
        client.store(file_of(dataset, ImplicitVRLittleEndian) for dataset in scans())
        client.close()
        yield url


def get(url: str, accept: str = "*/*", **params: Any) -> httpx.Response:
    return httpx.get(url, headers={"Accept": accept}, params=params or None, trust_env=False, verify=False)


def post(url: str, *parts: bytes) -> httpx.Response:
    writer = MultipartWriter("application/dicom", "edge")
    body = b"".join(writer.head(len(part)) + part for part in parts) + writer.tail
    return httpx.post(url, content=body, headers={"Content-Type": writer.content_type}, trust_env=False)


@pytest.mark.parametrize(
    "key", ["PatientComments", "00104000", "Nonsense", "0010002", "patientid", "AccessionNumber.x"]
)
@pytest.mark.parametrize("path", ["/studies", "/series", "/instances", f"/studies/{STUDY}/series"])
def test_a_key_that_is_not_supported_is_refused_and_never_ignored(base_url: str, path: str, key: str) -> None:
    refused = get(base_url + path, **{key: "SECRET-MRN"})
    assert refused.status_code == 400
    assert "SECRET-MRN" not in refused.text


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"PatientID": "SECRET-MRN"}, 1),
        ({"00100020": "SECRET-MRN"}, 1),
        ({"PatientID": "SECRET"}, 0),
        ({"PatientID": "SECRET*"}, 1),
        ({"PatientID": "secret-mrn"}, 0),
        ({"PatientName": "geheim^a*"}, 1),
        ({"AccessionNumber": "ACC-4711"}, 1),
        ({"AccessionNumber": "ACC?4711"}, 1),
        ({"AccessionNumber": "ACC-4711", "PatientID": "OTHER"}, 0),
        ({"StudyDate": "20240101-20241231"}, 1),
        ({"StudyDate": "-20240228"}, 0),
        ({"StudyDate": "20240301-"}, 0),
        ({"ModalitiesInStudy": "CT"}, 1),
        ({"ModalitiesInStudy": "MR"}, 0),
        ({"StudyInstanceUID": f"1.2.9,{STUDY}"}, 1),
        ({"StudyInstanceUID": STUDY, "offset": 1}, 0),
        ({"PatientID": "SECRET-MRN", "limit": 0}, 0),
        ({"PatientID": ""}, 1),
        ({"includefield": "all", "fuzzymatching": "true", "PatientName": "Geheim^Anna"}, 1),
    ],
)
def test_studies_are_found_by_what_is_in_them(base_url: str, query: dict[str, Any], found: int) -> None:
    assert len(get(base_url + "/studies", **query).json()) == found


def test_a_second_opinion_on_searching_and_metadata(base_url: str) -> None:
    client = DICOMwebClient(base_url)
    [study] = client.search_for_studies(search_filters={"PatientID": "SECRET-MRN"})
    assert study["00201208"]["Value"] == [3]
    assert [row["00080018"]["Value"][0] for row in client.search_for_instances(STUDY, SERIES)] == [
        f"{SERIES}.{n}" for n in (1, 2, 3)
    ]
    rows = client.retrieve_series_metadata(STUDY, SERIES)
    read = Dataset.from_json(rows[1], bulk_data_uri_handler=lambda *_: b"")
    assert list(read.ImagePositionPatient) == [-10.0, -20.0, 35.0]
    assert str(read.PatientName) == "Geheim^Anna"


def test_a_second_opinion_on_pixels(base_url: str) -> None:
    client = DICOMwebClient(base_url)
    series = list(client.iter_series(STUDY, SERIES, media_types=(("application/dicom", "*"),)))
    assert {str(each.file_meta.TransferSyntaxUID) for each in series} == {ImplicitVRLittleEndian}
    for each in series:
        k = int(each.InstanceNumber) - 1
        [frame] = client.retrieve_instance_frames(
            STUDY, SERIES, each.SOPInstanceUID, [1], media_types=("application/octet-stream",)
        )
        assert frame == noise(3, 16, 16)[k].tobytes() == each.PixelData
        bulk = f"{base_url}/studies/{STUDY}/series/{SERIES}/instances/{each.SOPInstanceUID}/bulkdata/7FE00010"
        assert client.retrieve_bulkdata(bulk, media_types=("application/octet-stream",)) == [frame]


def test_without_a_wish_the_syntax_is_explicit_little_endian(base_url: str) -> None:
    answer = get(f"{base_url}/studies/{STUDY}", accept='multipart/related; type="application/dicom"')
    reader = MultipartReader(answer.headers["content-type"])
    syntaxes = {str(dcmread(DicomBytesIO(part)).file_meta.TransferSyntaxUID) for part in reader.feed(answer.content)}
    assert syntaxes == {ExplicitVRLittleEndian}
    wish = 'multipart/related; type="application/dicom"; transfer-syntax=1.2.840.10008.1.2.4.80'
    assert get(f"{base_url}/studies/{STUDY}", accept=wish).status_code == 406


def test_compressed_frames_are_decoded_for_those_who_ask(base_url: str) -> None:
    [dataset] = stack(noise(1, 16, 16), StudyInstanceUID="1.2.840.99999.2")
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.840.99999.2.1.1"
    dataset.compress(RLELossless, generate_instance_uid=False)
    file = DicomBytesIO()
    dataset.save_as(file, enforce_file_format=True)
    assert post(f"{base_url}/studies", file.getvalue()).status_code == 200
    url = f"{base_url}/studies/1.2.840.99999.2/series/1.2.3.4/instances/1.2.840.99999.2.1.1/frames/1"
    reader = MultipartReader((answer := get(url, accept="application/octet-stream")).headers["content-type"])
    [frame] = reader.feed(answer.content)
    np.testing.assert_array_equal(np.frombuffer(frame, "<u2").reshape(16, 16), noise(1, 16, 16)[0])


@pytest.mark.parametrize("frames", ["2", "0", "1,2"])
def test_a_frame_that_is_not_there_is_not_found(base_url: str, frames: str) -> None:
    url = f"{base_url}/studies/{STUDY}/series/{SERIES}/instances/{SERIES}.1/frames/{frames}"
    assert get(url).status_code == 404


@pytest.mark.parametrize(
    "path", ["/studies/1.2.9", f"/studies/{STUDY}/series/1.2.9", "/studies/..%2F..%2Fetc", "/nothing"]
)
def test_what_is_not_there_is_not_found(base_url: str, path: str) -> None:
    assert get(base_url + path).status_code == 404


@pytest.mark.parametrize(
    "change",
    [
        {"SOPInstanceUID": "../../../escape"},
        {"StudyInstanceUID": "1.2.3/4"},
        {"SeriesInstanceUID": ""},
        {"PixelData": b"\0" * 10},
        {"InstanceNumber": "77", "SOPInstanceUID": f"{SERIES}.1"},
    ],
)
@pytest.mark.filterwarnings("ignore:.*value:UserWarning")
def test_what_must_not_be_stored_is_refused(base_url: str, folder: Path, change: dict[str, Any]) -> None:
    dataset = scans()[1]
    dataset.SOPInstanceUID = "1.2.840.99999.7"
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.840.99999.7"
    for keyword, value in change.items():
        setattr(dataset, keyword, value)
    before = sorted(folder.parent.rglob("*"))
    answer = post(f"{base_url}/studies", file_of(dataset))
    assert answer.status_code == 409
    assert answer.json()["00081198"]["Value"][0]["00081197"]["Value"][0] > 0
    assert sorted(folder.parent.rglob("*")) == before


def test_an_instance_of_another_study_than_the_address_names_is_refused(base_url: str) -> None:
    assert post(f"{base_url}/studies/1.2.9", file_of(scans()[0], ImplicitVRLittleEndian)).status_code == 409


def test_the_good_instances_of_a_request_are_kept(base_url: str) -> None:
    good = instance(noise()[0], (0, 0, 0), StudyInstanceUID="1.2.840.99999.3", SOPInstanceUID="1.2.840.99999.3.1")
    answer = post(f"{base_url}/studies", b"garbage" * 50, file_of(good))
    assert answer.status_code == 202
    assert [len(answer.json()[tag]["Value"]) for tag in ("00081199", "00081198")] == [1, 1]
    assert len(get(f"{base_url}/studies/1.2.840.99999.3/instances").json()) == 1


def test_a_body_that_is_cut_or_of_another_kind_is_refused(base_url: str) -> None:
    assert (
        httpx.post(
            f"{base_url}/studies", content=b"x", headers={"Content-Type": "application/dicom"}, trust_env=False
        ).status_code
        == 415
    )
    kind = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=b'}
    assert (
        httpx.post(f"{base_url}/studies", content=b"--b\r\n\r\nhalf", headers=kind, trust_env=False).status_code == 400
    )


def test_what_was_answered_survives_a_kill_and_half_a_file_does_not(tmp_path: Path) -> None:
    folder, log = tmp_path / "files", tmp_path / "log"
    with embedded(folder, log) as url:  # ends by SIGKILL
        assert post(f"{url}/studies", *(file_of(dataset) for dataset in scans(5))).status_code == 200
    (folder / STUDY / SERIES / ".0123456789abcdef.part").write_bytes(file_of(scans()[0])[:500])
    (folder / "SECRET-MRN Geheim.txt").write_text("no DICOM")
    (folder / "DICOMDIR").write_bytes(b"\0" * 200)
    with embedded(folder, log) as url:
        assert get(url.removesuffix("/dicom-web") + "/health").json() == {"status": "ok", "instances": "5"}
        assert post(f"{url}/studies", *(file_of(dataset) for dataset in scans(5))).status_code == 200
        assert len(get(f"{url}/studies/{STUDY}/instances").json()) == 5
    assert len(list(folder.rglob("*.dcm"))) == 5
    assert "files-left-out count=2" in log.read_text()


def test_the_log_names_nobody(base_url: str, folder: Path) -> None:
    get(f"{base_url}/studies", PatientID="SECRET-MRN", Nonsense="Geheim")
    get(f"{base_url}/studies/{STUDY}/metadata")
    post(f"{base_url}/studies", file_of(scans()[0])[:-20])
    told = folder.with_suffix(".log").read_text()
    assert not any(secret in told for secret in SECRETS)
    assert (folder / STUDY).stat().st_mode & 0o077 == 0


def test_a_request_larger_than_a_framework_would_take(base_url: str) -> None:
    """40 MB in one instance: Litestar's own limit is 10 MB."""
    big = instance(
        np.zeros((4096, 5120), np.uint16),
        (0, 0, 0),
        StudyInstanceUID="1.2.840.99999.5",
        SOPInstanceUID="1.2.840.99999.5.1",
    )
    assert post(f"{base_url}/studies", file_of(big)).status_code == 200
    assert (
        len(get(f"{base_url}/studies/1.2.840.99999.5", accept="multipart/related; transfer-syntax=*").content)
        > 40_000_000
    )
