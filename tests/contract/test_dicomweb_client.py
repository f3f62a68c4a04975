"""What the client makes of an archive that misbehaves: another patient's images never come through, and no error tells whose they were."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date
from typing import Any

import pytest

from schemas.errors import LongviewError, PermanentFailure, TransientFailure
from services.clients.dicomweb import DicomWebArchive
from services.multipart import MultipartError, MultipartReader, MultipartWriter
from tests.contract.archives import Scripted, scripted
from tests.unit.series_samples import file_of, noise, stack

STUDY, SERIES = "1.2.3", "1.2.3.4"
STUDIES, SERIES_OF, INSTANCES_OF = "/studies", f"/studies/{STUDY}/series", f"/studies/{STUDY}/instances"
RETRIEVE = f"/studies/{STUDY}/series/{SERIES}"


@pytest.fixture
def server() -> Iterator[Scripted]:
    with scripted() as script:
        yield script


@pytest.fixture
def archive(server: Scripted) -> Iterator[DicomWebArchive]:
    client = DicomWebArchive(server.url, timeout=10)
    yield client
    client.close()


def row(**values: Any) -> dict[str, Any]:
    tags = {
        "study": "0020000D",
        "series": "0020000E",
        "sop": "00080018",
        "patient": "00100020",
        "modality": "00080060",
        "count": "00201208",
    }
    return {tags[name]: {"vr": "UI", "Value": [value]} for name, value in values.items()}


def study_row(**values: Any) -> dict[str, Any]:
    return row(**{"study": STUDY, "patient": "PATIENT-7", "count": 2, **values})


def instance_rows(**values: Any) -> list[dict[str, Any]]:
    return [
        row(**{"study": STUDY, "series": SERIES, "sop": f"1.2.3.4.{n}", "patient": "PATIENT-7", **values})
        for n in (1, 2)
    ]


def honest(server: Scripted) -> list[bytes]:
    """A server with one study of one series of two instances."""
    files = []
    for n, dataset in enumerate(stack(noise(2)), start=1):
        dataset.SOPInstanceUID = f"1.2.3.4.{n}"
        files.append(file_of(dataset))
    server.rows(STUDIES, [study_row()])
    server.rows(SERIES_OF, [row(study=STUDY, series=SERIES, patient="PATIENT-7", modality="CT")])
    server.rows(INSTANCES_OF, instance_rows())
    server.rows(f"{RETRIEVE}/instances", instance_rows())
    server.parts(RETRIEVE, files)
    return files


def failure(kind: type[LongviewError], act: Callable[[], Any]) -> str:
    with pytest.raises(kind) as caught:
        act()
    told = f"{caught.value} {caught.value.__cause__}"
    assert not any(identifier in told for identifier in ("PATIENT", STUDY, "127.0.0.1", "9.9.9"))
    return caught.value.code


def test_an_honest_server_is_believed(server: Scripted, archive: DicomWebArchive) -> None:
    files = honest(server)
    found = archive.find_study(STUDY)
    assert (found.patient_id, len(found.sop_instance_uids), found.series[0].instance_count) == ("PATIENT-7", 2, 2)
    assert list(archive.retrieve_series(STUDY, SERIES)) == files


@pytest.mark.parametrize(
    ("rows", "code"),
    [
        ([study_row(), study_row(study="9.9.9", patient="PATIENT-8")], "study-ambiguous"),
        ([study_row(study="9.9.9", patient="PATIENT-8"), study_row()], "study-ambiguous"),
        ([study_row(), study_row(patient="PATIENT-8")], "study-ambiguous"),
        ([study_row(study="9.9.9", patient="PATIENT-8")], "study-mismatch"),
        ([{}], "study-mismatch"),
        ([study_row(patient=" ")], "study-without-patient"),
        ([], "study-not-found"),
    ],
)
def test_a_server_that_ignores_the_filter_hands_out_nobody(
    server: Scripted, archive: DicomWebArchive, rows: Any, code: str
) -> None:
    honest(server)
    server.rows(STUDIES, rows)
    assert failure(PermanentFailure, lambda: archive.find_study(STUDY)) == code


@pytest.mark.parametrize("path", [SERIES_OF, INSTANCES_OF])
@pytest.mark.parametrize("strange", [{"study": "9.9.9"}, {"patient": "PATIENT-8"}])
def test_rows_of_another_study_or_patient_are_refused(
    server: Scripted, archive: DicomWebArchive, path: str, strange: Any
) -> None:
    honest(server)
    kept = instance_rows() if path == INSTANCES_OF else [row(study=STUDY, series=SERIES, modality="CT")]
    server.rows(path, [*kept, row(**{"study": STUDY, "series": SERIES, "sop": "1.2.3.4.9", **strange})])
    assert failure(PermanentFailure, lambda: archive.find_study(STUDY)) == "study-mismatch"


@pytest.mark.parametrize("change", [{"study": "9.9.9"}, {"series": "9.9.9"}])
def test_a_listing_of_another_series_is_refused(server: Scripted, archive: DicomWebArchive, change: Any) -> None:
    honest(server)
    server.rows(f"{RETRIEVE}/instances", instance_rows(**change))
    assert failure(PermanentFailure, lambda: list(archive.retrieve_series(STUDY, SERIES))) == "study-mismatch"


@pytest.mark.parametrize(
    "change", [{"StudyInstanceUID": "9.9.9"}, {"SeriesInstanceUID": "9.9.9"}, {"PatientID": "PATIENT-8"}]
)
def test_a_foreign_instance_among_the_slices_stops_the_retrieval(
    server: Scripted, archive: DicomWebArchive, change: Any
) -> None:
    files = honest(server)
    foreign = stack(noise(2))[1]
    foreign.SOPInstanceUID = "1.2.3.4.2"
    for keyword, value in change.items():
        setattr(foreign, keyword, value)
    server.parts(RETRIEVE, [files[0], file_of(foreign)])
    assert failure(PermanentFailure, lambda: list(archive.retrieve_series(STUDY, SERIES))) == "study-mismatch"


def test_fewer_or_other_instances_than_listed_are_incomplete(server: Scripted, archive: DicomWebArchive) -> None:
    files = honest(server)
    unlisted = stack(noise(2))[1]
    for sent in (files[:1], [files[0], files[0]], [*files, file_of(unlisted)]):
        honest(server)
        server.parts(RETRIEVE, sent)
        assert failure(TransientFailure, lambda: list(archive.retrieve_series(STUDY, SERIES))) == "archive-incomplete"


def test_an_answer_that_ends_early_is_incomplete(server: Scripted, archive: DicomWebArchive) -> None:
    files = honest(server)
    server.parts(RETRIEVE, files, end=b"")
    assert failure(TransientFailure, lambda: list(archive.retrieve_series(STUDY, SERIES))) == "archive-incomplete"


def test_a_study_whose_instances_are_not_all_listed_is_incomplete(server: Scripted, archive: DicomWebArchive) -> None:
    honest(server)
    server.rows(STUDIES, [study_row(count=3)])
    assert failure(TransientFailure, lambda: archive.find_study(STUDY)) == "archive-incomplete"


def test_a_server_that_ignores_paging_is_asked_no_more_than_twice(server: Scripted, archive: DicomWebArchive) -> None:
    honest(server)
    page = server.answers[INSTANCES_OF]()
    server.answers[INSTANCES_OF] = lambda: page
    assert len(archive.find_study(STUDY).sop_instance_uids) == 2
    assert sum(path.startswith(INSTANCES_OF) for path in server.asked) == 2


def test_a_server_that_caps_its_pages_is_asked_until_it_is_empty(server: Scripted, archive: DicomWebArchive) -> None:
    honest(server)
    pages = iter([[rows] for rows in instance_rows()])

    def answer() -> Any:
        server.rows(INSTANCES_OF, next(pages, []))
        told = server.answers[INSTANCES_OF]()
        server.answers[INSTANCES_OF] = answer
        return told

    server.answers[INSTANCES_OF] = answer
    assert len(archive.find_study(STUDY).sop_instance_uids) == 2


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        (404, PermanentFailure, "study-not-found"),
        (406, PermanentFailure, "pixels-codec"),
        (401, PermanentFailure, "archive-refused"),
        (400, PermanentFailure, "archive-refused"),
        (429, TransientFailure, "archive-unavailable"),
        (500, TransientFailure, "archive-unavailable"),
        (503, TransientFailure, "archive-unavailable"),
    ],
)
def test_what_a_status_means(server: Scripted, archive: DicomWebArchive, status: int, kind: Any, code: str) -> None:
    honest(server)
    server.status(STUDIES, status)
    assert failure(kind, lambda: archive.find_study(STUDY)) == code
    server.status(RETRIEVE, status)
    assert failure(kind, lambda: list(archive.retrieve_series(STUDY, SERIES))) == code


def test_what_we_cannot_decode_is_asked_for_again_as_explicit_little_endian(
    server: Scripted, archive: DicomWebArchive
) -> None:
    files = honest(server)
    server.parts(RETRIEVE, files)
    explicit = server.answers[RETRIEVE]
    server.parts(
        RETRIEVE,
        [part.replace(b"UI\x14\x001.2.840.10008.1.2.1\0", b"UI\x16\x001.2.840.10008.1.2.4.92") for part in files],
    )
    answers = iter([server.answers[RETRIEVE], explicit])
    server.answers[RETRIEVE] = lambda: next(answers)()
    assert list(archive.retrieve_series(STUDY, SERIES)) == files
    assert [
        "1.2.840.10008.1.2.1" in accept
        for path, accept in zip(server.asked, server.accepted, strict=True)
        if path == RETRIEVE
    ] == [False, True]


def test_an_answer_that_is_no_json_is_named(server: Scripted, archive: DicomWebArchive) -> None:
    server.answers[STUDIES] = lambda: (200, "text/html", b"<html>login of PATIENT-7</html>")
    assert failure(PermanentFailure, lambda: archive.find_study(STUDY)) == "archive-answer"


@pytest.mark.parametrize("step", [1, 2, 3, 7, 1000])
def test_parts_are_found_however_the_body_is_cut_into_chunks(step: int) -> None:
    writer, parts = (
        MultipartWriter("application/dicom", "edge"),
        [b"one\r\n--ed", b"", b"\r\n\r\n--edg\r\n", b"x" * 300],
    )
    body = b"".join(writer.head(len(part)) + part for part in parts) + writer.tail
    reader = MultipartReader(writer.content_type)
    chunks = [body[n : n + step] for n in range(0, len(body), step)]
    assert [part for chunk in chunks for part in reader.feed(chunk)] == parts
    reader.close()


def test_a_body_without_its_end_is_cut() -> None:
    reader = MultipartReader("multipart/related; boundary=b")
    assert list(reader.feed(b"--b\r\n\r\nwhole\r\n--b\r\n\r\nhalf")) == [b"whole"]
    with pytest.raises(MultipartError):
        reader.close()
    with pytest.raises(MultipartError):
        MultipartReader("application/json")


def listed(study: str, day: str, *modalities: str) -> dict[str, Any]:
    return row(study=study, patient="PATIENT-7") | {
        "00080020": {"vr": "DA", "Value": [day]},
        "00080061": {"vr": "CS", "Value": list(modalities)},
    }


def test_studies_of_other_days_than_asked_for_are_dropped(server: Scripted, archive: DicomWebArchive) -> None:
    """This one ignores the date, repeats a row, and holds a study whose date is none."""
    server.rows(
        STUDIES,
        [
            listed("1.2.3", "20261124", "SR", "CT"),
            listed("1.2.3", "20261124", "SR", "CT"),
            listed("1.2.4", "20250101", "CT"),
            listed("1.2.5", "yesterday", "CT"),
            row(study="1.2.6"),
        ],
    )
    [found] = archive.list_studies(date(2026, 11, 23), date(2026, 11, 24))
    assert (found.study_instance_uid, found.modalities, found.study_date) == ("1.2.3", ["CT", "SR"], "20261124")
    assert "StudyDate=20261123-20261124" in server.asked[0]
