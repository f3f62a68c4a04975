"""Histories of earlier versions, replayed by today's workflows: a study that waits for its review survives an upgrade.

`python -m tests.record_history` records one for each release, with scripted steps and the tests' key.
One that no longer replays needs `workflow.patched` in the workflow, not a new recording.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer

from schemas.telemetry import traces
from schemas.telemetry.traces import FinishedSpan
from services.clients.temporal import data_converter
from workflows.patient.workflow import PatientWorkflow
from workflows.report_study.workflow import ReportStudyWorkflow
from workflows.tracing import Tracing

KEY = bytes(range(32))
HISTORIES = sorted((Path(__file__).parent / "histories").glob("*.json"))
CHANGELOG = Path(__file__).parents[2] / "CHANGELOG.md"


@pytest.fixture(params=[False, True], ids=["traces-off", "traces-on"])
def spans(request: pytest.FixtureRequest) -> Iterator[list[FinishedSpan]]:
    recorded: list[FinishedSpan] = []
    traces.record_to(recorded.append if request.param else None)
    yield recorded
    traces.record_to(None)


async def replay(file: Path) -> None:
    """Today's workflows take the steps that the history recorded; the replayer raises if not."""
    history = WorkflowHistory.from_json(file.stem, await asyncio.to_thread(file.read_text))
    replayer = Replayer(
        workflows=[ReportStudyWorkflow, PatientWorkflow], data_converter=data_converter(KEY), interceptors=[Tracing()]
    )
    await replayer.replay_workflow(history)


def test_there_is_a_history_of_each_version() -> None:
    versions = re.findall(r"^## (\d+\.\d+\.\d+)", CHANGELOG.read_text(), re.MULTILINE)
    assert versions
    assert {f"report-study-{version}" for version in versions} <= {file.stem for file in HISTORIES}


@pytest.mark.parametrize("recorded", HISTORIES, ids=[path.stem for path in HISTORIES])
async def test_what_began_under_an_earlier_version_goes_on(recorded: Path, spans: list[FinishedSpan]) -> None:
    """Partial, complete, a retried step, a second instance set, an unchanged one, and a decision. A replay records no span."""
    await replay(recorded)
    assert spans == []
