"""The PACS over DICOMweb (PS3.18): searching studies, retrieving series, storing instances.

Archives differ in what they ignore: a filter or a page that a server does not know is dropped in silence, and it answers with other patients'
studies. So nothing that comes back is used before it was compared with what was asked. Errors name no UID and no address.
"""

from __future__ import annotations

import secrets
import ssl
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import date
from typing import Any, NoReturn

import httpx
import orjson

from schemas.errors import PermanentFailure, TransientFailure
from schemas.imaging import StudyInventory, StudyListing
from services.clients import qido
from services.clients.tokens import bearer
from services.multipart import MultipartError, MultipartReader, MultipartWriter
from services.operations.requests import MeasuredClient, kind_of_dicomweb
from workflows.series.attributes import identity_of
from workflows.series.frames import is_decodable
from workflows.series.header import JsonAttributes, SeriesHeader, header_of
from workflows.slides.slide import ArchivedSlide

PAGE = 1000
CHUNK = 1 << 20
BATCH_BYTES = 64 << 20
"""One STOW-RS request holds at most this much, or one instance."""
BATCH_INSTANCES = 500
FRAMES = 100
"""In one request: their numbers stand in its path."""
DICOM_JSON = "application/dicom+json"
AS_STORED = 'multipart/related; type="application/dicom"; transfer-syntax=*'
"""The instances in the syntax they are stored in (PS3.18 section 8.7.3.5.2): without it servers transcode, which costs five times as much."""

TRANSCODED = 'multipart/related; type="application/dicom"; transfer-syntax=1.2.840.10008.1.2.1'


class DicomWebArchive:
    """`workflows.ports.ImageArchive` over HTTP. It tries nothing again: that is the workflow's part."""

    def __init__(
        self,
        base_url: str,
        timeout: float = 60.0,
        token: str = "",
        page: int = PAGE,
        verify: ssl.SSLContext | bool = True,
    ) -> None:
        self._page = page
        # The environment's proxies are not used: an archive is asked directly.
        self._http = MeasuredClient(
            "dicomweb",
            kind_of_dicomweb,
            base_url=base_url.rstrip("/"),
            headers={"Accept-Encoding": "identity"},
            auth=bearer(token),
            verify=verify,
            timeout=httpx.Timeout(timeout, connect=5.0),
            trust_env=False,
        )

    def close(self) -> None:
        self._http.close()

    def find_study(self, study_instance_uid: str) -> StudyInventory:
        """The study with all its series and instances.

        `PermanentFailure`: `study-not-found`, `study-ambiguous` (the archive answers with more than was asked for), `study-mismatch` (with something
        else); `TransientFailure`: `archive-unavailable`, `archive-incomplete` (instances are still arriving, or are not all listed).
        """
        uid = qido.checked_uid(study_instance_uid)
        study = qido.only_study(self._all("/studies", {"StudyInstanceUID": uid}, qido.STUDY_FIELDS), uid)
        series = self._all(f"/studies/{uid}/series", {}, qido.SERIES_FIELDS)
        instances = self._all(f"/studies/{uid}/instances", {}, qido.INSTANCE_FIELDS)
        return qido.inventory(uid, study, series, instances)

    def list_studies(self, first: date, last: date) -> list[StudyListing]:
        """Every study whose StudyDate lies within these days, both included (range matching, PS3.4 C.2.2.2.5.1); each answer is checked."""
        days = f"{first:%Y%m%d}", f"{last:%Y%m%d}"
        rows = self._all("/studies", {"StudyDate": "-".join(days)}, qido.LISTING_FIELDS)
        return qido.listing(rows, *days)

    def retrieve_series(self, study_instance_uid: str, series_instance_uid: str) -> Iterator[bytes]:
        """The instances as DICOM files (PS3.10), each checked to be of the series, and all of those that the archive lists.

        Errors as `find_study`; the last of them, `archive-incomplete`, comes after the last instance.
        """
        study, series = qido.checked_uid(study_instance_uid), qido.checked_uid(series_instance_uid)
        path = f"/studies/{study}/series/{series}"
        rows = self._all(f"{path}/instances", {}, qido.INSTANCE_FIELDS)
        missing = qido.instance_uids(rows, study, series)
        if not missing:
            raise PermanentFailure("series-not-found", "the archive lists no instance of the series")
        patients = set()
        for part in self._decodable_parts(path):
            patient, *found, instance = identity_of(part)
            if found != [study, series]:
                raise PermanentFailure(
                    "study-mismatch", "the archive sent an instance of another series than was asked for"
                )
            if instance not in missing:
                raise TransientFailure(
                    "archive-incomplete", "the archive sent an instance twice, or one that it had not listed"
                )
            missing.discard(instance)
            patients.add(patient)
            if len(patients) > 1:
                raise PermanentFailure("study-mismatch", "the instances of one series name different patients")
            yield part
        if missing:
            raise TransientFailure("archive-incomplete", "the archive sent fewer instances than it lists")

    def series_header(self, study_instance_uid: str, series_instance_uid: str) -> SeriesHeader | None:
        """By the metadata of the series (PS3.18 section 10.4.1.1.2), some kilobytes an instance. None where the archive refuses to tell it."""
        study, series = qido.checked_uid(study_instance_uid), qido.checked_uid(series_instance_uid)
        try:
            rows = self._search(f"/studies/{study}/series/{series}/metadata", {})
        except PermanentFailure:
            return None
        qido.instance_uids(rows, study, series)
        return header_of([JsonAttributes(row) for row in rows]) if rows else None

    def open_slide(self, study_instance_uid: str, series_instance_uid: str) -> AbstractContextManager[ArchivedSlide]:
        """The whole slide of a series; its frames are fetched as they are read. Errors as `find_study`, and those of `require_scale`."""
        from services.clients.dicomweb_slide import open_slide  # wsidicom takes most of a second to load

        return open_slide(self, qido.checked_uid(study_instance_uid), qido.checked_uid(series_instance_uid))

    def instances(self, study_instance_uid: str, series_instance_uid: str, sop_class_uid: str) -> list[str]:
        """The SOP Instance UIDs of the series' instances of this SOP class."""
        study, series = qido.checked_uid(study_instance_uid), qido.checked_uid(series_instance_uid)
        rows = self._all(f"/studies/{study}/series/{series}/instances", {}, qido.INSTANCE_FIELDS)
        qido.instance_uids(rows, study, series)
        return sorted(qido.of_class(rows, sop_class_uid))

    def metadata(self, study_instance_uid: str, series_instance_uid: str, sop_instance_uid: str) -> qido.Row:
        """The attributes of an instance (PS3.18 annex F), checked to be of the instance."""
        study, series, instance = map(qido.checked_uid, (study_instance_uid, series_instance_uid, sop_instance_uid))
        rows = self._search(f"/studies/{study}/series/{series}/instances/{instance}/metadata", {})
        return qido.only_instance(rows, study, series, instance)

    def frames(
        self,
        study_instance_uid: str,
        series_instance_uid: str,
        sop_instance_uid: str,
        numbers: Sequence[int],
        media_type: str,
        transfer_syntax: str,
    ) -> Iterator[bytes]:
        """The pixel data of the frames (counted from 1) in this transfer syntax, one after the other.

        `PermanentFailure` (`pixels-codec`) where the archive does not give them in it; `TransientFailure` (`archive-incomplete`) if any is missing.
        """
        uids = map(qido.checked_uid, (study_instance_uid, series_instance_uid, sop_instance_uid))
        path = "/studies/{}/series/{}/instances/{}/frames/".format(*uids)
        accept = f'multipart/related; type="{media_type}"; transfer-syntax={transfer_syntax}'
        for start in range(0, len(numbers), FRAMES):
            wanted = numbers[start : start + FRAMES]
            parts = 0
            for parts, part in enumerate(self._parts(path + ",".join(map(str, wanted)), accept), start=1):
                if parts > len(wanted):
                    break
                yield part
            if parts != len(wanted):
                raise TransientFailure("archive-incomplete", "the archive sent other frames than were asked for")

    def store(self, parts: Iterable[bytes]) -> int:
        """Store DICOM files (STOW-RS, PS3.18 section 10.5); how many the archive has taken or had already.

        `PermanentFailure` (`archive-store-refused`) if it refuses one.
        """
        return sum(self._store(batch) for batch in _batches(parts))

    def _store(self, batch: list[bytes]) -> int:
        writer = MultipartWriter("application/dicom", f"longview-{secrets.token_hex(16)}")
        pieces = [piece for part in batch for piece in (writer.head(len(part)), part)] + [writer.tail]
        headers = {
            "Content-Type": writer.content_type,
            "Content-Length": str(sum(map(len, pieces))),
            "Accept": DICOM_JSON,
        }
        with _transport():
            response = self._http.post("/studies", content=iter(pieces), headers=headers)
        refused = PermanentFailure("archive-store-refused", "the archive does not take some of the instances")
        if response.status_code in (202, 400, 409):  # Orthanc: 400 for what is no DICOM
            raise refused
        if _checked(response).status_code != 200 or _stored(response) != len(batch):
            raise refused
        return len(batch)

    def _decodable_parts(self, path: str) -> Iterator[bytes]:
        """As they are stored; transcoded by the archive where that is a syntax that cannot be decoded here (JPEG lossless, most of all)."""
        parts = self._parts(path, AS_STORED)
        first = next(parts, None)
        if first is None:
            return
        if is_decodable(first):
            yield first
            yield from parts
            return
        parts.close()
        yield from self._parts(path, TRANSCODED)

    def _parts(self, path: str, accept: str) -> Generator[bytes, None, None]:
        with _transport(), self._http.stream("GET", path, headers={"Accept": accept}) as response:
            _checked(response)
            try:
                reader = MultipartReader(response.headers.get("content-type", ""))
                for chunk in response.iter_raw(CHUNK):
                    yield from reader.feed(chunk)
                reader.close()
            except MultipartError:
                raise TransientFailure(
                    "archive-incomplete", "the archive's answer is cut or not multipart/related"
                ) from None

    def _all(self, path: str, filters: dict[str, str], fields: tuple[str, ...]) -> list[qido.Row]:
        """All rows of a search, page by page. It ends with a page that brings nothing new: servers cap pages, or ignore `offset`."""
        rows: list[qido.Row] = []
        seen: set[bytes] = set()
        # one parameter for each field: of a list with commas Orthanc takes one
        query: dict[str, str | list[str]] = {**filters, "includefield": list(fields)}
        while True:
            page = self._search(path, {**query, "limit": str(self._page), "offset": str(len(rows))})
            fresh = {orjson.dumps(row): row for row in page}
            rows += [row for key, row in fresh.items() if key not in seen]
            if fresh.keys() <= seen or len(page) > self._page:
                return rows
            seen |= fresh.keys()

    def _search(self, path: str, query: dict[str, str | list[str]]) -> list[qido.Row]:
        with _transport():
            response = _checked(self._http.get(path, params=query, headers={"Accept": DICOM_JSON}))
        if response.status_code == 204 or not response.content:
            return []
        try:
            rows = orjson.loads(response.content)
        except orjson.JSONDecodeError:
            rows = None
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise PermanentFailure("archive-answer", "the archive's answer to a search is not DICOM JSON")
        return rows


@contextmanager
def _transport() -> Iterator[None]:
    """Failures of the transport, without their text and without their cause: both hold addresses."""
    try:
        yield
    except httpx.HTTPError:
        raise TransientFailure("archive-unavailable", "the DICOMweb archive does not answer") from None


def _checked(response: httpx.Response) -> httpx.Response:
    if not 200 <= response.status_code < 300:
        _refused(response.status_code)
    return response


def _refused(status: int) -> NoReturn:
    if status in (408, 429) or status >= 500:
        raise TransientFailure("archive-unavailable", f"the DICOMweb archive answered {status}")
    if status == 406:
        raise PermanentFailure(
            "pixels-codec",
            "the series is compressed in a way that neither the archive nor we can decode: store it uncompressed",
        )
    if status in (404, 410):
        raise PermanentFailure("study-not-found", "the archive does not know the study or series")
    raise PermanentFailure(
        "archive-refused", f"the DICOMweb archive refused the request with {status}: check its address and access"
    )


def _batches(parts: Iterable[bytes]) -> Iterator[list[bytes]]:
    batch: list[bytes] = []
    size = 0
    for part in parts:
        if batch and (size + len(part) > BATCH_BYTES or len(batch) >= BATCH_INSTANCES):
            yield batch
            batch, size = [], 0
        batch.append(part)
        size += len(part)
    if batch:
        yield batch


def _stored(response: httpx.Response) -> int:
    """How many instances the answer references as stored (PS3.18 table 10.5.3-2)."""
    try:
        answer: Any = orjson.loads(response.content)
        answer = answer[0] if isinstance(answer, list) else answer
        if answer.get("00081198", {}).get("Value"):
            return -1
        return len(answer["00081199"]["Value"])
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError, IndexError):
        return -1
