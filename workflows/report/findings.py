"""Reads an Observation of a result back: which question it answers, and how."""

from __future__ import annotations

from schemas.codes import PRESENCE, Canonical, Json
from schemas.conformance.document_line import NAME as DOCUMENT_LINE
from schemas.inference import Presence
from schemas.terms import FINDING_LABEL


def label_of(canonical: Canonical, observation: Json) -> str | None:
    """The local label of the finding, or the line of the value; None where the Observation carries neither."""
    system = FINDING_LABEL.url(canonical)
    codes = [str(c["code"]) for c in observation["code"].get("coding", []) if c.get("system") == system]
    return codes[0] if codes else line_of(canonical, observation)


def line_of(canonical: Canonical, observation: Json) -> str | None:
    """The id of the document's line that a value stands in; None for what is no value of a document."""
    url = canonical.structure(DOCUMENT_LINE)
    lines = [e["extension"] for e in observation.get("extension", []) if e["url"] == url]
    found = [str(part["valueString"]) for parts in lines for part in parts if part["url"] == "line"]
    return found[-1] if found else None


def presence_of(observation: Json) -> Presence | None:
    """The answer; None where it is none of ours."""
    codings = observation.get("valueCodeableConcept", {}).get("coding", [])
    said = {(c.get("system"), c.get("code")) for c in codings}
    known = [presence for presence, c in PRESENCE.items() if (c["system"], c["code"]) in said]
    return known[0] if known else None
