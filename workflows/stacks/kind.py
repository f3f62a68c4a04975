"""What a kind of study has to tell a run: how it is fetched, what is asked, what is believed of the answer, and how it is shown."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from schemas.imaging import SeriesSource, StackKind, StoredStack, StudyInventory
from schemas.inference import ModelAnswer, ModelRelease, ModelRequest
from schemas.report import ImageRegion, Priority, Reading
from schemas.timeline import Timeline
from workflows.documents.pdf import decode_pdf
from workflows.ports import ImageArchive, ObjectStore, PdfDecoder, TextInPixels
from workflows.reading.places import Places
from workflows.series.table import DEFAULT_TABLE, SeriesTable
from workflows.stacks.account import Fetched


@dataclass(frozen=True)
class Sources:
    """The ports that a kind reads from and writes to."""

    archive: ImageArchive
    store: ObjectStore
    text_in_pixels: TextInPixels
    decode_pdf: PdfDecoder = decode_pdf
    series_table: SeriesTable = DEFAULT_TABLE
    """How the series of a study are ranked."""


@dataclass
class ReadOnce:
    """The store while one answer is read: checks, search and every picture need the same containers, of hundreds of megabytes,
    and each read of one hashes it."""

    store: ObjectStore
    _held: dict[str, bytes] = field(default_factory=dict)

    def put(self, data: bytes | Iterable[bytes | memoryview]) -> str:
        return self.store.put(data)

    def get(self, digest: str) -> bytes:
        if digest not in self._held:
            self._held[digest] = self.store.get(digest)
        return self._held[digest]

    def path(self, digest: str) -> Path:
        return self.store.path(digest)


@dataclass(frozen=True)
class Shown:
    """What the model is shown: the stacks of the current study, and those of each prior, oldest first."""

    current: list[StoredStack]
    priors: list[list[StoredStack]]
    not_compared_reason: str | None = None

    @property
    def series(self) -> SeriesSource:
        """The series that names the study in the report."""
        return self.current[0].series


@dataclass(frozen=True)
class Picture:
    """One picture for the reviewer: PNG, no box in it. Pixel (0, 0) is `left`, `top` of the source; one of its pixels is `scale` source pixels."""

    png: bytes
    width: int
    height: int
    number: int
    count: int
    prior_png: bytes | None = None
    left: float = 0
    top: float = 0
    scale: float = 1
    caption: str | None = None
    """In place of the finding's name and the number in the stack."""


class Kind(Protocol):
    """One kind of study. Errors are `PermanentFailure`, `TransientFailure` as the ports raise them."""

    name: StackKind
    modalities: tuple[str, ...]
    """Those that are read as this kind, most wanted first."""
    most_priors: int
    """How many priors the model is shown at most."""

    def alike(self, modality: str) -> frozenset[str]:
        """Modalities of studies that can be compared with one of this modality."""
        ...

    def fetch(
        self,
        sources: Sources,
        study: StudyInventory,
        release: ModelRelease,
        like: StoredStack | None,
        region: str = "other",
    ) -> Fetched:
        """The stacks of a study, stored, and what became of its series; of a prior those that can be compared with `like`.
        `region`: what is asked about (`schemas.codes.body_region`).

        `NothingRead` where no image of the study can be read.
        """
        ...

    def ask(self, timeline: Timeline, shown: Shown, priority: Priority) -> ModelRequest:
        """The question to the model; `PermanentFailure` where the stacks cannot be asked about."""
        ...

    def read(
        self, sources: Sources, timeline: Timeline, shown: Shown, request: ModelRequest, answer: ModelAnswer
    ) -> Reading:
        """What the checks leave of the answer; the history is not in it yet."""
        ...

    def places(self, stacks: list[StoredStack], store: ObjectStore | None) -> Places:
        """For the checks; without the store nothing is told of what the pixels hold."""
        ...

    def picture(self, store: ObjectStore, shown: Shown, region: ImageRegion | None) -> Picture:
        """What shows this region; without a region what shows the study."""
        ...

    def unit(self) -> str:
        """What one item of a stack is called: slice, image, patch, page."""
        ...
