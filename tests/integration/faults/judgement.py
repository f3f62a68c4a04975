"""What must be true after the storm. Each function is one promise of ADR-0018."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

from schemas.events import (
    OBSERVATION_AVAILABLE,
    PATIENT_MERGED,
    RESULT_AVAILABLE,
    RESULT_REVIEWED,
    RESULT_TOPIC,
    RUN_TOPIC,
    CloudEvent,
)
from schemas.identifiers import patient_workflow_id, study_workflow_id
from services.db.inbox import UNREVIEWED
from tests.integration.faults.evidence import Evidence, Resource
from tests.integration.faults.hospital import CLOSED, Hospital, Study
from tests.integration.faults.storm import REPEATED, VICTIMS, Size, Told
from tests.integration.faults.witness import dead_letter_topics

MOVED = "patient-replaced"
"""The named failure of a reading under a record that was merged away meanwhile; the study is read again under the survivor."""


def storm_was_one(told: Told, faults: dict[str, int], size: Size, share: float) -> None:
    """Everything was sent, a tenth twice; every victim died; calls failed as often as was meant, writes that were done among them."""
    repeated = sum(told.sent.values()) - len(told.sent)
    assert len(told.sent) == size.events
    assert repeated == round(REPEATED * size.events)
    assert told.killed == dict.fromkeys(VICTIMS, size.kills)
    failed = sum(count for kind, count in faults.items() if kind != "calls")
    assert 0.8 * share <= failed / faults["calls"] <= 1.2 * share
    assert faults.get("done-503", 0) + faults.get("done-silence", 0) > 0


# -- events ----------------------------------------------------------------------------------------------------------------


def patients_were_told(hospital: Hospital, seen: Evidence) -> None:
    """Each event came to its patient's entity, in publishing order within its key; every announced observation is remembered there."""
    for patient_key, published in _by_entity(hospital, seen).items():
        told = list(dict.fromkeys(seen.histories.patients[patient_workflow_id(patient_key)].in_order))
        assert {event.id for event in published} <= set(told), "an event did not reach its patient"
        _same_order(published, told)
    for patient in hospital.patients:
        survivor = hospital.patients[patient.merged_into] if patient.merged_into is not None else patient
        entity = patient_workflow_id(seen.space.patient_key(survivor.reference))
        kept = {observation.event_id for observation in seen.histories.observations.get(entity, [])}
        announced = {
            fact.event.id
            for fact in hospital.facts
            if fact.event.type == OBSERVATION_AVAILABLE and fact.event.data["patient"] == patient.reference
        }
        assert announced <= kept, "an announced observation was forgotten"


def studies_were_told(hospital: Hospital, seen: Evidence) -> None:
    """Each event about a study came to its workflow exactly once, in publishing order within its key."""
    for study in hospital.studies:
        published = list(_about(hospital, study))
        told = seen.histories.studies[study_workflow_id(seen.space.study_key(study.uid))]
        signalled = Counter(event.event_id for event in told.signals)  # type: ignore[union-attr]
        assert not [event for event, count in signalled.items() if count > 1], "an event was signalled twice"
        assert {event.id for event in published} <= set(told.in_order), f"{study.plot}: an event did not reach it"
        known: set[str] = set()
        for start in told.starts:  # a later run is told again what stands, but begins for something new
            assert {event.event_id for event in start} - known
            known |= {event.event_id for event in start}
        _same_order(published, list(dict.fromkeys(told.in_order)))


def _by_entity(hospital: Hospital, seen: Evidence) -> dict[str, list[CloudEvent]]:
    """Published events by the entity that the gateway tells."""
    found: dict[str, list[CloudEvent]] = defaultdict(list)
    for fact in hospital.facts:
        data = fact.event.data
        reference = data["survivor"] if fact.event.type == PATIENT_MERGED else data["patient"]
        found[seen.space.patient_key(reference)].append(fact.event)
    return found


def _about(hospital: Hospital, study: Study) -> Iterable[CloudEvent]:
    for fact in hospital.facts:
        data = fact.event.data
        named = data.get("studyInstanceUid") == study.uid
        named |= (data.get("accession") or {}).get("value") == study.tags.accession
        if named or data.get("serviceRequest") == study.order:
            yield fact.event


def _same_order(published: list[CloudEvent], told: list[str]) -> None:
    """Events of one type and key keep their order; across topics a bus promises none."""
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for event in published:
        groups[event.type, event.partitionkey].append(event.id)
    for group in groups.values():
        assert [event for event in told if event in group] == group, "events of one key came out of order"


# -- results ---------------------------------------------------------------------------------------------------------------


def one_result_each(hospital: Hospital, seen: Evidence) -> None:
    """One unread result where the day asks for one, about the patient who has the study now; none where it was cancelled or reported."""
    threads = _threads(seen)
    wrong = []
    for study in hospital.studies:
        reports = [r for r in threads[seen.space.thread_id(study.uid)] if not _adds_to(r)]
        standing = [r for r in reports if r["status"] == "partial"]
        others = {r["status"] for r in reports if r["status"] != "partial"}
        if not others <= {"cancelled"} or len(standing) != (0 if study.plot in CLOSED else 1):
            wrong.append(story(study, seen))
        elif standing:
            number = study.patient.merged_into
            owner = study.patient if number is None else hospital.patients[number]
            assert standing[0]["subject"]["reference"].split("/_history/")[0] == owner.reference
            assert standing[0]["id"] in {r["id"] for r in seen.ours("DiagnosticReport")}, "a result without its label"
    assert not wrong, "\n".join(wrong)
    final = [r for r in seen.fhir["DiagnosticReport"] if r["id"].startswith("storm-final-")]
    assert {r["status"] for r in final} <= {"final"}, "a radiologist's report was changed"


def story(study: Study, seen: Evidence) -> str:
    """What is known of a study, for whoever has to find out what went wrong."""
    key, thread = seen.space.study_key(study.uid), seen.space.thread_id(study.uid)
    told = seen.histories.studies[study_workflow_id(key)]
    events = [f"{type(event).__name__} {event.event_id[:8]}" for event in told.signals]  # type: ignore[union-attr]
    starts = [[f"{type(event).__name__} {event.event_id[:8]}" for event in start] for start in told.starts]
    runs = [(run["state"], run["code"], (run["result_id"] or "")[:8]) for run in seen.runs if run["study_key"] == key]
    reports = [(r["status"], seen.result_id(r)[:8]) for r in _threads(seen)[thread]]
    where = f"{study.plot}, study-{key}, merged into {study.patient.merged_into}"
    return f"{where}: starts {starts}, signals {events}, runs {runs}, reports {reports}"


def _threads(seen: Evidence) -> dict[str, list[Resource]]:
    found: dict[str, list[Resource]] = defaultdict(list)
    for report in seen.ours("DiagnosticReport"):
        found[seen.thread_of(report)].append(report)
    return found


def _adds_to(report: Resource) -> bool:
    return any(e["url"].endswith("diagnosticReport-addendumOf") for e in report.get("extension", []))


def nothing_doubled_in_fhir(seen: Evidence) -> None:
    """Each result has one report, one task and one Provenance of its making; no finding is left without a report; no notice was sent twice."""
    reports = seen.ours("DiagnosticReport")
    results = [seen.result_id(report) for report in reports]
    assert _twice(results) == []
    for result in results:
        assert len(seen.tagged("Task", "ai-result", result)) == 1
        assert len(seen.tagged("Provenance", "ai-result", result)) == 1
    linked = [link["reference"].split("/_history/")[0] for report in reports for link in report.get("result", [])]
    assert _twice(linked) == []
    assert {f"Observation/{o['id']}" for o in seen.ours("Observation")} == set(linked), "a finding without a report"
    acts = [t["code"] for p in seen.fhir["Provenance"] for t in p["meta"]["tag"] if t["system"].endswith("review-act")]
    assert _twice(acts) == []
    notices = [i["value"] for c in seen.fhir["Communication"] for i in c.get("identifier", [])]
    assert _twice(notices) == []
    devices = [canonical_identifier(device) for device in seen.ours("Device")]
    assert _twice(devices) == []


def canonical_identifier(resource: Resource) -> str:
    return "|".join(sorted(f"{i.get('system')}|{i.get('value')}" for i in resource.get("identifier", [])))


def tables_agree(hospital: Hospital, seen: Evidence) -> None:
    """Every report has its entry and no entry lacks its report; what is open there is open here; each result was posted by one run."""
    reports = {seen.result_id(report): report for report in seen.ours("DiagnosticReport")}
    entries = {entry["result_id"]: entry for entry in seen.inbox}
    assert set(reports) == set(entries)
    for result, entry in entries.items():
        assert (entry["status"] in UNREVIEWED) == (reports[result]["status"] == "partial"), entry["status"]
    posted = [run["result_id"] for run in seen.runs if run["result_id"] and run["state"] != "unchanged"]
    assert _twice(posted) == []
    assert set(posted) == {result for result, entry in entries.items() if entry["adds_to"] is None}
    assert [run for run in seen.runs if run["state"] == "running"] == []
    failed = [run for run in seen.runs if run["state"] == "failed"]
    moved = {seen.space.study_key(s.uid) for s in hospital.studies if s.patient.merged_into is not None}
    assert [run for run in failed if run["code"] != MOVED or run["study_key"] not in moved] == []


# -- bus and Temporal --------------------------------------------------------------------------------------------------------


def bus_was_told(seen: Evidence) -> None:
    """The outbox is empty and gapless; what it held is on the bus, in the order of `sequence` within each key; there is no dead letter."""
    assert [row for row in seen.outbox if row["published_at"] is None] == []
    sequences: dict[str, list[int]] = defaultdict(list)
    for row in seen.outbox:
        sequences[row["key"]].append(row["sequence"])
    assert all(numbers == list(range(1, len(numbers) + 1)) for numbers in sequences.values()), "a gap in a sequence"
    for topic in (RESULT_TOPIC, RUN_TOPIC):
        _topic_is_whole(seen, topic)
    available = [e.data["resultId"] for e in _once(seen.bus[RESULT_TOPIC]) if e.type == RESULT_AVAILABLE]
    assert sorted(available) == sorted(entry["result_id"] for entry in seen.inbox), "a result that nobody was told of"
    closings = [
        (e.data["resultId"], e.data["outcome"]) for e in _once(seen.bus[RESULT_TOPIC]) if e.type == RESULT_REVIEWED
    ]
    assert _twice(closings) == []
    assert {topic: len(seen.bus[topic]) for topic in dead_letter_topics()} == dict.fromkeys(dead_letter_topics(), 0)
    assert seen.dead_letters == []


def _topic_is_whole(seen: Evidence, topic: str) -> None:
    told = _once(seen.bus[topic])
    assert {event.id for event in told} == {row["event_id"] for row in seen.outbox if row["topic"] == topic}
    numbers: dict[str, list[int]] = defaultdict(list)
    for event in told:
        numbers[event.partitionkey].append(int(event.sequence or 0))
    assert all(found == sorted(found) for found in numbers.values()), "events of one study came out of order"


def _once(events: list[CloudEvent]) -> list[CloudEvent]:
    """A record may come twice under its id; the first one counts."""
    return list({event.id: event for event in reversed(events)}.values())[::-1]


def no_workflow_is_stuck(hospital: Hospital, seen: Evidence) -> None:
    """No workflow task failed by code; entities run; a study waits for a human exactly where a result is unread; nothing failed for good."""
    histories = seen.histories
    assert histories.task_failures == []
    assert set(histories.patients) <= histories.open
    waiting = {study_workflow_id(seen.space.study_key(s.uid)) for s in hospital.studies if s.plot not in CLOSED}
    assert {workflow_id for workflow_id in histories.open if workflow_id in histories.studies} == waiting
    failed = [
        story(s, seen) for s in hospital.studies if study_workflow_id(seen.space.study_key(s.uid)) in histories.failed
    ]
    assert not failed, "\n".join(failed)


def _twice(values: Iterable[object]) -> list[object]:
    return [value for value, count in Counter(values).items() if count > 1]
