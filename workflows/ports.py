"""What the activities need from the world. Each port has one real adapter in `services`; a fake passes the same contract suite.

All ports are synchronous: activities run in a thread pool. Errors are those of `schemas.errors`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import date, datetime
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from schemas.events import CloudEvent
from schemas.facts import ObservationAvailable, StudyAvailable
from schemas.imaging import StudyInventory, StudyListing
from schemas.inbox import EntryAcknowledged, EntryClosed, EntryEscalated, InboxResult, NoticeClosed, ReviewRecorded
from schemas.inference import ModelAnswer, ModelRelease, ModelRequest, Presence
from schemas.oversight import ClosePass, EntrySeen, OpenPass, ReconcileItem, RunSeen, ShadowKept, ShownReading
from schemas.report import Priority
from schemas.runs import RunFailure, RunState, SkipRun
from schemas.timeline import PatientBanner
from workflows.documents.pdf import PdfPage
from workflows.documents.printed import PrintedText
from workflows.series.header import SeriesHeader
from workflows.shadow.drift import DriftFinding, Rate
from workflows.slides.slide import ArchivedSlide

Resource = dict[str, Any]
"""A FHIR R4 resource as plain JSON: never round-tripped through a model, which would lose decimal precision."""


class ObjectStore(Protocol):
    """Content-addressed store: the address of an object is the SHA-256 (hex) of its bytes. Writing twice is writing once."""

    def put(self, data: bytes | Iterable[bytes | memoryview]) -> str: ...
    def get(self, digest: str) -> bytes:
        """The bytes; `PermanentFailure` (`object-missing`, `object-corrupt`) if they are gone or do not match their address."""
        ...

    def path(self, digest: str) -> Path:
        """The local file of an object, for mapping and for `file://` to a model server on the same disk."""
        ...


class FhirServer(Protocol):
    """The hospital's FHIR R4 server. Every answer is checked against what was asked; zero or many where one is meant is `PermanentFailure`."""

    def read(self, reference: str) -> Resource:
        """One resource by `Type/id` or `Type/id/_history/v`."""
        ...

    def read_exact(self, reference: str) -> Resource:
        """The same with every decimal digit of the source kept: for reading only."""
        ...

    def find(self, resource_type: str, system: str, value: str) -> list[Resource]:
        """Resources that carry the business identifier `system|value`; others that the server sends are dropped."""
        ...

    def find_tagged(self, resource_type: str, system: str, code: str) -> list[Resource]:
        """Resources whose `meta.tag` holds `system|code`."""
        ...

    def find_by_value(self, resource_type: str, value: str) -> list[Resource]:
        """Resources that carry a business identifier of this value, whatever its system."""
        ...

    def find_issued(self, resource_type: str, system: str, since: date) -> list[Resource]:
        """Resources with a business identifier of this system that were issued on or after that day."""
        ...

    def patient_record(self, patient: str) -> list[Resource]:
        """The Patient and all that belongs to it for a timeline; a resource of another patient is an error, never kept.

        What is known to be missing, or was only counted, is told by a `Parameters` among them (`workflows.timeline.completeness`).
        """
        ...

    def transaction(self, bundle: bytes) -> list[str]:
        """Post a transaction Bundle as it is; the versioned reference of each entry in order.

        `StaleWrite` on 409 or 412 of the whole or of one entry, `TransientFailure` when trying again may help.
        """
        ...


class ImageArchive(Protocol):
    """The PACS by DICOMweb. Every answer is checked against the UIDs asked for."""

    def find_study(self, study_instance_uid: str) -> StudyInventory: ...
    def list_studies(self, first: date, last: date) -> list[StudyListing]:
        """Every study whose StudyDate lies within these days, both included."""
        ...

    def retrieve_series(self, study_instance_uid: str, series_instance_uid: str) -> Iterator[bytes]:
        """The series' instances as DICOM Part 10 files, in the syntax they are stored in."""
        ...

    def series_header(self, study_instance_uid: str, series_instance_uid: str) -> SeriesHeader | None:
        """What the series' headers say, without pixels; None where the archive does not tell."""
        ...

    def open_slide(self, study_instance_uid: str, series_instance_uid: str) -> AbstractContextManager[ArchivedSlide]:
        """The whole slide of a series (SM), read region by region, never as a whole."""
        ...


class Model(Protocol):
    """The served model."""

    def release(self) -> ModelRelease: ...
    def ask(self, request: ModelRequest) -> ModelAnswer: ...


class TextInPixels(Protocol):
    """Reads printed text in a picture."""

    def lines(self, picture: npt.NDArray[np.uint8]) -> list[str]:
        """The lines of text in a grey picture [H, W], unordered; empty where there is none."""
        ...

    def printed(self, picture: npt.NDArray[np.uint8]) -> list[PrintedText]:
        """The texts of a page [H, W] with their corners in its pixels and how sure the reader is (0 to 1), unordered."""
        ...


class PdfDecoder(Protocol):
    """Decodes PDFs from outside: bounded in time and memory, whatever the bytes do."""

    def __call__(self, pdf: bytes) -> list[PdfPage]:
        """Every page. `PermanentFailure` with the codes of `decode_pdf`; `document-too-slow`."""
        ...


class PatientMemory(Protocol):
    """What the patient's entity workflow has recorded."""

    def observations(self, patient_key: str) -> list[ObservationAvailable]: ...


class RunRecords(Protocol):
    """The table of runs, and the outbox of events; each method is one database transaction and may be repeated."""

    def find_read(self, study_key: str, inventory_digest: str, release_id: str) -> str | None:
        """Result id of a run that has posted for exactly this instance set: of this release, or of any that a human has reviewed."""
        ...

    def has_posted(self, study_key: str) -> bool:
        """Whether any run of the study has posted a result."""
        ...

    def open_run(self, run_id: str, study_key: str, thread_id: str, inventory_digest: str, release_id: str) -> None: ...
    def close_run(self, run_id: str, state: RunState, result_id: str | None) -> None: ...
    def skip_run(self, skipped: SkipRun) -> None:
        """A run that read nothing or posted nothing, and why."""
        ...

    def fail_run(self, failure: RunFailure, event: CloudEvent) -> None: ...


class Inbox(Protocol):
    """The inbox's table; each method writes entry, change feed and outbox event in one database transaction."""

    def add(self, run_id: str, result: InboxResult, event: CloudEvent) -> None:
        """Idempotent by result id. Marks the entry of `result.supersedes` superseded."""
        ...

    def reindex(self, thread_id: str, patient: PatientBanner) -> None:
        """Every entry of the thread names this patient from now on."""
        ...

    def record_review(self, review: ReviewRecorded, event: CloudEvent) -> None:
        """Idempotent by act id."""
        ...

    def find(self, result_id: str) -> InboxResult | None:
        """The result of an entry as it was put in; its priority as it is now."""
        ...

    def add_addendum(self, result: InboxResult, event: CloudEvent) -> None:
        """Idempotent by result id. The entry belongs to the run of the result that it adds to (`result.adds_to`)."""
        ...

    def close(self, closed: EntryClosed, event: CloudEvent) -> None:
        """Idempotent by act id. An entry that is not there is not missed: nobody can see it."""
        ...

    def record_escalation(self, escalated: EntryEscalated, event: CloudEvent | None) -> None:
        """The entry's level never falls."""
        ...

    def record_acknowledgement(self, acknowledged: EntryAcknowledged, event: CloudEvent | None) -> None:
        """The first acknowledgement stands."""
        ...

    def add_notice(self, run_id: str, result: InboxResult) -> None:
        """A study that could not be read. Idempotent by result id."""
        ...

    def open_notices(self, thread_id: str) -> list[InboxResult]:
        """Notices of the study that nobody has answered."""
        ...

    def close_notice(self, closed: NoticeClosed) -> None:
        """Once; one that is closed stays as it is."""
        ...

    def raise_priority(self, result_id: str, priority: Priority) -> None:
        """Of an entry that nobody has decided about; never lowered."""
        ...


class StudyAnnouncer(Protocol):
    """Tells a study's workflow that the study is complete, as the gateway does: signal-with-start, deduplicated by the event's id."""

    def announce(self, event: StudyAvailable) -> None: ...
    def unattended(self, study_keys: Sequence[str]) -> set[str]:
        """Those of the studies whose workflow is not open."""
        ...


class BuildRecords(Protocol):
    """How results were built, for whoever has to show them again or to ask another model the same; may be repeated."""

    def keep_build(self, shown: ShownReading) -> None: ...
    def keep_amended(self, result_id: str, answers: Mapping[str, Presence]) -> None:
        """What a human has answered, by label, in place of the AI; all other answers of the result were accepted."""
        ...


class ReconcileRecords(Protocol):
    """What passes of reconciliation compare and what they found; each method is one database transaction and may be repeated."""

    def newest_runs(self, study_keys: Sequence[str]) -> dict[str, RunSeen]: ...
    def entries(self, since: datetime, result_ids: Sequence[str]) -> list[EntrySeen]:
        """Entries issued since then, and those of the results named."""
        ...

    def waiting_studies(self, study_keys: Sequence[str]) -> set[str]:
        """Those of the studies with an entry that waits for a human."""
        ...

    def announced_before(self, study_key: str, fact: str, pass_id: str) -> int:
        """In how many other passes the study was announced in this state."""
        ...

    def build_of(self, result_id: str) -> str | None:
        """Address of the result's `KeptBuild`, if it was built here."""
        ...

    def run_of(self, run_id: str, study_key: str, thread_id: str, inventory_digest: str, release_id: str) -> str:
        """The run that built a result which never got to the inbox; one of the name `run_id` is opened where none is known."""
        ...

    def supersede_entry(self, result_id: str, newer: str | None) -> bool:
        """Mark an entry that nobody has decided about as superseded; False where it is not there, or a decision stands."""
        ...

    def decide_entry(self, decided: ReviewRecorded) -> bool:
        """Record a decision that FHIR has had all along, without an event: it was told when it was taken. False where the entry is not open."""
        ...

    def open_pass(self, opened: OpenPass) -> None: ...
    def record_item(self, item: ReconcileItem) -> None: ...
    def close_pass(self, closed: ClosePass) -> dict[str, int]:
        """How many items the pass has in each state."""
        ...


class ShadowRecords(Protocol):
    """Shadow readings; each method is one database transaction and may be repeated."""

    def was_read(self, result_id: str, release_id: str) -> bool: ...
    def keep_shadow(self, kept: ShadowKept) -> None: ...


class DriftRecords(Protocol):
    """Rates of shown results over time, and the looks that were taken at them."""

    def shown_releases(self, day: date) -> list[str]: ...
    def rates(self, release_id: str, day: date) -> tuple[dict[str, Rate], dict[str, Rate]]:
        """Rates of the recent window and of the reference window before it, by metric."""
        ...

    def keep_look(self, day: date, release_id: str, findings: list[DriftFinding]) -> None:
        """The first look of a day and release counts."""
        ...

    def alarms(self, day: date) -> list[dict[str, Any]]: ...
