"""An archive of made-up studies for what fetches them, without a server."""

from __future__ import annotations

from collections.abc import Iterator

from schemas.imaging import SeriesInventory, StudyInventory
from schemas.inference import ModelRelease
from workflows.series.attributes import DatasetAttributes, read_dataset
from workflows.series.header import SeriesHeader, header_of

RELEASE = ModelRelease(
    name="m", served_model_name="m", trained=False, model_number="1", manufacturer="x", architecture="a",
    weights_sha256="0", runtime="r", max_slices=85, model_card="none",
)  # fmt: skip


def inventory(*series: tuple[str, str | None, int], study: str = "1.2.3") -> StudyInventory:
    """(modality, description, instances) of series `1.2.1`, `1.2.2`, ..."""
    listed = [
        SeriesInventory(
            series_instance_uid=f"1.2.{n}", modality=modality, series_number=n, description=text, instance_count=count
        )
        for n, (modality, text, count) in enumerate(series, start=1)
    ]
    return StudyInventory(
        study_instance_uid=study, patient_id="P1", issuer_of_patient_id=None, accession_number=None, study_date=None, study_time=None,
        description=None, series=listed, sop_instance_uids=[],
    )  # fmt: skip


class Shelf:
    """An archive of made-up series; counts what is asked for."""

    def __init__(self, **series: list[bytes]) -> None:
        self._series = series
        self.asked: list[str] = []

    def retrieve_series(self, study_instance_uid: str, series_instance_uid: str) -> Iterator[bytes]:
        self.asked.append(series_instance_uid)
        yield from self._series[series_instance_uid]

    def series_header(self, study_instance_uid: str, series_instance_uid: str) -> SeriesHeader | None:
        return header_of([DatasetAttributes(read_dataset(part)) for part in self._series[series_instance_uid]])
