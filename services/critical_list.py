"""The site's critical list: from its file, or the one that comes with Longview."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from pydantic import ValidationError

from schemas.critical import CriticalList
from schemas.errors import PartUnavailable
from services.settings import Settings

_MENDS = {
    "finding-unknown": "names a finding that is never asked for: use a code of docs/triage.md",
    "stat-too-unsure": "raises to stat what is only possible: set at_least to probable or definite",
    "line-twice": "says the same finding and band twice: remove one of the lines",
}
_FORM = "has not the form of a critical list: see docs/triage.md for its form"


def critical_list(settings: Settings) -> CriticalList:
    """The list in force; `PartUnavailable` says where the file is wrong and how to mend it."""
    if not settings.critical_list_file:
        return default_list()
    try:
        return CriticalList.model_validate_json(Path(settings.critical_list_file).read_bytes())
    except OSError as error:
        raise _refused("cannot be read: check its name and who may read it") from error
    except ValidationError as error:
        raise _refused(_problem(error)) from error


def default_list() -> CriticalList:
    return CriticalList.model_validate_json(files("services").joinpath("critical_list.json").read_bytes())


def _problem(error: ValidationError) -> str:
    """The first thing wrong, by its place: nothing of the file is repeated."""
    first = error.errors(include_input=False, include_url=False)[0]
    mend = _MENDS.get(str(first.get("ctx", {}).get("error", "")), _FORM)
    line = next((part for part in first["loc"] if isinstance(part, int)), None)
    return mend if line is None else f"(line {line + 1} of its findings) {mend}"


def _refused(problem: str) -> PartUnavailable:
    return PartUnavailable("setting-critical-list-file", f"LONGVIEW_CRITICAL_LIST_FILE {problem}.")
