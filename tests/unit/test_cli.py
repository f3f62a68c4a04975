"""The command line: it answers at once, fails in one sentence, and speaks JSON when asked."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from services.cli import main
from services.demo.data import adopt, start_afresh

COMMANDS = (
    "up",
    "down",
    "status",
    "restart",
    "doctor",
    "config",
    "demo",
    "runs",
    "dead-letters",
    "replay",
    "publish",
    "fhir",
    "bench",
    "reproduce",
    "keys",
    "codec",
    "model",
    "document",
)


def run(tmp_path: Path, *arguments: str, **environment: str) -> Result:
    env: dict[str, str | None] = {"LONGVIEW_STATE_DIR": str(tmp_path / "state"), **environment}
    return CliRunner().invoke(main, arguments, env=env)


def test_help_answers_at_once_because_nothing_is_imported_for_it() -> None:
    heavy = "{'temporalio', 'kafka', 'pydicom', 'numpy', 'sqlalchemy', 'rich'}"
    script = (
        "import sys, time; from services.cli import main; "
        f"print({heavy} & set(sys.modules), time.process_time() < 2.0)  # of the processor: the machine may be busy"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set() True"


def test_every_command_of_the_manual_is_there(tmp_path: Path) -> None:
    listed = run(tmp_path, "--help").output
    for command in COMMANDS:
        assert f"  {command} " in listed


def test_config_hides_secrets_and_says_where_a_value_comes_from(tmp_path: Path) -> None:
    result = run(tmp_path, "config", "--json", LONGVIEW_FHIR_TOKEN="very-secret", LONGVIEW_TENANT="north")
    rows = {row["variable"]: row for row in json.loads(result.output)["settings"]}
    assert "very-secret" not in result.output
    assert rows["LONGVIEW_TENANT"]["value"] == "north"
    assert rows["LONGVIEW_TENANT"]["source"] == "environment"


def test_a_misspelt_setting_is_one_sentence_and_status_1(tmp_path: Path) -> None:
    result = run(tmp_path, "config", LONGVIEW_FHIR_ULR="http://x")
    assert result.exit_code == 1
    assert result.output.startswith("longview: LONGVIEW_FHIR_ULR is not a setting")
    assert len(result.output.strip().splitlines()) == 1


def test_status_of_nothing_is_down_and_no_problem(tmp_path: Path) -> None:
    result = run(tmp_path, "status", "--json")
    assert result.exit_code == 0
    parts = json.loads(result.output)["parts"]
    assert {part["name"] for part in parts} >= {
        "broker",
        "temporal",
        "fhir",
        "archive",
        "database",
        "model",
        "gateway",
        "worker",
        "inbox",
    }
    assert {part["state"] for part in parts} == {"down"}


def test_doctor_names_the_part_that_does_not_answer_and_what_to_do(tmp_path: Path) -> None:
    result = run(tmp_path, "doctor", "--json", LONGVIEW_FHIR_URL="http://127.0.0.1:1/fhir")
    assert result.exit_code == 1
    checks = {check["name"]: check for check in json.loads(result.stdout)["checks"]}
    assert "LONGVIEW_FHIR_URL" in checks["part fhir"]["mend"]
    assert checks["python"]["ok"]
    assert [name for name, check in checks.items() if not check["ok"]] == ["part fhir"]


def test_restart_of_what_does_not_run_and_an_unknown_part_are_told_apart(tmp_path: Path) -> None:
    assert "start it with 'longview up'" in run(tmp_path, "restart", "broker").output
    assert "is not a part" in run(tmp_path, "restart", "printer").output


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--study", "nowhere"], "demo-options"),
        (["--study", "nowhere", "--patient", "nobody.json"], "patient-file"),
    ],
)
def test_a_demo_that_cannot_begin_prints_one_json_object(tmp_path: Path, arguments: list[str], code: str) -> None:
    result = run(tmp_path, "demo", "--once", "--json", *arguments)
    assert result.exit_code == 1
    error = json.loads(result.stdout)["error"]
    assert error["code"] == code
    assert set(error) == {"code", "hint", "stage"}


def test_publish_wants_a_reference_to_a_patient(tmp_path: Path) -> None:
    result = run(tmp_path, "publish", "--study", "1.2.3", "--patient", "somebody")
    assert result.exit_code == 1
    assert "write it as Patient/ID" in result.output


def test_a_demonstration_clears_its_own_data_and_never_an_operators(tmp_path: Path) -> None:
    (tmp_path / "fhir").mkdir()
    (tmp_path / "longview.db").touch()
    assert start_afresh(tmp_path) is False
    assert (tmp_path / "longview.db").exists()
    mine = tmp_path / "mine"
    assert start_afresh(mine) is True
    (mine / "fhir").mkdir()
    assert start_afresh(mine) is True
    assert not (mine / "fhir").exists()
    adopt(mine)
    (mine / "fhir").mkdir()
    assert start_afresh(mine) is False
