"""DICOM files on this machine's disk as a volume."""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from schemas.errors import PermanentFailure
from schemas.imaging import SeriesVolume
from schemas.volume import Volume
from workflows.series import read_series
from workflows.series.elements import Buffer


def read_series_files(paths: Sequence[Path]) -> tuple[SeriesVolume, Volume]:
    """`workflows.series.read_series` of files, which are mapped and not read into memory: nobody may shorten them meanwhile."""
    with ExitStack() as files:
        return read_series([files.enter_context(_mapped(path)) for path in paths])


@contextmanager
def _mapped(path: Path) -> Iterator[Buffer]:
    with path.open("rb") as file:
        if path.stat().st_size == 0:
            raise PermanentFailure("dicom-unreadable", "an instance of the series is an empty file")
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    yield mapped
