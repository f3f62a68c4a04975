"""What the activities need from the world. Each port has one real adapter in `services`; a fake passes the same contract suite.

All ports are synchronous: activities run in a thread pool. Errors are those of `schemas.errors`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from schemas.events import CloudEvent
from schemas.imaging import StudyInventory
from schemas.inbox import InboxResult, ReviewRecorded
from schemas.inference import ModelAnswer, ModelRelease, ModelRequest
from schemas.runs import ObservationAvailable, RunFailure, RunState

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

    def find(self, resource_type: str, system: str, value: str) -> list[Resource]:
        """Resources that carry the business identifier `system|value`; others that the server sends are dropped."""
        ...

    def find_tagged(self, resource_type: str, system: str, code: str) -> list[Resource]:
        """Resources whose `meta.tag` holds `system|code`."""
        ...

    def patient_record(self, patient: str) -> list[Resource]:
        """The Patient and all that belongs to it for a timeline; a resource of another patient is an error, never kept."""
        ...

    def transaction(self, bundle: bytes) -> list[str]:
        """Post a transaction Bundle as it is; the versioned reference of each entry in order.

        `StaleWrite` on 409 or 412 of the whole or of one entry, `TransientFailure` when trying again may help.
        """
        ...


class ImageArchive(Protocol):
    """The PACS by DICOMweb. Every answer is checked against the UIDs asked for."""

    def find_study(self, study_instance_uid: str) -> StudyInventory: ...
    def retrieve_series(self, study_instance_uid: str, series_instance_uid: str) -> Iterator[bytes]:
        """The series' instances as DICOM Part 10 files, in the syntax they are stored in."""
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


class PatientMemory(Protocol):
    """What the patient's entity workflow has recorded."""

    def observations(self, patient_key: str) -> list[ObservationAvailable]: ...


class RunRecords(Protocol):
    """The table of runs, and the outbox of events; each method is one database transaction and may be repeated."""

    def find_read(self, study_key: str, inventory_digest: str, release_id: str) -> str | None:
        """Result id of a run of this release that has already posted for exactly this instance set."""
        ...

    def open_run(self, run_id: str, study_key: str, thread_id: str, inventory_digest: str, release_id: str) -> None: ...
    def close_run(self, run_id: str, state: RunState, result_id: str | None) -> None: ...
    def fail_run(self, failure: RunFailure, event: CloudEvent) -> None: ...


class Inbox(Protocol):
    """The inbox's table; each method writes entry, change feed and outbox event in one database transaction."""

    def add(self, run_id: str, result: InboxResult, event: CloudEvent) -> None:
        """Idempotent by result id. Marks the entry of `result.supersedes` superseded."""
        ...

    def record_review(self, review: ReviewRecorded, event: CloudEvent) -> None:
        """Idempotent by act id."""
        ...
