"""Our own definitions: every code that is written is defined, every definition says what it means, and equal bases give equal bytes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import orjson
import pytest
from fhir.resources.R4B import get_fhir_model_class
from hypothesis import given
from hypothesis import strategies as st

from schemas.code_system import System
from schemas.codes import LABELS, Canonical, Json
from schemas.conformance import Definition, definition_files, definitions
from schemas.conformance.image_region import COORDINATES, PARTS
from schemas.errors import PermanentFailure
from schemas.inference import Change, LikelihoodBand
from schemas.lifecycle import CloseReason
from schemas.report import ReviewOutcome
from schemas.sids import SIDS
from schemas.terms import (
    ABSTENTION_REASON,
    CHANGE_FROM_PRIOR,
    CHART_RELATION,
    DEADLINE_OUTCOME,
    FINDING_LABEL,
    LIFECYCLE,
    LIKELIHOOD_BAND,
    REJECT_REASON,
    RESULT_STATUS_REASON,
    REVIEW_OUTCOME,
    REVIEW_STATUS,
    SYSTEMS,
)
from services.inbox.schemas import ReasonCode
from tests.conftest import TEST_DATA
from tests.contract.written_bundles import CANONICAL, written_bundles

DEFINITIONS = definitions(CANONICAL)
BY_NAME = {system.name: system for system in SYSTEMS}
EXAMPLES = TEST_DATA.parent / "contract" / "examples"
ROOT = Path(__file__).resolve().parents[2]
SOURCES = [path for folder in ("workflows", "services") for path in (ROOT / folder).rglob("*.py")]
NOT_IN_A_CODING = {DEADLINE_OUTCOME.name}
"""Written as a plain code."""
IN_NO_EXAMPLE = {LIFECYCLE.name, ABSTENTION_REASON.name, CHART_RELATION.name}
"""Neither the contract's examples nor this version's Bundles show them."""


def everything_in(value: Any) -> Iterator[Json]:
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from everything_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from everything_in(inner)


def examples() -> list[Json]:
    """The contract's own resources, where they are at hand."""
    return [orjson.loads(path.read_bytes()) for path in sorted(EXAMPLES.glob("0[1-7]*.json"))]


def written() -> Iterator[tuple[str, Json]]:
    for bundle in [*written_bundles().values(), *examples()]:
        for found in everything_in(bundle):
            name = found.get("system") or found.get("url")
            if isinstance(name, str) and name.startswith(CANONICAL.base):
                yield name.removeprefix(f"{CANONICAL.base}/"), found


def test_every_code_that_any_flow_writes_is_defined_with_the_words_that_stand_beside_it() -> None:
    seen = 0
    for name, coding in written():
        if name.startswith("CodeSystem/"):
            system = BY_NAME[name.removeprefix("CodeSystem/")]
            assert coding["code"] in system
            assert coding.get("display") in (None, system.display(coding["code"]))
            seen += 1
    assert seen > 50


def test_every_identifier_system_and_extension_that_any_flow_writes_is_defined() -> None:
    urls = {definition.url for definition in DEFINITIONS}
    for name, _ in written():
        assert f"{CANONICAL.base}/{name}" in urls


def test_a_code_that_nobody_has_defined_is_not_written() -> None:
    with pytest.raises(PermanentFailure) as failure:
        REVIEW_STATUS.coding(CANONICAL, "forgotten")
    assert failure.value.code == "code-undefined"


@pytest.mark.parametrize("system", SYSTEMS, ids=lambda s: s.name)
def test_no_system_is_unused(system: System) -> None:
    used = {name.removeprefix("CodeSystem/") for name, _ in written()}
    if examples():
        assert system.name in used | NOT_IN_A_CODING | IN_NO_EXAMPLE
    assert system.elements


def test_no_local_code_is_written_past_the_terms() -> None:
    """Elsewhere a code system is named only through its System, which refuses codes that it does not define."""
    named = [str(path) for path in SOURCES if re.search(r"code_system\(\s*[\"']", path.read_text())]
    assert named == []


@pytest.mark.parametrize("system", SYSTEMS, ids=lambda s: s.name)
def test_every_code_is_explained_and_none_stands_twice(system: System) -> None:
    codes, displays = [t.code for t in system.terms], [t.display for t in system.terms]
    assert len(set(codes)) == len(codes)
    assert len(set(displays)) == len(displays)
    for term in system.terms:
        assert re.fullmatch(r"[A-Za-z0-9]+(-[A-Za-z0-9]+)*", term.code)
        assert term.definition.endswith((".", "?"))
        assert term.definition.lower().rstrip(".") != term.display.lower()


def codes(system: System) -> set[str]:
    return {term.code for term in system.terms}


def test_what_the_code_can_say_is_what_is_defined() -> None:
    assert codes(LIKELIHOOD_BAND) == set(get_args(LikelihoodBand))
    assert codes(CHANGE_FROM_PRIOR) == set(get_args(Change))
    assert codes(FINDING_LABEL) == {label.code for label in LABELS}
    assert codes(REJECT_REASON) == set(get_args(ReasonCode))
    assert codes(RESULT_STATUS_REASON) >= set(get_args(CloseReason))
    for outcomes in (REVIEW_OUTCOME, REVIEW_STATUS):
        assert codes(outcomes) >= set(get_args(ReviewOutcome))


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda d: d.file_name)
def test_every_definition_is_valid_r4_and_says_whose_it_is(definition: Definition) -> None:
    resource = definition.resource
    get_fhir_model_class(definition.type).model_validate(resource)
    assert resource["status"] == "active"
    assert definition.url.startswith(f"{CANONICAL.base}/")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", resource["date"])
    assert resource["publisher"]
    assert resource["description"]
    if definition.type != "NamingSystem":
        assert re.fullmatch(r"\d+\.\d+\.\d+", definition.version)
        assert resource["experimental"] is False
    if definition.type == "CodeSystem":
        assert (resource["content"], resource["caseSensitive"]) == ("complete", True)
        assert resource["count"] == len(resource["concept"])


def test_definitions_refer_only_to_what_is_defined_with_them() -> None:
    urls = {definition.url for definition in DEFINITIONS}
    for definition in DEFINITIONS:
        for text in re.findall(rf"{CANONICAL.base}/[A-Za-z]+/[a-z-]+", orjson.dumps(definition.resource).decode()):
            assert text in urls


def test_a_value_set_says_where_and_how_firmly_it_is_bound() -> None:
    for definition in DEFINITIONS:
        if definition.type == "ValueSet":
            assert re.search(
                r"Bound \((required|extensible|preferred)\) to [A-Z][A-Za-z]+", definition.resource["description"]
            )


def test_each_name_and_each_file_is_given_once() -> None:
    assert len({d.file_name for d in DEFINITIONS}) == len(DEFINITIONS) == len({d.url for d in DEFINITIONS})
    assert len({sid.name for sid in SIDS}) == len(SIDS)
    computable = [d.resource["name"] for d in DEFINITIONS if d.type != "NamingSystem"]
    assert len(set(computable)) == len(computable)


@given(st.from_regex(r"https://[a-z]{1,10}\.example\.net(/[a-z]{1,8}){0,2}", fullmatch=True))
def test_a_deployment_has_its_own_names_and_always_the_same_bytes(base: str) -> None:
    first = definition_files(Canonical(base))
    assert first == definition_files(Canonical(base))
    assert all(b"ai.example.org" not in content for content in first.values())
    assert all(definition.url.startswith(base + "/") for definition in definitions(Canonical(base)))


def test_a_region_is_written_as_its_definition_says() -> None:
    regions = [
        found["extension"]
        for name, found in written()
        if name == "StructureDefinition/image-region" and "extension" in found
    ]
    assert regions
    for region in regions:
        names = [part["url"] for part in region]
        assert names.count("coordinate") == COORDINATES
        for part in PARTS:
            values = [sub for sub in region if sub["url"] == part.name]
            assert part.min <= len(values) <= part.max
            assert all(part.value in value for value in values)
