"""The site's critical list (contract 3): which findings are worked on before their order asks for it.

The list is the site's, with a name and a version; the model answers questions and never says what is urgent.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from schemas.codes import LABEL_BY_CODE
from schemas.inference import LikelihoodBand
from schemas.model import Record

BANDS: tuple[LikelihoodBand, ...] = ("absent", "improbable", "possible", "probable", "definite")
"""In their order: each says that the finding is more likely there than the one before."""


class CriticalFinding(Record):
    """One line of the list: from this band on, a detected finding of this label raises its result to this priority."""

    finding: str
    """A code of the local system `finding-label`."""
    at_least: Literal["possible", "probable", "definite"]
    priority: Literal["urgent", "asap", "stat"]
    reason: str = Field(default="", max_length=400)
    """Why, for whoever reads the list; it is written nowhere else."""

    @model_validator(mode="after")
    def _is_asked_and_sure_enough(self) -> CriticalFinding:
        if self.finding not in LABEL_BY_CODE:
            raise ValueError("finding-unknown")
        if self.priority == "stat" and self.at_least == "possible":
            raise ValueError("stat-too-unsure")
        return self


class CriticalList(Record):
    """`name` is versioned (`radiology@v3`) and stands on every result that the list has raised."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}@v[0-9]{1,6}$")
    findings: list[CriticalFinding] = Field(max_length=200)

    @model_validator(mode="after")
    def _says_each_thing_once(self) -> CriticalList:
        places = [(line.finding, line.at_least) for line in self.findings]
        if len(set(places)) != len(places):
            raise ValueError("line-twice")
        return self


NO_CRITICAL_LIST = CriticalList(name="none@v1", findings=[])
"""Raises nothing."""
