"""The JSON API against its own OpenAPI document: schemathesis sends what the document allows and what it forbids, and finds nothing."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import ignored_auth, positive_data_acceptance

from tests.inbox_house import House, open_house

pytestmark = pytest.mark.integration
USER = {"X-Longview-User": "Dr. Api"}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with open_house(tmp_path_factory.mktemp("inbox")) as house:
        house.reviewer.hurry = 0.001
        house.add()
        house.tell_unread("The study could not be read.")
        yield house


NOT_CHECKED = {
    "": [ignored_auth],  # this inbox has no login: any name is one, and an Authorization header says nothing
    "review": [
        ignored_auth,
        positive_data_acceptance,
    ],  # what a rejection or an amendment needs besides is told by a sentence, not by the schema
}
CALLS = [
    ("GET", "/api/results"),
    ("GET", "/api/results/{result_id}"),
    ("POST", "/api/results/{result_id}/opened"),
    ("POST", "/api/results/{result_id}/review"),
    ("POST", "/api/results/{result_id}/acknowledge"),
]


def _cases() -> Iterator[Any]:
    """Each call with what it takes and with what it does not; any text may be the id of a result, so reading one cannot be asked wrongly."""
    for (method, path), mode in itertools.product(CALLS, GenerationMode):
        if (method, path, mode) != ("GET", "/api/results/{result_id}", GenerationMode.NEGATIVE):
            yield pytest.param(method, path, mode, id=f"{method} {path} {mode.value}")


@pytest.mark.parametrize(("method", "path", "mode"), list(_cases()))
def test_every_answer_is_one_that_the_document_names(
    house: House, method: str, path: str, mode: GenerationMode
) -> None:
    """Its own status and shape, never 500, and no malformed request is taken. Half of them are about a result that is there."""
    document = schemathesis.openapi.from_url(f"{house.url}/api/openapi.json")
    known = next(iter(house.told))

    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(document[path][method].as_strategy(generation_mode=mode), st.booleans())
    def asked(case: Any, about_known: bool) -> None:
        if about_known and "result_id" in case.path_parameters:
            case.path_parameters["result_id"] = known
        case.call_and_validate(headers=USER, excluded_checks=NOT_CHECKED.get(path.rpartition("/")[2], NOT_CHECKED[""]))

    asked()


def test_the_document_names_every_call_and_nothing_of_a_patient(house: House) -> None:
    document = httpx.get(f"{house.url}/api/openapi.json").json()
    assert sorted(document["paths"]) == [
        "/api/results",
        "/api/results/{result_id}",
        "/api/results/{result_id}/acknowledge",
        "/api/results/{result_id}/opened",
        "/api/results/{result_id}/review",
    ]
    assert "Lindqvist" not in str(document)
    review = document["paths"]["/api/results/{result_id}/review"]["post"]
    body = review["requestBody"]["content"]["application/json"]["schema"]
    assert "reviewer" not in body["properties"], "who decides is never in the body"
    assert set(body["required"]) == {"act_id", "report_version", "outcome"}
