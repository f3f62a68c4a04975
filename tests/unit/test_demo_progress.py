"""Following a run: each step once, a named failure at once, and never for ever."""

from __future__ import annotations

import pytest

from schemas.runs import ResultWritten, RunState, StepProgress, StudyProgress
from services.demo import progress as following
from services.demo.progress import RunFailed, follow, step_seconds

WRITTEN = ResultWritten(
    result_id="r",
    thread_id="t",
    report="DiagnosticReport/1/_history/1",
    task="Task/1",
    observations=[],
    provenance="Provenance/1",
    created=9,
)


def step(name: str, ended: bool = True) -> StepProgress:
    end = "2026-03-10T09:30:01.500+00:00" if ended else None
    return StepProgress(
        step=name, started="2026-03-10T09:30:00.000+00:00", ended=end, state="done" if ended else "running"
    )


def at(state: RunState, *steps: StepProgress, failure: str | None = None) -> StudyProgress:
    written = WRITTEN if state == "awaiting-review" else None
    stage = "fetch-images" if failure else None
    return StudyProgress(state=state, steps=list(steps), written=written, failure_code=failure, failure_stage=stage)


class Script:
    """Answers one after the other, the last one for ever."""

    def __init__(self, *answers: StudyProgress | None) -> None:
        self._answers = list(answers)

    def progress(self) -> StudyProgress | None:
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "POLL_SECONDS", 0.001)
    monkeypatch.setattr(following, "SETTLE_SECONDS", 0.05)


def test_each_step_is_shown_once_until_the_result_stands_in_the_inbox() -> None:
    source = Script(
        None,
        at("running", step("gather_timeline", ended=False)),
        at("running", step("gather_timeline"), step("fetch_study", ended=False)),
        at("awaiting-review", step("gather_timeline"), step("fetch_study"), step("create_inbox_entry", ended=False)),
        at("awaiting-review", step("gather_timeline"), step("fetch_study"), step("create_inbox_entry")),
    )
    shown: list[str] = []
    end = follow(source, lambda s: shown.append(s.step), 5)
    assert shown == ["gather_timeline", "fetch_study", "create_inbox_entry"]
    assert end.written == WRITTEN
    assert step_seconds(end.steps[0]) == 1.5


def test_a_failed_run_is_told_by_its_code_and_stage() -> None:
    source = Script(
        at("running", step("gather_timeline")), at("failed", step("gather_timeline"), failure="geometry-shear")
    )
    with pytest.raises(RunFailed) as failed:
        follow(source, lambda s: None, 5)
    assert (failed.value.code, failed.value.stage) == ("geometry-shear", "fetch-images")


def test_an_event_that_nobody_takes_up_and_a_run_that_does_not_end_are_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(following, "START_SECONDS", 0.05)
    with pytest.raises(RunFailed, match="run-not-started"):
        follow(Script(None), lambda s: None, 5)
    with pytest.raises(RunFailed) as slow:
        follow(Script(at("running", step("ask_model", ended=False))), lambda s: None, 0.05)
    assert (slow.value.code, slow.value.stage) == ("run-too-slow", "ask_model")


def test_a_study_read_before_is_given_time_to_be_read_again() -> None:
    old = at("awaiting-review", step("gather_timeline"), step("create_inbox_entry"))
    new = at("awaiting-review", step("gather_timeline"), step("create_inbox_entry"), step("write_review"))
    assert follow(Script(old, old, new), lambda s: None, 5, before=old) == new
    assert follow(Script(old), lambda s: None, 5, before=old) == old
