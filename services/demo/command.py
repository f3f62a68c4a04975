"""`longview demo`: parts up, patient loaded, study announced, run followed, result read back, everything stopped again."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas.errors import LongviewError, PermanentFailure
from schemas.inbox import InboxResult
from schemas.outcomes import SeriesOutcome
from schemas.runs import ResultWritten, StepProgress, StudyProgress
from services.demo.data import start_afresh
from services.demo.load import Index, load_chart, store_images
from services.demo.progress import RunFailed, TemporalProgress, follow, step_seconds
from services.demo.publish import Published, publish_study
from services.demo.result import UNTRAINED_NOTICE, ReadBack, inbox_entry, read_back
from services.demo.subject import Subject, own_subject, phantom_subject
from services.parts.launcher import Launcher, Outcome
from services.settings import Settings

RUN_SECONDS = 600.0
"""The longest a run may take before the demonstration gives up."""


@dataclass(frozen=True)
class DemoOptions:
    once: bool = False
    as_json: bool = False
    study: Path | None = None
    patient: Path | None = None
    keep: bool = False
    seed: int = 1


class Clock:
    """Seconds per step of the whole demonstration."""

    def __init__(self) -> None:
        self._began = self._last = time.monotonic()
        self.steps: dict[str, float] = {}

    @property
    def total(self) -> float:
        return round(time.monotonic() - self._began, 2)

    def lap(self, name: str) -> None:
        now = time.monotonic()
        self.steps[name] = round(now - self._last, 2)
        self._last = now
        say(f"  {name:<22} {self.steps[name]:7.2f} s")

    def show(self, step: StepProgress) -> None:
        self.steps[step.step] = step_seconds(step)
        say(f"    {step.step:<20} {self.steps[step.step]:7.2f} s  {step.state}")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - the command's voice to people


def run_demo(settings: Callable[[], Settings], options: DemoOptions) -> int:
    """The exit status: 0 only if the result was read back from FHIR and the inbox. Exactly one JSON object goes to standard output with `as_json`."""
    demo = Demo(options)
    try:
        given = settings()
        subject = demo.subject(given)
        demo.start(given)
        told = demo.tell(subject)
        answer(told, options)
        if not options.once:
            demo.wait()
        return 0
    except LongviewError as error:
        return fail(error, options, demo.account_of(error))
    except KeyboardInterrupt:
        return fail(PermanentFailure("interrupted", "the demonstration was stopped."), options)
    except Exception as error:  # the text of a stray error may hold an identifier: only its kind is told
        return fail(
            PermanentFailure(
                "unexpected", f"an unexpected {type(error).__name__} ended the demonstration: please report it."
            ),
            options,
        )
    finally:
        demo.stop()


def answer(told: dict[str, Any], options: DemoOptions) -> None:
    if options.as_json:
        print(json.dumps(told), flush=True)  # noqa: T201
    else:
        show_result(told)


def fail(error: LongviewError, options: DemoOptions, series: Sequence[SeriesOutcome] = ()) -> int:
    """One sentence for people, or one JSON object; with what became of each series, where images were looked at."""
    stage = error.stage if isinstance(error, RunFailed) else ""
    rows = [row.shown() for row in series]
    if options.as_json:
        told = {"error": {"code": error.code, "hint": error.hint, "stage": stage}, "series": rows}
        print(json.dumps(told), flush=True)  # noqa: T201
    else:
        show_series(rows)
        say(f"longview demo: {error.hint or error.code} [{error.code}{', ' + stage if stage else ''}]")
    return 1


class Demo:
    """One demonstration, from the parts' start to their stop."""

    def __init__(self, options: DemoOptions) -> None:
        self._options = options
        self._clock = Clock()
        self._launcher: Launcher | None = None
        self._settings = Settings()
        self._ours: list[str] = []

    def subject(self, settings: Settings) -> Subject:
        """Whose study: read or made before anything starts, so that a wrong file is told at once."""
        options = self._options
        if (options.study is None) != (options.patient is None):
            raise PermanentFailure(
                "demo-options", "your own files need both --study and --patient: give both, or neither."
            )
        if options.study is not None and options.patient is not None:
            subject = own_subject(options.study, options.patient)
            self._clock.lap("read your files")
        else:
            subject = phantom_subject(options.seed, settings.canonical_base, settings.accessions)
            self._clock.lap("make the phantom")
        return subject

    def account_of(self, error: LongviewError) -> list[SeriesOutcome]:
        """What became of each series of a study that could not be read."""
        from services.store import FolderObjectStore
        from workflows.report_study.imaging import load_account

        account = error.account if isinstance(error, RunFailed) else None
        return load_account(FolderObjectStore(self._settings.store), account) if account else []

    def start(self, settings: Settings) -> None:
        """Bring the parts up; remember which ones this demonstration has started."""
        say("starting the parts")
        self._launcher = Launcher(settings, report=self._started)
        if not any(
            record.process and record.alive for record in self._launcher.records().values()
        ) and not start_afresh(settings.state):
            say("  the state folder holds an operator's data: it is kept")
        self._launcher.up()
        self._clock.lap("start the parts")
        self._settings = self._launcher.settings

    def _started(self, outcome: Outcome) -> None:
        if outcome.state in ("started", "done"):
            self._ours.append(outcome.name)
        say(f"    {outcome.name:<20} {outcome.seconds:7.2f} s  {outcome.state}  {outcome.url}")

    def tell(self, subject: Subject) -> dict[str, Any]:
        """Load, announce, follow, read back; returns what the run came to."""
        from services.adapters import archive, fhir

        server = fhir(self._settings)
        count = store_images(archive(self._settings), subject.files())
        self._clock.lap("store the images")
        say(f"    {count} instances in {len(subject.studies)} studies")
        index = Index(self._settings.canonical_base, self._settings.accessions)
        for sentence in load_chart(server, subject.bundle, subject.patient, subject.studies, index):
            say(f"    {sentence}")
        self._clock.lap("load the chart")
        published, progress = self._read(subject)
        if progress.written is None:
            raise RunFailed("no-result", "the run ended without a result: see 'longview runs'.")
        back = read_back(server, progress.written)
        entry = inbox_entry(self._inbox_address(), progress.written.result_id)
        self._clock.lap("read the result back")
        return self._told(published, progress.written, back, entry)

    def _read(self, subject: Subject) -> tuple[Published, StudyProgress]:
        """Publish the event and follow the workflow that it starts."""
        source = TemporalProgress(self._settings, subject.workflow_id(self._settings.namespace))
        try:
            before = source.progress()
            published = publish_study(self._settings, subject.studies[-1].uid, subject.patient)
            self._clock.lap("publish the event")
            say("reading the study")
            if before is not None:
                say("    this study was read here before: the same images make no second result")
            progress = follow(source, self._clock.show, RUN_SECONDS, before)
            self._clock.lap("read the study")
            return published, progress
        finally:
            source.close()

    def _inbox_address(self) -> str:
        """Where the inbox listens, which need not be where people reach it."""
        records = self._launcher.records() if self._launcher else {}
        return records["inbox"].url if "inbox" in records else self._settings.inbox_url

    def _told(self, published: Published, written: ResultWritten, back: ReadBack, entry: InboxResult) -> dict[str, Any]:
        reading = entry.reading
        return {
            "status": back.status,
            "labels": back.labels,
            "report": back.report,
            "task": back.task,
            "release": entry.release_name,
            "notice": "" if entry.trained else UNTRAINED_NOTICE,
            "findings": back.findings,
            "dropped": [dropped.model_dump() for dropped in reading.dropped],
            "series": [row.shown() for row in reading.series],
            "compared_with": reading.prior_study_instance_uid is not None,
            "not_compared_reason": reading.not_compared_reason,
            "steps": self._clock.steps,
            "seconds": self._clock.total,
            "inbox_url": f"{self._settings.inbox_url.rstrip('/')}/results/{written.result_id}",
            "workflow_id": published.workflow_id,
            "result_id": written.result_id,
        }

    def wait(self) -> None:
        """Leave the system up until Ctrl-C."""
        say("\nThe system is up. Open the inbox; press Ctrl-C here to stop everything.")
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            say("")

    def stop(self) -> None:
        """Stop what this demonstration has started, and only that."""
        if self._launcher is None or not self._ours or (self._options.once and self._options.keep):
            return
        stopping = (
            signal.SIGINT,
            signal.SIGTERM,
        )  # a second Ctrl-C must not leave half of it running: stopping ends by itself
        before = [signal.signal(number, signal.SIG_IGN) for number in stopping]
        try:
            stopped = self._launcher.stop_parts(self._ours)
        finally:
            for number, handler in zip(stopping, before, strict=True):
                signal.signal(number, handler)
        say(f"stopped: {', '.join(stopped)}" if stopped else "nothing was left to stop")


def show_series(rows: Sequence[Mapping[str, Any]]) -> None:
    from services.parts.tables import cells, print_table

    columns = ["number", "description", "instances", "outcome", "reason"]
    if rows:
        print_table("images of the study", columns, cells(rows, columns))


def show_result(told: dict[str, Any]) -> None:
    """The result for people."""
    from services.parts.tables import cells, print_table
    from workflows.report.text import not_compared

    columns = ["text", "presence", "likelihood", "long_axis_mm", "change"]
    print_table("findings (AI, not verified)", ["finding", *columns[1:]], cells(told["findings"], columns))
    show_series(told["series"])
    for dropped in told["dropped"]:
        say(f"  dropped: {dropped.get('label')} ({dropped.get('code')})")
    compared = (
        "compared with the prior study"
        if told["compared_with"]
        else f"not compared with a prior: {not_compared(told['not_compared_reason'])}"
    )
    lines = [
        f"report     {told['report']}: {told['status']}, labelled {', '.join(told['labels'])}",
        f"task       {told['task']}",
        f"release    {told['release']}, {compared}",
        f"time       {told['seconds']:.1f} s in all",
        f"inbox      {told['inbox_url']}",
    ]
    print("\n" + "\n".join(lines), flush=True)  # noqa: T201
    if told["notice"]:
        print(f"\n{told['notice']}", flush=True)  # noqa: T201
