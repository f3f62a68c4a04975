"""Histories of earlier versions, replayed by today's workflows: a study that waits for its review survives an upgrade.

A history is recorded with the scripted steps of tests/integration/test_report_study.py and its test key, by `fetch_history().to_json()`.
One that no longer replays needs `workflow.patched` in the workflow, not a new recording.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer

from services.clients.temporal import data_converter
from workflows.report_study.workflow import ReportStudyWorkflow

KEY = bytes(range(32))
HISTORIES = sorted((Path(__file__).parent / "histories").glob("report-study-*.json"))


def test_there_is_a_history_of_each_released_version() -> None:
    assert [path.stem for path in HISTORIES] == ["report-study-0.1.0"]


@pytest.mark.parametrize("recorded", [path.read_text() for path in HISTORIES], ids=[path.stem for path in HISTORIES])
async def test_a_study_that_began_under_an_earlier_version_goes_on(recorded: str) -> None:
    """Partial, complete, a retried step, a second instance set, an unchanged one, and a decision."""
    replayer = Replayer(workflows=[ReportStudyWorkflow], data_converter=data_converter(KEY))
    await replayer.replay_workflow(WorkflowHistory.from_json("study-k", recorded))
