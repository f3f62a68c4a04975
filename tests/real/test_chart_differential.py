"""Every clinical element that `fhir.resources` finds in real charts and in R4's official examples is in our history, or what holds it is counted."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from schemas.model import Record
from tests.chart_elements import clinical_elements
from workflows.timeline import build_timeline
from workflows.timeline.kinds import KINDS

pytestmark = pytest.mark.real
CACHE = Path(os.environ.get("LONGVIEW_CACHE", Path.home() / ".cache" / "longview"))
DATA = Path(os.environ.get("LONGVIEW_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
OF_PATIENT = ("AllergyIntolerance", "Immunization", "Device", "FamilyMemberHistory")


def examples() -> Iterator[dict[str, Any]]:
    for file in sorted((CACHE / "fhir-examples").glob("*.json")):
        read = json.loads(file.read_bytes())
        if isinstance(read, dict) and read.get("resourceType") in KINDS and "id" in read:
            key = "patient" if read["resourceType"] in OF_PATIENT else "subject"
            yield read | {key: {"reference": "Patient/p"}}


def synthea() -> Iterator[dict[str, Any]]:
    for file in sorted((DATA / "fhir" / "synthea").glob("*.json")):
        for entry in json.loads(file.read_bytes())["entry"]:
            read = entry["resource"]
            if read["resourceType"] in KINDS:
                key = "patient" if read["resourceType"] in OF_PATIENT else "subject"
                yield read | {key: {"reference": "Patient/p"}}


def texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Record):
        yield from texts(dict(value))
    elif isinstance(value, dict):
        for one in value.values():
            yield from texts(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from texts(one)


def plain(text: str) -> str:
    return "".join(text.casefold().split())


def missed(resource: dict[str, Any]) -> list[str] | None:
    """Paths of elements that are neither shown nor counted; None where the other reader refuses the resource."""
    timeline = build_timeline("Patient/p", [{"resourceType": "Patient", "id": "p"}, resource], study_instance_uid="1.2")
    if not timeline.entries:
        assert sum(timeline.left_out.values()) == 1
        return []
    shown = plain(" ".join([*texts(timeline.entries[0]), *texts(timeline.priors)]))
    try:
        elements = list(clinical_elements(resource))
    except ValidationError:
        return None
    marked = "charactersnotshown" in shown
    return [
        f"{resource['resourceType']}.{path}"
        for path, words in elements
        if not any(plain(word) in shown for word in words) and not (marked and path == "conclusion")
    ]


@pytest.mark.parametrize("source", [examples, synthea], ids=["examples", "synthea"])
def test_no_clinical_element_is_neither_shown_nor_counted(source: Any) -> None:
    lost: Counter[str] = Counter()
    read = refused = 0
    for resource in source():
        paths = missed(resource)
        read += 1
        refused += paths is None
        lost.update(paths or [])
    if not read:
        pytest.skip("no charts: run 'make real-parts', or set LONGVIEW_TEST_DATA to a folder with fhir/synthea")
    assert lost == Counter()
    assert refused <= read // 20, "the other reader reads nearly all of them"
