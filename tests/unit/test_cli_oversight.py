"""What operators see of oversight, and by which exit status a scheduler of theirs learns that a person has to look."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from schemas.errors import PartUnavailable
from schemas.oversight import ClosePass, OpenPass, ReconcileItem, ShadowFinding, ShadowKept
from services.cli import main
from services.db import Database, ReconcileRecords, ShadowRecords, open_migrated
from services.settings import Settings
from tests.contract.test_oversight_records import decide, posted
from workflows.shadow.drift import Rate, watch


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Database:
    monkeypatch.setenv("LONGVIEW_STATE_DIR", str(tmp_path))
    return open_migrated(Settings(state_dir=str(tmp_path)).database)


def longview(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments), env={"COLUMNS": "200"})


def answer(*arguments: str) -> Any:
    return json.loads(longview(*arguments, "--json").stdout)


def test_passes_and_what_they_found(database: Database) -> None:
    records = ReconcileRecords(database)
    at = "2026-11-25T03:00:00+00:00"
    records.open_pass(OpenPass(pass_id="p", trigger="schedule", since="2026-11-22", grace_minutes=15, cap=50, at=at))
    item = ReconcileItem(pass_id="p", kind="result-doubled", key="r-1", fact="", state="flagged", code="result-doubled")
    records.record_item(item)
    records.close_pass(ClosePass(pass_id="p", at=at, studies=412, results=80, left=0))
    shown = longview("reconcile")
    assert shown.exit_code == 1
    assert "result-doubled" in shown.stdout
    assert "412" in shown.stdout
    told = answer("reconcile")
    assert (told["passes"][0]["flagged"], told["items"][0]["key"]) == (1, "r-1")


def test_nothing_found_is_no_alarm(database: Database) -> None:
    assert longview("reconcile").exit_code == 0
    assert longview("report", "drift").exit_code == 0
    assert answer("report", "agreement") == {"agreement": []}


def test_one_thing_at_a_time(database: Database) -> None:
    assert longview("reconcile", "--pause", "--schedule").exit_code == 2


def test_drift_ends_with_status_1(database: Database) -> None:
    found = watch({"abstained": Rate(40, 100), "rejected": Rate(1, 9)}, {"abstained": Rate(4, 400)})
    ShadowRecords(database).keep_look(datetime.now(UTC).date(), "release-1", found)
    shown = longview("report", "drift")
    assert shown.exit_code == 1
    assert "alarm" in shown.stdout
    verdicts = {look["metric"]: look["verdict"] for look in answer("report", "drift")["looks"]}
    assert verdicts == {"abstained": "alarm", "rejected": "few"}


def test_agreement_says_how_few_studies_it_rests_on(database: Database) -> None:
    read = posted(database, "study-1")
    posted(database, "study-2")
    decide(database, "study-2", "rejected")
    seen = ShadowFinding(
        label="pulmonary-nodule",
        shown_presence="detected",
        shown_likelihood="probable",
        shown_dropped=None,
        shadow_presence="not-detected",
        shadow_likelihood="absent",
        shadow_dropped=None,
        boxes=None,
    )
    ShadowRecords(database).keep_shadow(
        ShadowKept(
            study_key="k", result_id=read, release_id="s-2", reading="c", milliseconds=1, code=None, findings=[seen]
        )
    )
    since = ("--since", "2026-11-01")
    [told] = answer("report", "agreement", *since)["agreement"]
    [row] = told["shadow_and_shown"]
    assert (row["n"], row["agreeing"], row["verdict"]) == (1, 0, "few")
    assert "too few" in row["verdict_text"]
    assert {d["label"]: (d["rejected"], d["detected"]) for d in told["decisions"]} == {
        "pulmonary-nodule": (1, 1),
        "pleural-effusion": (1, 0),
    }
    shown = longview("report", "agreement", *since)
    assert "too few" in shown.stdout
    assert "shadow, shown" in shown.stdout


def test_settings_that_do_not_fit_are_refused() -> None:
    with pytest.raises(PartUnavailable, match="LONGVIEW_SHADOW_MODEL_RELEASE"):
        Settings.from_environment({"LONGVIEW_SHADOW_MODEL_URL": "http://model-2"})
    with pytest.raises(PartUnavailable, match="LONGVIEW_RECONCILE_CAP"):
        Settings.from_environment({"LONGVIEW_RECONCILE_CAP": "many"})
    with pytest.raises(PartUnavailable, match="LONGVIEW_RECONCILE_HEAL"):
        Settings.from_environment({"LONGVIEW_RECONCILE_HEAL": "sometimes"})
