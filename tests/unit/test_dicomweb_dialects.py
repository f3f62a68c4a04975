"""How archives differ: pages that may not be large, ends of lists, lines that end with LF, one part without multipart, and wishes to wait."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from schemas.errors import PermanentFailure, TransientFailure
from services.clients.dicomweb import DicomWebArchive
from services.multipart import MultipartReader
from services.worker.interceptor import _application_error
from tests.unit.series_samples import file_of, noise, stack

STUDY, SERIES = "1.2.3", "1.2.3.4"
ROOT = "/dicom-web"
Answer = Callable[[list[dict[str, Any]], int, int], httpx.Response]
JSON = {"Content-Type": "application/dicom+json"}
HTML = {"Content-Type": "text/html; charset=utf-8"}


def row(**values: Any) -> dict[str, Any]:
    tags = {"study": "0020000D", "series": "0020000E", "sop": "00080018", "patient": "00100020", "count": "00201208"}
    return {tags[name]: {"vr": "UI", "Value": [value]} for name, value in values.items()}


FILES = []
for _n, _dataset in enumerate(stack(noise(2)), start=1):
    _dataset.SOPInstanceUID = f"1.2.3.4.{_n}"
    FILES.append(file_of(_dataset))


def page(rows: list[dict[str, Any]], limit: int, offset: int) -> httpx.Response:
    return httpx.Response(200, headers=JSON, content=json.dumps(rows[offset : offset + limit]).encode())


class Server:
    """One study of one series; `answer` says how a search is answered, `body` how the series is sent."""

    def __init__(self, answer: Answer = page, instances: int = 2, body: httpx.Response | None = None) -> None:
        self.limits: list[int] = []
        self._answer = answer
        self._body = body
        listed = [row(study=STUDY, series=SERIES, sop=f"1.2.3.4.{n}", patient="P7") for n in range(1, instances + 1)]
        self._rows = {
            f"{ROOT}/studies": [row(study=STUDY, patient="P7", count=instances)],
            f"{ROOT}/studies/{STUDY}/series": [row(study=STUDY, series=SERIES, patient="P7")],
            f"{ROOT}/studies/{STUDY}/instances": listed,
            f"{ROOT}/studies/{STUDY}/series/{SERIES}/instances": listed,
        }

    def __call__(self, request: httpx.Request) -> httpx.Response:
        rows = self._rows.get(request.url.path)
        if rows is None:
            assert self._body is not None
            return self._body
        limit, offset = (int(request.url.params[name]) for name in ("limit", "offset"))
        self.limits.append(limit)
        return self._answer(rows, limit, offset)


def archive_of(server: Server) -> DicomWebArchive:
    archive = DicomWebArchive(f"http://archive.test{ROOT}")
    archive._http = httpx.Client(base_url=f"http://archive.test{ROOT}", transport=httpx.MockTransport(server))  # type: ignore[assignment]
    return archive


def bounded(most: int, status: int) -> Answer:
    def answer(rows: list[dict[str, Any]], limit: int, offset: int) -> httpx.Response:
        return httpx.Response(status, content=b"limit") if limit > most else page(rows, limit, offset)

    return answer


# -- pages ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 413, 422])
@pytest.mark.parametrize(("most", "limits"), [(200, [1000, 200, 200]), (100, [1000, 200, 100, 100])])
def test_an_archive_that_refuses_large_pages_is_asked_for_smaller_ones_from_then_on(
    most: int, limits: list[int], status: int
) -> None:
    server = Server(bounded(most, status), instances=250)
    archive = archive_of(server)
    assert len(archive.find_study(STUDY).sop_instance_uids) == 250
    assert server.limits[: len(limits)] == limits
    assert server.limits.count(1000) == 1


def test_a_search_that_is_refused_whatever_its_pages_are_is_named_and_changes_no_page() -> None:
    server = Server(lambda rows, limit, offset: httpx.Response(400))
    archive = archive_of(server)
    for _ in range(2):
        with pytest.raises(PermanentFailure, match="archive-refused"):
            archive.find_study(STUDY)
    assert server.limits == [1000, 200, 100] * 2


@pytest.mark.parametrize(
    "end",
    [
        httpx.Response(204),
        httpx.Response(404, headers=JSON, content=b"[]"),
        httpx.Response(410),
        httpx.Response(200, headers=HTML, content=b"<html>nothing</html>"),
        httpx.Response(200, headers=JSON, content=b""),
    ],
    ids=["204", "404", "410", "a page for people", "nothing"],
)
def test_whatever_stands_behind_the_last_page_is_the_end(end: httpx.Response) -> None:
    def answer(rows: list[dict[str, Any]], limit: int, offset: int) -> httpx.Response:
        return end if offset >= len(rows) else page(rows, limit, offset)

    assert len(archive_of(Server(answer)).find_study(STUDY).sop_instance_uids) == 2


@pytest.mark.parametrize(
    ("first", "code"),
    [
        (httpx.Response(404), "study-not-found"),
        (httpx.Response(200, headers=HTML, content=b"<html>"), "archive-answer"),
    ],
)
def test_as_a_first_page_it_is_what_it_says(first: httpx.Response, code: str) -> None:
    with pytest.raises(PermanentFailure, match=code):
        archive_of(Server(lambda rows, limit, offset: first)).find_study(STUDY)


def test_a_list_that_ended_too_early_is_incomplete() -> None:
    """The end is believed, and then counted: the archive says how many instances the study has."""

    def answer(rows: list[dict[str, Any]], limit: int, offset: int) -> httpx.Response:
        return httpx.Response(404) if offset else page(rows, 1, 0)

    with pytest.raises(TransientFailure, match="archive-incomplete"):
        archive_of(Server(answer, instances=3)).find_study(STUDY)


# -- parts ------------------------------------------------------------------------------------------------------------


def multipart(newline: str = "\r\n", head: str = "Content-Type: application/dicom", first: str | None = None) -> bytes:
    lead = newline if first is None else first
    parts = [(lead if not n else newline).encode() + _head(newline, head) + part for n, part in enumerate(FILES)]
    return b"".join(parts) + f"{newline}--bnd--{newline}".encode()


def _head(newline: str, head: str) -> bytes:
    return f"--bnd{newline}{head}{newline if head else ''}{newline}".encode()


RELATED = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=bnd'}


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (RELATED, multipart("\n")),
        (RELATED, multipart("\n", first="")),
        (RELATED, multipart("\n", head="")),
        (RELATED, multipart("\n", head="Content-Type: application/dicom\nContent-Location: x")),
        (RELATED, b"preamble\n" + multipart("\n")),
        (RELATED, multipart()),
        (RELATED, multipart(head="")),
        ({**RELATED, "Content-Encoding": "gzip"}, gzip.compress(multipart())),
    ],
)
def test_a_series_is_read_however_its_lines_end(headers: dict[str, str], body: bytes) -> None:
    server = Server(body=httpx.Response(200, headers=headers, content=body))
    assert list(archive_of(server).retrieve_series(STUDY, SERIES)) == FILES


@pytest.mark.parametrize("step", [1, 2, 5, 17])
def test_lines_of_lf_are_found_however_the_body_is_cut(step: int) -> None:
    parts = [b"one\n--ed", b"", b"\r\n\r\n--edg\r\n", b"x\r", b"\r\n"]
    body = b"".join(b"\n--edge\nContent-Type: x\n\n" + part for part in parts) + b"\n--edge--"
    reader = MultipartReader("multipart/related; boundary=edge")
    assert [part for n in range(0, len(body), step) for part in reader.feed(body[n : n + step])] == parts
    reader.close()


@pytest.mark.parametrize("kind", ["application/dicom", "Application/DICOM; transfer-syntax=1.2.840.10008.1.2.1"])
def test_one_instance_may_come_without_multipart(kind: str) -> None:
    server = Server(instances=1, body=httpx.Response(200, headers={"Content-Type": kind}, content=FILES[0]))
    assert list(archive_of(server).retrieve_series(STUDY, SERIES)) == FILES[:1]


def test_one_part_of_a_series_of_two_is_incomplete() -> None:
    body = httpx.Response(200, headers={"Content-Type": "application/dicom"}, content=FILES[0])
    with pytest.raises(TransientFailure, match="archive-incomplete"):
        list(archive_of(Server(body=body)).retrieve_series(STUDY, SERIES))


def test_a_frame_may_come_without_multipart() -> None:
    body = httpx.Response(200, headers={"Content-Type": "image/jpeg"}, content=b"\xff\xd8")
    frames = archive_of(Server(body=body)).frames(
        STUDY, SERIES, "1.2.3.4.1", [1], "image/jpeg", "1.2.840.10008.1.2.4.50"
    )
    assert list(frames) == [b"\xff\xd8"]


# -- wishes to wait ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("told", "seconds", "waited"),
    [
        ("7", 7, 7),
        ("0", 0, 1),
        ("86400", 86400, 120),
        ("Fri, 31 Dec 1999 23:59:59 GMT", 0, 1),
        ("soon", None, None),
        ("", None, None),
    ],
)
def test_the_next_try_comes_when_the_archive_asks_for_it(
    status: int, told: str, seconds: float | None, waited: float | None
) -> None:
    server = Server(lambda rows, limit, offset: httpx.Response(status, headers={"Retry-After": told}))
    with pytest.raises(TransientFailure, match="archive-unavailable") as failed:
        archive_of(server).find_study(STUDY)
    assert failed.value.retry_after == seconds
    delay = _application_error(failed.value, 1).next_retry_delay
    assert (delay.total_seconds() if delay else None) == waited
