"""What a FHIR server let see of a patient's chart beyond the resources that it gave: parts that are missing, records that no entry is made of.

It travels among the resources as one FHIR `Parameters`, so that whoever hands the chart on cannot lose it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from workflows.timeline.fields import Resource

NAME = "chart-search"
_MISSING, _COUNTED = "incomplete", "not-gathered"

OUTCOME_ERROR = "server-error"
OUTCOME_INCOMPLETE = "server-says-incomplete"
TOTAL_NOT_REACHED = "total-not-reached"
SUBSETTED = "resources-cut"
WITHHELD = "server-withholds"
NOT_ALLOWED = "not-allowed"
NOT_SEARCHED = "not-searched"
NOT_FILTERED = "not-filtered"
_SENTENCES = {
    OUTCOME_ERROR: "the FHIR server reported an error while it searched",
    OUTCOME_INCOMPLETE: "the FHIR server says that results are missing",
    TOTAL_NOT_REACHED: "the FHIR server gave fewer than it counted",
    SUBSETTED: "the FHIR server gave resources with elements left out",
    WITHHELD: "the FHIR server keeps results from us",
    NOT_ALLOWED: "the FHIR server does not allow us to search",
    NOT_SEARCHED: "the FHIR server refuses to search by patient",
    NOT_FILTERED: "the FHIR server answered with other patients' resources, of which none was kept",
}


def search_report(missing: Iterable[str], counted: Mapping[str, int]) -> list[Resource]:
    """The `Parameters` of a search; none where nothing is missing and nothing else is there."""
    parameters: list[dict[str, Any]] = [{"name": _MISSING, "valueString": code} for code in missing]
    parameters += [{"name": f"{_COUNTED}:{kind}", "valueInteger": n} for kind, n in counted.items() if n]
    return [{"resourceType": "Parameters", "id": NAME, "parameter": parameters}] if parameters else []


def is_search_report(resource: Resource) -> bool:
    return resource["resourceType"] == "Parameters" and resource.get("id") == NAME


def of_search(resources: Iterable[Resource]) -> tuple[list[str], Counter[str]]:
    """What is missing, as codes, and how many resources of each other type there are."""
    missing: dict[str, None] = {}
    counted: Counter[str] = Counter()
    for resource in resources:
        if is_search_report(resource):
            for parameter in resource["parameter"]:
                name, _, kind = parameter["name"].partition(":")
                if name == _COUNTED:
                    counted[kind] = max(counted[kind], parameter["valueInteger"])
                else:
                    missing[parameter["valueString"]] = None
    return sorted(missing), counted


def incomplete_sentence(missing: Iterable[str]) -> str | None:
    """That the history is not all of the chart, for the result; None where nothing is known to be missing. Holds no word of the chart."""
    parts: dict[str, list[str]] = {}
    for code in missing:
        reason, _, kind = code.partition(":")
        parts.setdefault(_SENTENCES.get(reason, reason), []).append(kind)
    if not parts:
        return None
    told = "; ".join(f"{why} ({', '.join(sorted(filter(None, kinds)))})" for why, kinds in parts.items())
    return f"The history is incomplete: {told}. What is missing may change the reading."
