"""What became of each series, film and slide of a study: part of every result, and of the notice about a study that could not be read."""

from __future__ import annotations

from typing import Literal

from schemas.model import Record

Outcome = Literal["read", "left-out", "refused"]


UnansweredCode = Literal[
    "stand-in", "series-refused", "kernel-sharp", "contrast-not-read", "region-not-read", "side-not-read"
]


class Unanswered(Record):
    """Questions to which "not detected" is no answer, because what would show it was not looked at."""

    code: UnansweredCode
    labels: list[str] = []
    """Codes of the findings; empty: all that are asked."""

    def concerns(self, label: str) -> bool:
        return not self.labels or label in self.labels


class SeriesOutcome(Record):
    """One row of the study's account. PHI: the description is the archive's text."""

    series_instance_uid: str
    number: int | None
    """Series Number."""
    image: int | None = None
    """Instance Number, where the row is of one film and not of the whole series."""
    description: str | None
    """None where there is none, or where it reads like an instruction."""
    modality: str
    instances: int
    outcome: Outcome
    code: str
    """Why, as a code: of a refusal the failure's."""
    reason: str
    """Why, in our own words, with the place where there is one (slice and instance number)."""

    def shown(self) -> dict[str, str | int | None]:
        """The row as the CLI and the JSON API give it."""
        row: dict[str, str | int | None] = {
            "number": self.number,
            "description": self.description,
            "modality": self.modality,
            "instances": self.instances,
            "outcome": self.outcome,
            "code": self.code,
            "reason": self.reason,
        }
        return row if self.image is None else row | {"image": self.image}
