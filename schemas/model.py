"""The base of every record we exchange: frozen, and closed to fields it does not know."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """Immutable; an unknown field is an error, so that a stray value never travels unseen."""

    model_config = ConfigDict(frozen=True, extra="forbid")
