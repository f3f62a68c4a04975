"""Everything that is looked at after the storm, gathered once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from schemas.codes import Canonical
from schemas.events import OUTBOUND_TOPICS, CloudEvent
from schemas.identifiers import Namespace
from services.drill.judgement import read_topic
from tests.integration.faults.witness import Histories, dead_letter_topics, read_all, read_histories
from tests.integration.system import System

Resource = dict[str, Any]
FHIR_TYPES = ("DiagnosticReport", "Observation", "Task", "Provenance", "Communication", "Device")


@dataclass(frozen=True)
class Evidence:
    space: Namespace
    canonical: Canonical
    histories: Histories
    fhir: dict[str, list[Resource]]
    inbox: list[Resource]
    runs: list[Resource]
    outbox: list[Resource]
    dead_letters: list[Resource]
    bus: dict[str, list[CloudEvent]]

    def ours(self, resource_type: str) -> list[Resource]:
        """Resources that the AI has written, by their security label."""
        return [r for r in self.fhir[resource_type] if "AIAST" in _labels(r)]

    def result_id(self, report: Resource) -> str:
        return next(i["value"] for i in report["identifier"] if i["system"] == self.canonical.sid("ai-result"))

    def thread_of(self, report: Resource) -> str:
        return next(i["value"] for i in report["identifier"] if i["system"] == self.canonical.sid("ai-report-thread"))

    def tagged(self, resource_type: str, name: str, code: str) -> list[Resource]:
        wanted = (self.canonical.sid(name), code)
        return [
            r
            for r in self.fhir[resource_type]
            if wanted in [(t.get("system"), t.get("code")) for t in r.get("meta", {}).get("tag", [])]
        ]


def _labels(resource: Resource) -> list[str]:
    return [label.get("code", "") for label in resource.get("meta", {}).get("security", [])]


def gather(system: System, fhir_url: str) -> Evidence:
    settings = system.settings
    topics = (*OUTBOUND_TOPICS, *dead_letter_topics())
    return Evidence(
        space=settings.namespace,
        canonical=Canonical(settings.canonical_base),
        histories=read_histories(settings),
        fhir={kind: read_all(fhir_url, system.settings.fhir_token, kind) for kind in FHIR_TYPES},
        inbox=system.rows("SELECT result_id, run_id, thread_id, status, adds_to FROM inbox_entry"),
        runs=system.rows("SELECT run_id, study_key, thread_id, state, code, result_id FROM run"),
        outbox=system.rows('SELECT event_id, topic, "key", sequence, published_at FROM outbox ORDER BY seq'),
        dead_letters=system.rows("SELECT id, code FROM dead_letter"),
        bus={topic: read_topic(settings.kafka_bootstrap, topic) for topic in topics},
    )
