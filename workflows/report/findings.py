"""Reads an Observation of a result back: which question it answers, and how."""

from __future__ import annotations

from schemas.codes import PRESENCE, Canonical, Json
from schemas.inference import Presence
from schemas.terms import FINDING_LABEL


def label_of(canonical: Canonical, observation: Json) -> str | None:
    """The local label of the finding; None where the Observation carries none."""
    system = FINDING_LABEL.url(canonical)
    codes = [str(c["code"]) for c in observation["code"].get("coding", []) if c.get("system") == system]
    return codes[0] if codes else None


def presence_of(observation: Json) -> Presence | None:
    """The answer; None where it is none of ours."""
    codings = observation.get("valueCodeableConcept", {}).get("coding", [])
    said = {(c.get("system"), c.get("code")) for c in codings}
    known = [presence for presence, c in PRESENCE.items() if (c["system"], c["code"]) in said]
    return known[0] if known else None
