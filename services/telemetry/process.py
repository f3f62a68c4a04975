"""A process's log and traces, as its settings say."""

from __future__ import annotations

import importlib.metadata
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from schemas.telemetry import logs, traces
from services.settings import Settings

NOISY_LOGGERS = ("httpx", "httpcore", "urllib3", "dicomweb_client", "kafka", "pydicom", "uvicorn", "alembic")
"""Libraries that talk much and of whose lines little would be left."""


def configure_logging(style: str = "text") -> None:
    """One line an event on standard error, with fields of the list alone, whoever logs."""
    shape: Literal["text", "json"] = "json" if style == "json" else "text"
    logs.configure(shape, dict.fromkeys(NOISY_LOGGERS, logging.ERROR))
    warnings.filterwarnings("ignore", module="pydicom")  # it warns of values, often


@contextmanager
def traced(settings: Settings, process: str) -> Iterator[None]:
    """Inside the block spans of `longview-<process>` go to LONGVIEW_TRACES_URL; where none is set nothing is recorded, and nothing is imported."""
    if not settings.traces_url:
        yield
        return
    from schemas.telemetry import otlp

    sending = otlp.start(
        settings.traces_url,
        f"longview-{process}",
        importlib.metadata.version("longview"),
        ca_file=settings.ca_file,
        client_cert=settings.client_cert_file,
        client_key=settings.client_key_file,
    )
    traces.record_to(sending)
    try:
        yield
    finally:
        traces.record_to(None)
        sending.close()
