"""Every official example of FHIR R4 goes through the timeline: what it is a history of becomes an entry, and nothing stops the others."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import orjson
import pytest

from schemas.errors import PermanentFailure
from schemas.timeline import Timeline
from workflows.timeline import build_timeline, fit_history
from workflows.timeline.entries import KINDS
from workflows.timeline.versions import standing

pytestmark = pytest.mark.real
CACHE = Path(os.environ.get("LONGVIEW_CACHE", Path.home() / ".cache" / "longview"))
EXAMPLES = CACHE / "fhir-examples"
PATIENT = {"resourceType": "Patient", "id": "example"}


@pytest.fixture(scope="module")
def examples() -> list[dict[str, Any]]:
    files = sorted(EXAMPLES.glob("*.json"))
    if not files:
        pytest.skip(f"no official examples in {EXAMPLES}: run 'make real-parts'")
    read = [orjson.loads(file.read_bytes()) for file in files]
    return [one for one in read if isinstance(one, dict) and "resourceType" in one and "id" in one]


def of_patient(resource: dict[str, Any]) -> dict[str, Any]:
    """The same resource as one of the example patient's."""
    key = "patient" if resource["resourceType"] == "AllergyIntolerance" else "subject"
    return resource | {key: {"reference": "Patient/example"}}


def test_each_example_alone_becomes_an_entry_or_is_counted(examples: list[dict[str, Any]]) -> None:
    mine = [of_patient(one) for one in examples if one["resourceType"] in KINDS]
    assert len(mine) > 150
    for resource in mine:
        timeline = build_timeline("Patient/example", [PATIENT, resource], study_instance_uid="1.2.3")
        assert len(timeline.entries) + sum(timeline.left_out.values()) == 1
        assert "unreadable" not in timeline.left_out, f"{resource['resourceType']}/{resource['id']}"
        assert Timeline.model_validate_json(timeline.model_dump_json()) == timeline


def test_all_examples_together_are_one_history(examples: list[dict[str, Any]]) -> None:
    everything = [of_patient(one) for one in examples if one["resourceType"] in KINDS]
    others = [one for one in examples if one["resourceType"] not in KINDS and one["resourceType"] != "Patient"]
    timeline = build_timeline("Patient/example", [PATIENT, *everything, *others], study_instance_uid="1.2.3")
    assert timeline.left_out["other-type"] == len({(one["resourceType"], one["id"]) for one in others})
    assert "unreadable" not in timeline.left_out
    held, _ = standing("Patient/example", [PATIENT, *everything])
    assert len(timeline.entries) == len(held)
    excerpt = fit_history(timeline, 2_000)
    assert excerpt.tokens <= 2_000


def test_examples_of_other_patients_are_refused_by_name(examples: list[dict[str, Any]]) -> None:
    """As they stand they are of many patients, groups and devices."""
    for resource in (one for one in examples if one["resourceType"] in KINDS):
        try:
            build_timeline("Patient/example", [PATIENT, resource], study_instance_uid="1.2.3")
        except PermanentFailure as failure:
            assert failure.code == "fhir-wrong-patient"  # noqa: PT017
