"""Printed text in pictures by RapidOCR: PP-OCR models that come with the package, on the CPU, offline."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import numpy.typing as npt

LEAST_SCORE = 0.6
"""Below it the engine guesses."""


class OcrTextInPixels:
    """`workflows.ports.TextInPixels`. The engine (30 MB of models) is loaded at the first picture and shared; one picture is read at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._engine: Any = None

    def lines(self, picture: npt.NDArray[np.uint8]) -> list[str]:
        with self._lock:
            if self._engine is None:
                self._engine = _open_engine()
            read = self._engine(np.stack([picture] * 3, axis=-1), use_cls=False)
        found = zip(read.txts or (), read.scores or (), strict=True)
        return [str(text) for text, score in found if score >= LEAST_SCORE]


def _open_engine() -> Any:
    from rapidocr import RapidOCR

    limits = {"Det.limit_type": "max", "Det.limit_side_len": 1280, "Global.max_side_len": 2000}
    return RapidOCR(params={"Global.log_level": "critical", **limits})
