"""HAPI on PostgreSQL takes parallel writers as a hospital's server does: a result that many post at once is there once."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator

import psycopg
import pytest

from schemas.errors import StaleWrite, TransientFailure
from schemas.identifiers import canonical_json
from services.clients.fhir import FhirClient
from tests.contract.written_bundles import CANONICAL, context, seed
from tests.real import parts
from workflows.report import build_result
from workflows.report_study.fhir_results import find_result

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def fhir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FhirClient]:
    parts.need("hapi")
    folder = tmp_path_factory.mktemp("hapi")
    with parts.postgres(folder) as server:
        with psycopg.connect(server, autocommit=True) as admin:
            admin.execute("DROP DATABASE IF EXISTS hapi WITH (FORCE)")
            admin.execute("CREATE DATABASE hapi")
        user, _, place = server.removeprefix("postgresql://").rpartition("@")
        database = f"jdbc:postgresql://{place.rpartition('/')[0]}/hapi?user={user}"
        with parts.hapi(folder, database) as base_url:
            client = FhirClient(base_url)
            client.transaction(json.dumps(seed()).encode())
            yield client
            client.close()


def test_eight_workers_that_post_one_result_make_one_report(fhir: FhirClient) -> None:
    result = context(fhir.patient_record("Patient/pat-1"), manifest=b"parallel")
    bundle = canonical_json(build_result(result))
    posted: list[list[str]] = []
    lost: list[str] = []

    def post() -> None:
        for _ in range(30):
            try:
                posted.append(fhir.transaction(bundle))
            except (StaleWrite, TransientFailure) as race:
                lost.append(race.code)
            else:
                return

    threads = [threading.Thread(target=post) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(posted) == 8, lost
    assert all(locations == posted[0] for locations in posted)
    found = find_result(fhir, CANONICAL, result.thread_id, result.result_id)
    assert found is not None
    assert found.report in posted[0]
    assert len(fhir.find("DiagnosticReport", CANONICAL.sid("ai-result"), result.result_id)) == 1
