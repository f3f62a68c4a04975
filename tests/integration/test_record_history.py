"""The recorder of histories: what it writes is what the replay test reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.record_history import record
from tests.unit.test_workflow_replay import replay

pytestmark = pytest.mark.integration


async def test_a_release_adds_one_history_of_each_workflow_and_never_changes_one(tmp_path: Path) -> None:
    written = await record(tmp_path, "0.9.0")
    assert [file.name for file in written] == ["report-study-0.9.0.json", "patient-0.9.0.json"]
    for file in written:
        await replay(file)
    with pytest.raises(SystemExit, match="recorded once"):
        await record(tmp_path, "0.9.0")
