"""What an archive's HTTP answer means: rows, the end of a list, or a named failure. No error tells what the answer says: it may hold names."""

from __future__ import annotations

from typing import NoReturn

import httpx
import orjson

from schemas.errors import PermanentFailure, TransientFailure
from services.clients import qido
from services.clients.retry_after import retry_after
from services.multipart import is_media

GONE = frozenset({404, 410})


def checked(response: httpx.Response) -> httpx.Response:
    """The response, if its status is one of success; else the failure that its status means."""
    if not 200 <= response.status_code < 300:
        _refused(response)
    return response


def rows_of(response: httpx.Response) -> list[qido.Row]:
    """The rows of a search; `PermanentFailure` (`archive-answer`) if it is not DICOM JSON, and those of `checked`."""
    if checked(response).status_code == 204 or not response.content:
        return []
    try:
        rows = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        rows = None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise PermanentFailure("archive-answer", "the archive's answer to a search is not DICOM JSON")
    return rows


def is_past_the_end(response: httpx.Response) -> bool:
    """How servers answer to a page behind the last one of a search that had rows: nothing, not found, or a page for people."""
    if response.status_code == 204 or response.status_code in GONE:
        return True
    return response.status_code == 200 and is_media(response.headers.get("content-type", ""), "text/html")


def _refused(response: httpx.Response) -> NoReturn:
    status = response.status_code
    if status in (408, 429) or status >= 500:
        after = retry_after(response.headers)
        asks = "" if after is None else f" and asks to wait {after:.0f} s"
        raise TransientFailure("archive-unavailable", f"the DICOMweb archive answered {status}{asks}", after)
    if status == 406:
        raise PermanentFailure(
            "pixels-codec",
            "the series is compressed in a way that neither the archive nor we can decode: store it uncompressed",
        )
    if status in GONE:
        raise PermanentFailure("study-not-found", "the archive does not know the study or series")
    raise PermanentFailure(
        "archive-refused", f"the DICOMweb archive refused the request with {status}: check its address and access"
    )
