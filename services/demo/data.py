"""Whose data lies in the state folder: a demonstration's own, which the next one clears away, or an operator's, which nobody touches."""

from __future__ import annotations

import shutil
from pathlib import Path

MARK = "demo-data"
DATA = ("temporal", "fhir", "archive", "store", "run", "longview.db", "longview.db-wal", "longview.db-shm")
"""What the embedded parts write."""


def start_afresh(state: Path) -> bool:
    """Before a demonstration starts its own parts: clear what the last demonstration left. False if the data is an operator's and was kept."""
    left = [state / name for name in DATA if (state / name).exists()]
    if left and not (state / MARK).exists():
        return False
    for path in left:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    (state / MARK).write_text("The data in this folder is a demonstration's: the next demonstration clears it.\n")
    return True


def adopt(state: Path) -> None:
    """`longview up`: from now on the data is the operator's."""
    (state / MARK).unlink(missing_ok=True)
