"""`longview fhir publish`: our definitions reach a server once and never over other content. The same stories on every server."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner, Result

from schemas.codes import Canonical, Json
from schemas.conformance import definitions
from schemas.errors import PermanentFailure
from schemas.identifiers import canonical_json
from services.cli import main
from services.clients.fhir import FhirClient
from services.publish_definitions import publish
from tests.contract.written_bundles import CANONICAL, context, seed
from workflows.report import build_result

NAMED = "CodeSystem-review-status"


@pytest.fixture
def server(fhir_base_url: str) -> Iterator[FhirClient]:
    client = FhirClient(fhir_base_url)
    yield client
    client.close()


@pytest.fixture
def canonical() -> Canonical:
    """A deployment of its own, so that each story begins on a server that knows nothing of it."""
    return Canonical(f"https://{uuid.uuid4().hex}.example.org/fhir")


def held(server: FhirClient, canonical: Canonical) -> list[Json]:
    return [found for one in definitions(canonical) for found in server.find_definitions(one.type, one.url)]


def states(server: Any, canonical: Canonical, *, dry_run: bool = False) -> set[str]:
    return {each.state for each in publish(server, canonical, dry_run=dry_run)}


def one_of(canonical: Canonical, name: str = NAMED) -> Json:
    return next(one.resource for one in definitions(canonical) if one.file_name == f"{name}.json")


def put_there(fhir_base_url: str, resource: Json) -> None:
    """As an operator loads it, without our client."""
    answer = httpx.post(f"{fhir_base_url}/{resource['resourceType']}", json=resource, trust_env=False, timeout=30.0)
    assert answer.status_code == 201


def test_a_rehearsal_writes_nothing_and_publishing_twice_makes_nothing_new(
    server: FhirClient, canonical: Canonical
) -> None:
    assert states(server, canonical, dry_run=True) == {"new"}
    assert held(server, canonical) == []
    assert states(server, canonical) == {"new"}
    first = held(server, canonical)
    assert states(server, canonical) == {"there"}
    assert held(server, canonical) == first
    assert len(first) == len(definitions(canonical))


def test_what_an_operator_has_loaded_from_the_files_is_not_doubled(
    fhir_base_url: str, server: FhirClient, canonical: Canonical
) -> None:
    put_there(fhir_base_url, one_of(canonical))
    put_there(fhir_base_url, one_of(canonical, "NamingSystem-ai-result"))
    there = [each for each in publish(server, canonical) if each.state == "there"]
    assert {each.definition.file_name for each in there} == {f"{NAMED}.json", "NamingSystem-ai-result.json"}
    assert len(held(server, canonical)) == len(definitions(canonical))


@pytest.mark.parametrize("name", [NAMED, "NamingSystem-ai-result", "StructureDefinition-image-region"])
def test_other_content_of_a_version_is_named_and_nothing_is_written(
    fhir_base_url: str, server: FhirClient, canonical: Canonical, name: str
) -> None:
    put_there(fhir_base_url, one_of(canonical, name) | {"description": "as somebody has edited it"})
    found = publish(server, canonical)
    [differing] = [each for each in found if each.state == "differs"]
    assert differing.definition.file_name == f"{name}.json"
    assert name in differing.mend
    assert len(held(server, canonical)) == 1


def test_an_older_version_stays_beside_the_new_one(
    fhir_base_url: str, server: FhirClient, canonical: Canonical
) -> None:
    older = one_of(canonical) | {"version": "0.9.0", "count": 1, "concept": [{"code": "unread", "display": "Unread"}]}
    put_there(fhir_base_url, older)
    assert states(server, canonical) == {"new"}
    versions = {r["version"] for r in server.find_definitions("CodeSystem", canonical.code_system("review-status"))}
    assert versions == {"0.9.0", one_of(canonical)["version"]}


def test_publishers_at_the_same_time_make_one_of_each(fhir_base_url: str, canonical: Canonical) -> None:
    def publish_once(_: int) -> None:
        client = FhirClient(fhir_base_url)
        try:
            publish(client, canonical)
        finally:
            client.close()

    with ThreadPoolExecutor(3) as together:
        list(together.map(publish_once, range(3)))
    client = FhirClient(fhir_base_url)
    assert len(held(client, canonical)) == len(definitions(canonical))
    client.close()


def test_a_server_that_holds_our_definitions_takes_what_they_define(server: FhirClient) -> None:
    publish(server, CANONICAL)
    server.transaction(canonical_json(seed()))
    result = context(server.patient_record("Patient/pat-1"), manifest=uuid.uuid4().bytes)
    server.transaction(canonical_json(build_result(result)))
    posted = server.find("DiagnosticReport", CANONICAL.sid("ai-result"), result.result_id)
    assert [report["status"] for report in posted] == ["partial"]


class Picky:
    """A server that takes no two definitions in one transaction, and none of one kind at all."""

    def __init__(self, server: FhirClient, refused: str = "") -> None:
        self._server, self._refused = server, refused
        self.find_definitions, self.read = server.find_definitions, server.read

    def transaction(self, bundle: bytes) -> list[str]:
        entries = json.loads(bundle)["entry"]
        if len(entries) > 1 or entries[0]["resource"]["resourceType"] == self._refused:
            raise PermanentFailure("fhir-refused", "refused")
        return self._server.transaction(bundle)


def test_where_a_server_refuses_the_whole_they_go_one_by_one(server: FhirClient, canonical: Canonical) -> None:
    assert states(Picky(server), canonical) == {"new"}
    assert states(server, canonical) == {"there"}


def test_the_definition_that_a_server_refuses_is_named(server: FhirClient, canonical: Canonical) -> None:
    with pytest.raises(PermanentFailure, match="does not take NamingSystem-ai-result") as failure:
        publish(Picky(server, "NamingSystem"), canonical)
    assert failure.value.code == "fhir-refused"


def command(fhir_base_url: str, canonical: Canonical, folder: Path, *arguments: str) -> Result:
    env = {
        "LONGVIEW_STATE_DIR": str(folder),
        "LONGVIEW_FHIR_URL": fhir_base_url,
        "LONGVIEW_CANONICAL_BASE": canonical.base,
    }
    return CliRunner().invoke(main, ["fhir", *arguments], env=env)


def test_the_operators_command_says_what_is_new_there_or_differs(
    fhir_base_url: str, server: FhirClient, canonical: Canonical, tmp_path: Path
) -> None:
    def rows(*arguments: str) -> set[str]:
        result = command(fhir_base_url, canonical, tmp_path, "publish", "--json", *arguments)
        assert result.exit_code == 0, result.output
        return {row["state"] for row in json.loads(result.stdout)["definitions"]}

    assert rows("--dry-run") == {"new"}
    assert rows() == {"new"}
    assert rows() == {"there"}
    put_there(fhir_base_url, one_of(canonical, "NamingSystem-ai-result") | {"description": "another"})
    refused = command(fhir_base_url, canonical, tmp_path, "publish", "--json")
    assert refused.exit_code == 1
    assert "NamingSystem-ai-result" in refused.stderr
    assert [r["state"] for r in json.loads(refused.stdout)["definitions"]].count("differs") == 1


def test_the_files_are_what_is_published(
    fhir_base_url: str, server: FhirClient, canonical: Canonical, tmp_path: Path
) -> None:
    assert command(fhir_base_url, canonical, tmp_path, "definitions", "--output", str(tmp_path / "out")).exit_code == 0
    files = [json.loads(file.read_bytes()) for file in (tmp_path / "out").iterdir()]
    assert len(files) == len(definitions(canonical))
    assert all(one.resource in files for one in definitions(canonical))
