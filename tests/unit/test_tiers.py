"""The runner of tiers: what waits for what, what runs side by side, what a failure and a hanging tier look like."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from scripts import tiers
from scripts.tiers import CI, CORES, Tier

REPORT = """<testsuites><testsuite><testcase classname="tests.unit.test_a" name="test_b" time="3.5"/>
<testcase classname="tests.unit.test_a" name="test_c" time="0.5"><failure message="no"/></testcase>
<testcase classname="tests.unit.test_a" name="test_d" time="0"><skipped message="no helm here"/></testcase></testsuite></testsuites>"""


@pytest.fixture(autouse=True)
def logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tiers, "ROOT", tmp_path)
    monkeypatch.setattr(tiers, "LOGS", tmp_path)
    return tmp_path


def test_a_tier_begins_when_those_that_it_needs_have_ended_and_its_share_is_free() -> None:
    plan = [
        Tier("setup", "sleep 0.3", share=2.0),
        Tier("test", "sleep 0.3; touch tested", share=1.5, after=("setup",)),
        Tier("lint", "test ! -e tested", share=0.5, after=("setup",)),
        Tier("bench", "test -e tested", share=1.0, after=("setup",)),
        Tier("publish", "test -e tested", share=0.0, after=("test", "of-another-plan")),
    ]
    ended = tiers.run(plan)
    assert {each.tier.name: each.status for each in ended} == dict.fromkeys((t.name for t in plan), 0)
    assert ended[0].tier.name == "setup"


def test_a_failure_is_shown_with_its_last_lines_and_the_others_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    ended = tiers.run([Tier("wrong", "echo the broker is gone; exit 3"), Tier("right", "true")])
    assert [(each.tier.name, each.verdict) for each in ended] == [("wrong", "FAILED (status 3)"), ("right", "passed")]
    shown = capsys.readouterr().out
    assert "the broker is gone" in shown
    tiers.show(ended, 1.0)
    assert "failed: wrong after 0:01" in capsys.readouterr().out


def test_what_cannot_be_had_is_no_failure_and_says_why() -> None:
    [ended] = tiers.run([Tier("chart", "echo Go is not installed; exit 2", skip_status=2)])
    assert (ended.failed, ended.verdict) == (False, "SKIPPED: Go is not installed")


def test_a_tier_that_hangs_is_ended_with_all_that_it_started(logs: Path) -> None:
    command = f"sleep 600 & echo $! >{logs}/child; wait"
    [ended] = tiers.run([Tier("hangs", command, minutes=0.01)])
    assert ended.verdict.startswith("FAILED: not done within")
    child = int((logs / "child").read_text())
    deadline = time.monotonic() + 60
    while Path(f"/proc/{child}").exists() and " Z " not in Path(f"/proc/{child}/stat").read_text():
        assert time.monotonic() < deadline, "the child outlived its tier"
        time.sleep(0.05)


def test_one_screen_has_what_pytest_counted_and_why_something_was_skipped(
    logs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", "true")
    (logs / "given.xml").write_text(REPORT)
    tiers.show(tiers.run([Tier("unit", f"cp given.xml {logs}/unit.xml; exit 1")]), 65.0)
    screen = capsys.readouterr().out
    assert "1 passed, 1 failed, 1 skipped" in screen
    assert "skipped in unit: 1 x no helm here" in screen
    assert screen.index("3.5 s  test_a::test_b") < screen.index("0.5 s  test_a::test_c")
    assert screen.splitlines()[-1] == "total: 1 passed, 1 failed, 1 skipped"


def test_a_word_that_is_no_tier_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert tiers.main(["ci", "tset"]) == 2
    assert "tset is none of" in capsys.readouterr().err
    assert tiers.main([]) == 2


def test_every_target_of_ci_is_in_the_makefile_and_every_need_in_the_plan() -> None:
    root = Path(tiers.__file__).parents[1]
    targets = (root / "Makefile").read_text()
    names = {tier.name for tier in CI}
    for tier in CI:
        assert set(tier.after) <= names, tier.name
        assert tier.share <= CORES
        if tier.command.startswith("make "):
            assert f"\n{tier.command.split()[1]}:" in targets, tier.name


def test_reports_go_where_the_runner_looks_for_them(logs: Path) -> None:
    [ended] = tiers.run([Tier("unit", 'test "${PYTEST_ADDOPTS##* }" = --junitxml=' + str(logs / "unit.xml"))])
    assert not ended.failed
