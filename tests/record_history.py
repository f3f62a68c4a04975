"""Records histories of our workflows for tests/unit/test_workflow_replay.py: run once for each release, before it is tagged.

    python -m tests.record_history                 # tests/unit/histories/<workflow>-<version>.json

The steps are scripted and the key is the tests', so a recording holds nothing of anybody. One that exists is never recorded again: if today's
workflow does not replay it, the workflow needs `workflow.patched`.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.metadata
from pathlib import Path

from temporalio.client import Client, WorkflowHandle
from temporalio.exceptions import ApplicationError

from schemas.facts import ObservationAvailable, PatientEvent, ReportFinalised, StudyAddress, StudyAvailable
from tests.integration import scripted
from workflows.patient.workflow import PatientWorkflow
from workflows.report_study.workflow import ReportStudyWorkflow

HISTORIES = Path(__file__).parent / "unit" / "histories"


async def record(folder: Path, version: str) -> list[Path]:
    """One history of each workflow; the files that were written."""
    files = [folder / f"{name}-{version}.json" for name in ("report-study", "patient")]
    for file in files:
        if file.exists():
            raise SystemExit(f"{file.name} is there already, and a history is recorded once: raise the version first.")
    script = scripted.Script()
    async with scripted.working(script) as client:
        study = await a_study(client, script)
        files[0].write_text((await study.fetch_history()).to_json())
        patient = await a_patient(client)
        files[1].write_text((await patient.fetch_history()).to_json())
    return files


async def a_study(client: Client, script: scripted.Script) -> scripted.Handle:
    """Partial, complete, a retried step, a second instance set, an unchanged one, and a decision."""
    script.fails["ask_model"] = [ApplicationError("x", "away", 1, type="model-unavailable")]
    await scripted.announce(client, "half", "partial")
    handle = await scripted.announce(client, "one", "declared-complete")
    await scripted.until(handle, scripted.waits_for_review)
    await scripted.announce(client, "two")
    await scripted.until(handle, lambda p: p.written is not None and p.written.result_id == "result-of-two")
    await scripted.until(handle, scripted.waits_for_review)
    await scripted.announce(client, "two")
    await scripted.until(handle, lambda _: len(script.calls["close_run"]) == 1)
    await scripted.until(handle, scripted.waits_for_review)
    act = scripted.act_on("two")
    await handle.execute_update(ReportStudyWorkflow.review, act, id=act.act_id)
    await handle.result()
    return handle


async def a_patient(client: Client) -> WorkflowHandle[PatientWorkflow, None]:
    """A report that waits for its study, the study, a burst of observations of which one comes twice; the entity stays open."""
    address = StudyAddress(
        study_key="patients-study", thread_id="t-2", study_instance_uid="1.2.4", accession="issuer|A"
    )
    report = ReportFinalised(event_id="e-0", diagnostic_report="DiagnosticReport/ris-1", patient=scripted.PATIENT)
    study = StudyAvailable(
        event_id="e-1",
        study_instance_uid="1.2.4",
        patient=scripted.PATIENT,
        inventory_digest="three",
        completeness="quiescent",
        instance_count=9,
    )
    await scripted.tell(client, PatientEvent(event=report, address=StudyAddress(accession="issuer|A")))
    await scripted.tell(client, PatientEvent(event=study, address=address))
    for number in (1, 2, 2, 3):
        fact = ObservationAvailable(
            event_id=f"o-{number}", observation=f"Observation/{number}", patient=scripted.PATIENT, status="final"
        )
        handle = await scripted.tell(client, PatientEvent(event=fact))
    for _ in range(1200):
        told = [event async for event in handle.fetch_history_events()]
        if (
            sum(event.HasField("timer_fired_event_attributes") for event in told)
            and len(await handle.query(PatientWorkflow.observations)) == 3
        ):
            return handle
        await asyncio.sleep(0.05)
    raise AssertionError("the patient's entity did not take its observations")


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--folder", type=Path, default=HISTORIES)
    arguments.add_argument("--version", default=importlib.metadata.version("longview"))
    given = arguments.parse_args()
    for written in asyncio.run(record(given.folder, given.version)):
        print(written.name)
