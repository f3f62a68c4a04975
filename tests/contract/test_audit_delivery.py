"""The audit trail on its way to a hospital's repository: whatever happens to it, every entry arrives, once and in order."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from schemas.audit import AuditEntry, AuditPerson, new_audit_id
from schemas.codes import Canonical
from schemas.errors import LongviewError, PermanentFailure, TransientFailure
from services.clients.fhir import FhirClient
from services.db import AuditOutbox, AuditTrail, Database, open_migrated
from services.db.audit import now_text
from services.worker import audit_delivery
from services.worker.audit_delivery import AuditDelivery, delivering
from workflows.report.audit import AuditAddresses

CANONICAL = Canonical("https://ai.example.org/fhir")


class Repository:
    """A FHIR audit repository over HTTP that keeps what it is sent, and fails as it is told."""

    def __init__(self) -> None:
        self.kept: dict[str, dict[str, Any]] = {}
        self.order: list[str] = []
        self.calls = 0
        self.answers: list[int | str] = []
        """What the next calls get instead: a status, `lost` (kept, but the answer never comes) or `away`."""

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.calls += 1
        assert request.method == "POST"
        assert urlsplit(str(request.url)).path == "/fhir/AuditEvent"
        assert request.headers["authorization"] == "Bearer of-the-repository"
        asked = parse_qs(request.headers["if-none-exist"])["_tag"][0]
        answer = self.answers.pop(0) if self.answers else 0
        if answer == "away":
            raise httpx.ConnectError("refused")
        if isinstance(answer, int) and answer:
            return httpx.Response(answer, json={"resourceType": "OperationOutcome", "issue": []})
        resource = json.loads(request.content)
        tags = [f"{tag['system']}|{tag['code']}" for tag in resource["meta"]["tag"]]
        assert asked in tags
        created = asked not in self.kept
        if created:
            self.order.append(asked)
        self.kept.setdefault(asked, resource)
        if answer == "lost":
            raise httpx.ReadTimeout("no answer")
        return httpx.Response(201 if created else 200, json=resource)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = open_migrated(f"sqlite:///{tmp_path / 'longview.db'}")
    yield opened
    opened.close()


@pytest.fixture
def repository() -> Repository:
    return Repository()


def delivery_to(repository: Repository, database: Database) -> AuditDelivery:
    client = FhirClient(
        "http://audit.example.org/fhir", token="of-the-repository", transport=httpx.MockTransport(repository)
    )
    addresses = AuditAddresses("https://fhir.example.org/r4", "https://inbox.example.org")
    return AuditDelivery(AuditOutbox(database), client, CANONICAL, addresses)


def record(database: Database, count: int) -> list[str]:
    entries = [
        AuditEntry(
            event_id=new_audit_id(), kind="login", at=now_text(), process="inbox", person=AuditPerson(name=f"n{n}")
        )
        for n in range(count)
    ]
    for entry in entries:
        AuditTrail(database).record(entry)
    return [f"{CANONICAL.sid('audit-event')}|{entry.event_id}" for entry in entries]


def deliver_all(delivery: AuditDelivery) -> None:
    for _ in range(100):
        try:
            if not delivery.deliver_waiting():
                return
        except LongviewError:
            continue
    raise AssertionError("it does not come to an end")


def test_every_entry_arrives_in_order_with_its_place_in_the_chain(database: Database, repository: Repository) -> None:
    told = record(database, 120)
    deliver_all(delivery_to(repository, database))
    assert repository.order == told
    assert repository.calls == 120
    assert AuditTrail(database).undelivered().count == 0
    rows = {row.entry.event_id: row for row in AuditTrail(database).entries()}
    for resource in repository.kept.values():
        details = {d["type"]: d["valueString"] for d in resource["entity"][-1]["detail"]}
        row = rows[resource["meta"]["tag"][0]["code"]]
        assert (details["seq"], details["chain"]) == (str(row.seq), row.hash)


@pytest.mark.parametrize("answer", [500, 503, 429, 409, "away", "lost", 401, 422])
def test_an_outage_a_refusal_or_a_lost_answer_loses_and_doubles_nothing(
    database: Database, repository: Repository, answer: int | str
) -> None:
    told = record(database, 6)
    repository.answers = [0, 0, answer, answer, 0, answer]
    deliver_all(delivery_to(repository, database))
    assert repository.order == told
    assert AuditTrail(database).undelivered().count == 0


def test_while_it_refuses_nothing_after_it_is_sent(database: Database, repository: Repository) -> None:
    record(database, 3)
    repository.answers = [0, 422, 422]
    delivery = delivery_to(repository, database)
    for _ in range(2):
        with pytest.raises(PermanentFailure):
            delivery.deliver_waiting()
    assert len(repository.order) == 1
    assert AuditTrail(database).undelivered().count == 2


def test_a_process_killed_between_sending_and_marking_sends_again_under_the_same_tag(
    database: Database, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = record(database, 3)
    with monkeypatch.context() as killed:

        def kill(*_: object) -> None:
            raise TransientFailure("database-unavailable", "killed here")

        killed.setattr(AuditOutbox, "mark_delivered", kill)
        with pytest.raises(TransientFailure):
            delivery_to(repository, database).deliver_waiting()
    AuditOutbox(database).hold("nobody", 0)
    with database.writing() as session:
        from services.db.audit_models import AuditDelivery as State

        state = session.get(State, 1)
        assert state is not None
        state.holder = None
    deliver_all(delivery_to(repository, database))
    assert repository.order == told
    assert repository.calls == 6


def test_of_two_workers_one_delivers(database: Database, repository: Repository) -> None:
    record(database, 3)
    first, second = delivery_to(repository, database), delivery_to(repository, database)
    assert first.deliver_waiting() == 3
    record(database, 2)
    assert second.deliver_waiting() == 0
    first.close()
    assert second.deliver_waiting() == 2


async def test_it_runs_beside_the_worker_heals_by_itself_and_ends_with_it(
    database: Database, repository: Repository, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(audit_delivery, "IDLE_SECONDS", 0.02)
    monkeypatch.setattr(audit_delivery, "PAUSES", (0.02,))
    told = await asyncio.to_thread(record, database, 4)
    repository.answers = ["away", 503, 0, 401]
    beats: list[int] = []
    async with delivering(delivery_to(repository, database), lambda: beats.append(1)), asyncio.timeout(60):
        while len(repository.order) < 4 or AuditTrail(database).undelivered().count:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        told += await asyncio.to_thread(record, database, 1)
        while len(repository.order) < 5:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    assert repository.order == told
    assert beats
    assert [r.getMessage() for r in caplog.records if r.name.endswith("audit_delivery")] == ["audit-events-wait"] * 3
    assert AuditOutbox(database).hold("the next worker", 1), "what was held is let go"
