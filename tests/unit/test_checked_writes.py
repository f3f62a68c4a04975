"""Nothing leaves the worker that is not valid FHIR R4, or that says more than an AI may."""

from __future__ import annotations

from typing import Any

import httpx
import orjson
import pytest

from schemas.errors import PermanentFailure
from services.clients.fhir_checked import CheckedFhirClient, check_resource
from tests.contract.written_bundles import written_bundles

BUNDLES = {name: bundle for name, bundle in written_bundles().items() if name != "seed"}


@pytest.mark.parametrize("name", sorted(BUNDLES))
def test_all_that_we_write_passes(name: str) -> None:
    for entry in BUNDLES[name]["entry"]:
        check_resource(orjson.loads(orjson.dumps(entry["resource"])))


def resource(kind: str) -> dict[str, Any]:
    found = next(e["resource"] for e in BUNDLES["result"]["entry"] if e["resource"]["resourceType"] == kind)
    copy: dict[str, Any] = orjson.loads(orjson.dumps(found))
    return copy


@pytest.mark.parametrize(
    ("kind", "change", "code", "said"),
    [
        ("Task", {"statuss": "requested"}, "fhir-invalid", "Task.statuss"),
        (
            "Observation",
            {"valueCodeableConcept": "Jane Doe has it"},
            "fhir-invalid",
            "Observation.valueCodeableConcept",
        ),
        ("DiagnosticReport", {"status": "final"}, "fhir-rule", "a human's word"),
        ("DiagnosticReport", {"meta": {"versionId": "1"}}, "fhir-rule", "not labelled as made by an AI"),
        ("Observation", {"meta": {"versionId": "1"}}, "fhir-rule", "not labelled as made by an AI"),
        ("Task", {"meta": {}}, "fhir-invalid", "Task.meta is empty"),
        ("Task", {"note": []}, "fhir-invalid", "Task.note is empty"),
        ("Task", {"owner": {"identifier": {}}}, "fhir-invalid", "Task.owner.identifier is empty"),
    ],
)
def test_what_may_not_be_written_is_named_without_its_value(
    kind: str, change: dict[str, Any], code: str, said: str
) -> None:
    with pytest.raises(PermanentFailure) as refused:
        check_resource(resource(kind) | change)
    assert refused.value.code == code
    assert said in refused.value.hint
    assert "Jane" not in str(refused.value)


def test_nothing_is_sent_of_a_transaction_that_holds_one_bad_resource() -> None:
    client = CheckedFhirClient("http://127.0.0.1:1/fhir")
    asked: list[httpx.Request] = []
    client._send = lambda *arguments, **more: asked.append(arguments)  # type: ignore[method-assign, assignment]
    bad = {"resourceType": "Bundle", "type": "transaction", "entry": [{"resource": resource("Task") | {"status": 7}}]}
    with pytest.raises(PermanentFailure, match="fhir-invalid"):
        client.transaction(orjson.dumps(bad))
    assert not asked
