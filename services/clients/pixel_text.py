"""Printed text in pictures by RapidOCR: PP-OCR models that come with the package, on the CPU, offline."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import numpy.typing as npt

from workflows.documents.printed import PrintedText

LEAST_SCORE = 0.6
"""Below it the engine guesses."""
STRIP_SIDE, PAGE_SIDE = 1280, 2400
"""Pixels to which the longer side of a slice's strip, or of a page, is reduced before text is looked for: print of a page is small."""
THREADS = 1
"""Of ONNX Runtime: by default one for each processor of the node, whatever the Pod may use, which wait for one another by spinning. A strip is too
small for them: two took twice the processor time of one for the same text, and no less time where the machine had other work."""


class OcrTextInPixels:
    """`workflows.ports.TextInPixels`. An engine (30 MB of models) is loaded at the first picture and shared; one picture is read at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._engines: dict[int, Any] = {}

    def lines(self, picture: npt.NDArray[np.uint8]) -> list[str]:
        read = self._read(picture, STRIP_SIDE)
        found = zip(read.txts or (), read.scores or (), strict=True)
        return [str(text) for text, score in found if score >= LEAST_SCORE]

    def printed(self, picture: npt.NDArray[np.uint8]) -> list[PrintedText]:
        read = self._read(picture, PAGE_SIDE)
        if read.boxes is None:
            return []
        found = zip(read.txts, read.boxes.tolist(), read.scores, strict=True)
        return [
            PrintedText(str(text), tuple((float(x), float(y)) for x, y in corners), float(score))  # type: ignore[arg-type]
            for text, corners, score in found
        ]

    def _read(self, picture: npt.NDArray[np.uint8], side: int) -> Any:
        with self._lock:
            engine = self._engines.get(side) or self._engines.setdefault(side, _open_engine(side))
            return engine(np.stack([picture] * 3, axis=-1), use_cls=False)


def _open_engine(side: int) -> Any:
    from rapidocr import RapidOCR

    limits = {"Det.limit_type": "max", "Det.limit_side_len": side, "Global.max_side_len": max(side, 2000)}
    threads = {f"EngineConfig.onnxruntime.{kind}_op_num_threads": THREADS for kind in ("intra", "inter")}
    return RapidOCR(params={"Global.log_level": "critical", **limits, **threads})
