"""The account of a study: each of its series, films and slides once, as read, left out or refused. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from schemas.errors import PermanentFailure
from schemas.imaging import SeriesInventory, StoredStack, StudyInventory
from schemas.outcomes import Outcome, SeriesOutcome


@dataclass(frozen=True)
class Fetched:
    """What a kind has fetched of a study: the stacks, the most telling first, and the rows of its account (not of every series yet)."""

    stacks: list[StoredStack]
    rows: list[SeriesOutcome]


class NothingRead(PermanentFailure):
    """No image of the study can be read. `rows`: what became of each series, as far as it was looked at."""

    def __init__(self, code: str, hint: str, rows: Sequence[SeriesOutcome] = ()) -> None:
        super().__init__(code, hint)
        self.rows = list(rows)

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.code, self.hint, self.rows)


def row(
    series: SeriesInventory, outcome: Outcome, code: str, reason: str, *, image: int | None = None
) -> SeriesOutcome:
    """The row of a series, or of one film of it (`image`: its Instance Number)."""
    return SeriesOutcome(
        series_instance_uid=series.series_instance_uid,
        number=series.series_number,
        image=image,
        description=series.description,
        modality=series.modality,
        instances=series.instance_count if image is None else 1,
        outcome=outcome,
        code=code,
        reason=reason,
    )


def read(series: SeriesInventory, reason: str, *, image: int | None = None) -> SeriesOutcome:
    return row(series, "read", "read", reason, image=image)


def left_out(series: SeriesInventory, code: str, reason: str, *, image: int | None = None) -> SeriesOutcome:
    return row(series, "left-out", code, reason, image=image)


def refused(series: SeriesInventory, failure: PermanentFailure, *, image: int | None = None) -> SeriesOutcome:
    return row(series, "refused", failure.code, failure.hint or failure.code, image=image)


def whole_account(
    study: StudyInventory, modalities: Iterable[str], rows: Sequence[SeriesOutcome]
) -> list[SeriesOutcome]:
    """Every series of the study in the order of its numbers. One without a row was not looked at: it holds no images, or what is not read beside
    those `modalities` that were."""
    told = {each.series_instance_uid for each in rows}
    wanted = set(modalities)
    rest = [_not_looked_at(series, wanted) for series in study.series if series.series_instance_uid not in told]
    return sorted([*rows, *rest], key=_order)


def _order(each: SeriesOutcome) -> tuple[bool, int, str, int]:
    return each.number is None, each.number or 0, each.series_instance_uid, each.image or 0


def _not_looked_at(series: SeriesInventory, wanted: set[str]) -> SeriesOutcome:
    if not series.instance_count:
        return left_out(series, "no-images", "the archive lists no images of it")
    if series.modality in wanted:
        return left_out(series, "not-needed", "other series of the study were read")
    return left_out(series, "other-kind", f"{series.modality or 'what it holds'} is not read in this study")
