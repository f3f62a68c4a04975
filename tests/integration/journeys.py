"""What the tests of whole journeys share: who is announced, what was asked, what then stands in FHIR and on the page."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from unittest import mock

import httpx
import numpy as np
import numpy.typing as npt

from schemas.codes import Canonical
from schemas.errors import InvalidEvent
from schemas.events import STUDY_TOPIC, CloudEvent, binary_form
from schemas.identifiers import hex_from_ni
from schemas.inference import ModelRequest
from schemas.report import ReviewAct
from schemas.runs import ReviewWritten
from services.adapters import temporal
from services.clients.kafka import Record
from services.clients.reviews import TemporalReviewer
from services.demo import story
from services.demo.phantom import Chest, Grid, Sphere, make_vessels, scan
from services.demo.publish import study_event
from services.demo.subject import Subject, phantom_subject
from services.gateway.intake import Intake
from services.store import FolderObjectStore
from tests.integration.system import System
from workflows.report.kept import RENDERED_PROMPT

SEEDS = iter(range(1, 900))
DETECTED = "260373001"
ABSENT = {
    "presence": "not-detected",
    "likelihood": "absent",
    "side": "not-applicable",
    "change": "stable",
    "location": None,
}


@cache
def scanned(grid: Grid, nodule: Sphere) -> npt.NDArray[np.int16]:
    """The chest with a nodule of this size, on this day's grid: to compute it takes longer than all that a test asks of it."""
    return scan(Chest(make_vessels(7, nodule), nodule), grid, 7)


def phantom(system: System) -> Subject:
    """Another patient with a chart and studies of their own; the voxels are everybody's."""
    with mock.patch.object(story, "scan", lambda chest, grid, seed: scanned(grid, chest.nodule)):
        return phantom_subject(next(SEEDS), system.settings.canonical_base, system.settings.accessions)


def uid_of(subject: Subject) -> str:
    return subject.studies[-1].uid


def read(system: System, subject: Subject) -> dict[str, Any]:
    system.load(subject)
    system.result(system.announce(subject).workflow_id)
    [report] = system.reports(uid_of(subject))
    return report


def asked(system: System, subject: Subject) -> ModelRequest:
    """The question as it was kept."""
    [(result, _)] = system.inbox_entries(uid_of(subject))
    tag = Canonical(system.settings.canonical_base).sid("ai-result")
    [provenance] = system.fhir.find_tagged("Provenance", tag, result)
    [prompt] = [e["what"] for e in provenance["entity"] if e["what"].get("display") == RENDERED_PROMPT]
    store = FolderObjectStore(system.settings.store)
    return ModelRequest.model_validate_json(store.get(hex_from_ni(prompt["identifier"]["value"])))


def page_of(system: System, subject: Subject) -> str:
    [(result, _)] = system.inbox_entries(uid_of(subject))
    return httpx.get(f"{system.settings.inbox_url}/results/{result}", trust_env=False, verify=False).text


def codes(concept: dict[str, Any]) -> list[str]:
    return [coding["code"] for coding in concept["coding"]]


async def decide(system: System, workflow_id: str, act: ReviewAct) -> ReviewWritten:
    """As the inbox does it."""
    return await TemporalReviewer(await temporal(system.settings), system.settings.task_queue).submit(workflow_id, act)


@contextmanager
def answering_model(system: System, text: str) -> Iterator[str]:
    """A server with the API of vLLM and the name of the right release, which always answers the same."""
    name = json.loads(Path(system.settings.model_release).read_bytes())["served_model_name"]
    answer = {
        "model": name,
        "choices": [{"message": {"content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1},
    }

    class Answerer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer({"data": [{"id": name}]})

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.answer(answer)

        def answer(self, body: dict[str, Any]) -> None:
            data = json.dumps(body).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answerer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


async def start_on(system: System, subject: Subject, task_queue: str) -> None:
    """What the gateway does with an event, on another task queue."""
    study = system.archive.find_study(uid_of(subject))
    event = study_event(system.settings, study, subject.patient)
    key, headers, value = binary_form(event)
    client, space = await temporal(system.settings), system.settings.namespace
    intake = Intake(client, space, task_queue, system.settings.event_source, dead_letters=NoDeadLetters())
    await intake.handle(Record(STUDY_TOPIC, 0, 0, key, value, headers))


class NoDeadLetters:
    def keep(self, record: Record, invalid: InvalidEvent, event: CloudEvent) -> None:
        raise AssertionError(invalid.code)
