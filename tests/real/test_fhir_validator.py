"""HL7's own validator over every kind of Bundle that we write, with current terminology, our own definitions and the profiles that bind us."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

import pytest

from schemas.codes import CLINAST, Json
from schemas.conformance import Definition, definitions
from tests.conftest import TEST_DATA
from tests.contract.written_bundles import CANONICAL, written_bundles
from tests.real.hl7_validator import Validator, validator

pytestmark = pytest.mark.real
PROFILES = TEST_DATA / "fhir" / "profiles"
"""Definitions of AI Transparency on FHIR and IHE BALP, which are never committed; without them R4 and our own definitions are checked."""
BUNDLES, DEFINITIONS = written_bundles(), definitions(CANONICAL)


@pytest.fixture(scope="module")
def hl7(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Validator]:
    with validator(tmp_path_factory.mktemp("validator"), CANONICAL, PROFILES) as running:
        yield running


@pytest.fixture
def bound(hl7: Validator) -> Validator:
    if not PROFILES.is_dir():
        pytest.skip("no profiles: set LONGVIEW_TEST_DATA to a folder with fhir/profiles")
    return hl7


def claimed(bundle: Json) -> Json:
    """The Bundle with our profiles named in its resources; what we really write names none, because strict servers refuse unknown ones."""
    body = deepcopy(bundle)
    for number, entry in enumerate(body["entry"]):
        entry.setdefault("fullUrl", f"https://hospital.example.org/fhir/x/{number}")
        profile = _profile(entry["resource"])
        if profile:
            entry["resource"]["meta"].setdefault("profile", []).append(CANONICAL.structure(profile))
    return body


KEPT = {
    ("DiagnosticReport", "ai-result"): "ai-result",
    ("Observation", "ai-finding"): "ai-finding",
    ("Task", "ai-review-task"): "ai-review-task",
    ("Communication", "notification"): "ai-notification",
    ("Provenance", "review-act"): "ai-act",
}
"""Which profile a resource is promised to keep: by its type and by an identifier system or tag of ours."""


def _profile(resource: Json) -> str | None:
    marks = [*resource.get("identifier", []), *resource.get("meta", {}).get("tag", [])]
    if resource["resourceType"] not in {kind for kind, _ in KEPT} or not isinstance(marks, list):
        return None
    if "valueQuantity" in resource and any(e["url"].endswith("/document-line") for e in resource.get("extension", [])):
        return "ai-value" if any(m.get("system", "").endswith("/ai-finding") for m in marks) else None
    found = {KEPT.get((resource["resourceType"], mark.get("system", "").rsplit("/", 1)[-1])) for mark in marks}
    return next((profile for profile in found if profile), None)


@pytest.mark.parametrize("name", BUNDLES)
def test_what_we_write_passes_hl7s_validator(hl7: Validator, name: str) -> None:
    messages = hl7.messages(claimed(BUNDLES[name]))
    assert [m for m in messages if m.severity in ("error", "fatal")] == []
    assert [m for m in messages if m.severity == "warning" and CANONICAL.base in m.text] == []


def test_every_profile_is_kept_by_something_that_we_write() -> None:
    kept = {_profile(entry["resource"]) for bundle in BUNDLES.values() for entry in bundle["entry"]}
    assert kept >= {"ai-result", "ai-finding", "ai-value", "ai-review-task", "ai-act"}


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda d: d.file_name)
def test_our_definitions_pass_hl7s_validator(hl7: Validator, definition: Definition) -> None:
    resource = dict(definition.resource)
    errors = hl7.errors({name: value for name, value in resource.items() if name != "context"})
    # With its context an extension makes the validator look for the package of R4 on the network; without it, sdf-5 is broken and all else checked.
    assert [e for e in errors if not ("context" in resource and "sdf-5" in e)] == []


def first(bundle: Json, kind: str) -> Json:
    found: Json = next(e["resource"] for e in bundle["entry"] if e["resource"]["resourceType"] == kind)
    return found


def region(bundle: Json) -> list[Json]:
    extensions = first(bundle, "Observation")["extension"]
    parts: list[Json] = next(e["extension"] for e in extensions if e["url"] == CANONICAL.structure("image-region"))
    return parts


def coding_of(bundle: Json, kind: str, *path: str | int) -> Json:
    value: Any = first(bundle, kind)
    for step in path:
        value = value[step]
    found: Json = value
    return found


Breaks = Callable[[Json], object]
BROKEN: dict[str, tuple[str, str, Breaks]] = {
    "an empty coding": (
        "result",
        "Array cannot be empty",
        lambda b: first(b, "DiagnosticReport")["category"][0].update(coding=[]),
    ),
    "a status that FHIR lacks": ("result", "bogus", lambda b: first(b, "DiagnosticReport").update(status="bogus")),
    "a final report": ("result", "longview-status", lambda b: first(b, "DiagnosticReport").update(status="final")),
    "no AI label": (
        "result",
        "longview-label",
        lambda b: first(b, "DiagnosticReport")["meta"].update(security=[CLINAST]),
    ),
    "no first words": (
        "result",
        "longview-words",
        lambda b: first(b, "DiagnosticReport").update(conclusion="No nodule."),
    ),
    "a finding without its answer": (
        "result",
        "Observation.value[x]: minimum",
        lambda b: first(b, "Observation").pop("valueCodeableConcept"),
    ),
    "an undefined review status": ("result", "review-status#no-such-code", lambda b: code(b, "Task", "businessStatus")),
    "an undefined task code": ("result", "task-code#no-such-code", lambda b: code(b, "Task", "code")),
    "an undefined task input": ("result", "task-input#no-such-code", lambda b: code(b, "Task", "input", 0, "type")),
    "an undefined likelihood": (
        "result",
        "likelihood-band#no-such-code",
        lambda b: code(b, "Observation", "component", 0, "valueCodeableConcept"),
    ),
    "an undefined change": (
        "result",
        "change-from-prior#no-such-code",
        lambda b: code(b, "Observation", "component", -1, "valueCodeableConcept"),
    ),
    "an undefined label": ("result", "finding-label#no-such-code", lambda b: code(b, "Observation", "code", coding=-1)),
    "an undefined reason": (
        "reject",
        "status-reason#no-such-code",
        lambda b: code(b, "DiagnosticReport", "extension", -1, "valueCodeableConcept"),
    ),
    "an undefined reject reason": ("reject", "reject-reason#no-such-code", lambda b: code(b, "Task", "statusReason")),
    "an undefined outcome": ("accept", "review-outcome#no-such-code", lambda b: code(b, "Provenance", "reason", 0)),
    "a region without its last number": ("result", "minimum required = 10", lambda b: region(b).pop()),
    "a region that is not closed": (
        "result",
        "image-region-closed",
        lambda b: region(b)[-1].update(valueDecimal=187.0),
    ),
    "a region wider than its frame": (
        "result",
        "image-region-columns",
        lambda b: region(b)[-6].update(valueDecimal=513.0),
    ),
    "a region above its frame": ("result", "image-region-rows", lambda b: region(b)[-3].update(valueDecimal=-1.0)),
    "a region's part misspelt": (
        "result",
        "does not match any known slice",
        lambda b: region(b)[0].update(url="studyUID"),
    ),
    "a region's part of another type": (
        "result",
        "allows for the type id but found type string",
        lambda b: region(b)[0].update(valueString=region(b)[0].pop("valueId")),
    ),
    "a value without its lines": (
        "document",
        "Observation.extension:documentLine",
        lambda b: first(b, "Observation")["extension"].pop(1),
    ),
    "a value without its place": (
        "document",
        "Observation.extension:imageRegion",
        lambda b: first(b, "Observation")["extension"].pop(0),
    ),
    "a value in a unit of another system": (
        "document",
        "unitsofmeasure",
        lambda b: first(b, "Observation")["valueQuantity"].update(system="http://x.org/units"),
    ),
    "a line without its text": (
        "document",
        "Extension.extension:text",
        lambda b: first(b, "Observation")["extension"][1]["extension"].pop(2),
    ),
    "a region without its instance": ("result", "Extension.extension:instanceUid", lambda b: region(b).pop(3)),
}


def code(bundle: Json, kind: str, *path: str | int, coding: int = 0) -> None:
    coding_of(bundle, kind, *path)["coding"][coding].update(code="no-such-code")
    coding_of(bundle, kind, *path)["coding"][coding].pop("display", None)


def test_a_region_on_a_frame_that_is_not_square_is_measured_by_its_own_sides(hl7: Validator) -> None:
    """Columns reach to 329 and rows to 214 in the sample."""

    def broken(columns: int, rows: int) -> str:
        bundle = claimed(BUNDLES["result"])
        for part in region(bundle):
            part.update(
                {"columns": {"valuePositiveInt": columns}, "rows": {"valuePositiveInt": rows}}.get(part["url"], {})
            )
        return " ".join(hl7.errors(bundle))

    assert broken(329, 214) == ""
    assert "image-region-columns" in broken(328, 512)
    assert "image-region-rows" in broken(512, 213)


@pytest.mark.parametrize("name", BROKEN)
def test_the_validator_would_have_noticed(hl7: Validator, name: str) -> None:
    """The control: each break of R4, of our codes or of our extension is an error."""
    bundle_name, said, break_it = BROKEN[name]
    bundle = claimed(BUNDLES[bundle_name])
    break_it(bundle)
    assert [error for error in hl7.errors(bundle) if said in error] != []


@pytest.mark.parametrize(
    ("name", "break_it"),
    [
        ("an extension nobody defines", lambda b: first(b, "Observation")["extension"][0].update(url="http://x.org/y")),
        (
            "an extension of ours misspelt",
            lambda b: first(b, "Observation")["extension"][0].update(url=CANONICAL.structure("image-regoin")),
        ),
        ("what only AI Transparency forbids", lambda b: first(b, "Device")["type"].update(text="an AI")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_it_would_have_noticed_what_only_the_profiles_say(bound: Validator, name: str, break_it: Breaks) -> None:
    bundle = claimed(BUNDLES["result"])
    break_it(bundle)
    assert bound.errors(bundle) != []


@pytest.mark.parametrize("number", ["01", "02", "02b", "02c", "03", "04", "05", "06", "07"])
def test_the_contracts_own_examples_pass(bound: Validator, number: str) -> None:
    """What the code does not write yet (amendment, audit events) has its codes defined as well."""
    found = list((TEST_DATA.parent / "contract" / "examples").glob(f"{number}_*.json"))
    if not found:
        pytest.skip("no examples of the contract beside the test data")
    messages = bound.messages(json.loads(found[0].read_bytes()))
    assert [m for m in messages if m.severity in ("error", "fatal")] == []
    assert [m for m in messages if "unknown" in m.text and CANONICAL.base in m.text] == []
