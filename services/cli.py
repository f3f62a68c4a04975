"""`longview`: the one door for operators. What a command needs is imported inside it, so that `--help` answers at once."""

from __future__ import annotations

import functools
import json
import signal
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec

import click

if TYPE_CHECKING:
    from services.parts.launcher import Outcome
    from services.settings import Settings

Arguments = ParamSpec("Arguments")
as_json = click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")


def _settings() -> Settings:
    from services.settings import Settings

    return Settings.from_environment()


def _say(text: str) -> None:
    click.echo(text, err=True)


def _table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    from services.parts.tables import print_table

    print_table(title, columns, rows)


def named_failures(command: Callable[Arguments, None]) -> Callable[Arguments, None]:
    """A failure of ours is one sentence and status 1, never a traceback; Ctrl-C is status 130."""

    @functools.wraps(command)
    def wrapped(*args: Arguments.args, **kwargs: Arguments.kwargs) -> None:
        from schemas.errors import LongviewError

        try:
            command(*args, **kwargs)
        except LongviewError as error:
            _fail(error.hint or error.code)
        except KeyboardInterrupt:
            _say("stopped")
            sys.exit(130)

    return wrapped


def _fail(sentence: str) -> NoReturn:
    _say(f"longview: {sentence}")
    sys.exit(1)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="longview")
def main() -> None:
    """Longview: a new study in, a labelled FHIR result and an inbox entry out."""
    signal.signal(signal.SIGTERM, _as_interrupt)


def _as_interrupt(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


# -- the parts ---------------------------------------------------------------------------------------------------------------------


@main.command()
@click.option("--only", "only", multiple=True, metavar="PART", help="This part and those it needs; may be given again.")
@named_failures
def up(only: tuple[str, ...]) -> None:
    """Start or find every part and wait until it is healthy."""
    from services.demo.data import adopt
    from services.parts.launcher import Launcher

    settings = _settings()
    outcomes = Launcher(settings, report=_report).up(only)
    adopt(settings.state)
    if all(outcome.state in ("running", "done", "found") for outcome in outcomes):
        _say("everything is running already")
    inbox = next((outcome.url for outcome in outcomes if outcome.name == "inbox"), "")
    if inbox:
        click.echo(inbox)


def _report(outcome: Outcome) -> None:
    took = f"{outcome.seconds:6.1f} s" if outcome.seconds else " " * 8
    _say(f"  {outcome.name:<11} {outcome.state:<8} {took}  {outcome.url}")


@main.command()
@named_failures
def down() -> None:
    """Stop every part that was started here."""
    from services.parts.launcher import Launcher

    stopped = Launcher(_settings()).down()
    _say(f"stopped: {', '.join(stopped)}" if stopped else "nothing was running")


@main.command()
@click.argument("part")
@named_failures
def restart(part: str) -> None:
    """Stop one part and start it again on the same port."""
    from services.parts.launcher import Launcher

    outcome = Launcher(_settings(), report=_report).restart(part)
    if outcome.note:
        _say(f"note: {outcome.note}")


@main.command()
@as_json
@named_failures
def status(as_json: bool) -> None:
    """Ask every part how it is; status 1 if one that should run does not."""
    from dataclasses import asdict

    from services.parts.status import part_states

    states = part_states(_settings())
    if as_json:
        click.echo(json.dumps({"parts": [asdict(state) for state in states]}, indent=2))
    else:
        rows = [[s.name, s.state, str(s.pid or ""), s.url, s.version] for s in states]
        _table("parts", ["part", "state", "pid", "address", "version"], rows)
    problems = [state.problem for state in states if state.problem]
    for problem in problems:
        _say(problem)
    sys.exit(1 if problems else 0)


@main.command()
@as_json
@named_failures
def doctor(as_json: bool) -> None:
    """Examine machine, versions and parts; one sentence of mending for each problem."""
    from dataclasses import asdict

    from services.parts.doctor import examine

    checks = examine(_settings())
    if as_json:
        click.echo(json.dumps({"checks": [asdict(check) | {"ok": check.ok} for check in checks]}, indent=2))
    else:
        _table("doctor", ["check", "", "seen"], [[c.name, "ok" if c.ok else "!!", c.seen] for c in checks])
        for check in checks:
            if not check.ok:
                _say(f"{check.name}: {check.mend}")
    sys.exit(0 if all(check.ok for check in checks) else 1)


@main.command()
@as_json
@named_failures
def config(as_json: bool) -> None:
    """The settings in force, secrets hidden."""
    rows = _settings().describe()
    if as_json:
        names = ("variable", "value", "source", "meaning")
        click.echo(json.dumps({"settings": [dict(zip(names, row, strict=True)) for row in rows]}, indent=2))
    else:
        _table("settings", ["variable", "value", "source", "meaning"], [list(row) for row in rows])


# -- our processes -----------------------------------------------------------------------------------------------------------------


@main.command()
@named_failures
def gateway() -> None:
    """Run the gateway until it is told to stop: events from the bus to Temporal, and results to the bus."""
    from services.bootstrap import gateway, run_process

    run_process(gateway, _settings())


@main.command()
@named_failures
def worker() -> None:
    """Run a worker until it is told to stop: workflows and their activities."""
    from services.bootstrap import run_process, worker

    run_process(worker, _settings())


@main.command()
@click.option("--port", type=int, help="Port to listen on (default: LONGVIEW_INBOX_PORT).")
@named_failures
def inbox(port: int | None) -> None:
    """Run the clinicians' inbox until it is told to stop."""
    from dataclasses import replace

    from services.bootstrap import inbox, run_process

    settings = _settings()
    run_process(inbox, settings if port is None else replace(settings, inbox_port=str(port)))


@main.command()
@click.option("--add-user", "add", metavar="NAME", help="Give NAME a token, shown once; an older one of NAME ends.")
@click.option("--remove-user", "remove", metavar="NAME", help="NAME may no longer log in.")
@named_failures
def codec(add: str | None, remove: str | None) -> None:
    """Run the codec server, where operators see what Temporal's payloads say, until it is told to stop."""
    from services.bootstrap import change_operators, codec, run_process
    from services.parts.launcher import connected_settings

    settings = connected_settings(_settings())
    if not add and not remove:
        run_process(codec, settings)
    elif token := change_operators(settings, add=add or "", remove=remove or ""):
        click.echo(token)


@main.group()
def keys() -> None:
    """The keys that encrypt Temporal's payloads."""


@keys.command("list")
@as_json
@named_failures
def keys_list(as_json: bool) -> None:
    """Ids and ages, newest first; never a key."""
    from services.bootstrap import list_keys
    from services.parts.launcher import connected_settings

    _rows("keys", list_keys(connected_settings(_settings())), as_json, ("id", "created_at", "days", "use"))


@keys.command("rotate")
@named_failures
def keys_rotate() -> None:
    """Add a key, which encrypts from now on; the older ones still decrypt."""
    from services.bootstrap import rotate_keys
    from services.parts.launcher import connected_settings

    click.echo(rotate_keys(connected_settings(_settings())))


@keys.command("remove")
@click.argument("key_id")
@named_failures
def keys_remove(key_id: str) -> None:
    """Take an old key away: only when every workflow that used it has closed."""
    from services.bootstrap import remove_key
    from services.parts.launcher import connected_settings

    remove_key(connected_settings(_settings()), key_id)
    _say("removed")


# -- work --------------------------------------------------------------------------------------------------------------------------


@main.command()
@click.option("--once", is_flag=True, help="End by itself, stopping what it has started.")
@as_json
@click.option("--study", type=click.Path(path_type=Path), help="Folder of DICOM files of your own.")
@click.option("--patient", type=click.Path(path_type=Path), help="FHIR R4 Bundle or Patient of your own (JSON).")
@click.option("--keep", is_flag=True, help="With --once: leave the parts running.")
@click.option("--seed", default=1, show_default=True, help="Which phantom patient to make.")
def demo(once: bool, as_json: bool, study: Path | None, patient: Path | None, keep: bool, seed: int) -> None:
    """Send one study through everything, and show each step."""
    from services.demo.command import DemoOptions, run_demo

    options = DemoOptions(once=once or as_json, as_json=as_json, study=study, patient=patient, keep=keep, seed=seed)
    sys.exit(run_demo(_settings, options))


@main.command()
@click.option("--study", required=True, metavar="UID", help="StudyInstanceUID of a study in the archive.")
@click.option("--patient", required=True, metavar="Patient/ID", help="The FHIR patient it belongs to.")
@named_failures
def publish(study: str, patient: str) -> None:
    """Announce a study of the archive on the bus."""
    from services.demo.publish import publish_study
    from services.parts.launcher import connected_settings

    published = publish_study(connected_settings(_settings()), study, patient)
    click.echo(published.workflow_id)


@main.command()
@click.argument("patient", metavar="PATIENT")
@click.option("--as-of", metavar="T", help="What was knowable at this moment (FHIR dateTime).")
@click.option("--study", default="", metavar="UID", help="StudyInstanceUID of the study that priors are chosen for.")
@click.option("--tokens", type=click.IntRange(min=0), help="Say what a budget of so many tokens would leave out.")
@as_json
@named_failures
def timeline(patient: str, as_of: str | None, study: str, tokens: int | None, as_json: bool) -> None:
    """A patient's history as a reading sees it: PATIENT is Patient/ID. Shows what identifies the patient, here alone."""
    from services.parts.launcher import connected_settings
    from services.show_timeline import as_document, gather, print_timeline

    shown = gather(connected_settings(_settings()), patient, study, as_of, tokens)
    if as_json:
        click.echo(json.dumps(as_document(shown), indent=2))
    else:
        print_timeline(shown)


@main.command()
@click.option("--failed", is_flag=True, help="Only runs that failed.")
@as_json
@named_failures
def runs(failed: bool, as_json: bool) -> None:
    """What was read, and what failed at which stage and why."""
    from services.bootstrap import list_runs
    from services.parts.launcher import connected_settings

    shown = ("updated_at", "state", "stage", "code", "attempts", "study_key", "hint")
    _rows("runs", list_runs(connected_settings(_settings()), failed=failed), as_json, shown)


@main.command("dead-letters")
@as_json
@named_failures
def dead_letters(as_json: bool) -> None:
    """Records of the bus that could not be handled."""
    from services.bootstrap import list_dead_letters
    from services.parts.launcher import connected_settings

    shown = ("id", "reason", "code", "topic", "partition", "offset", "created_at", "replayed_at")
    _rows("dead letters", list_dead_letters(connected_settings(_settings())), as_json, shown)


@main.command()
@click.argument("dead_letter")
@named_failures
def replay(dead_letter: str) -> None:
    """Send a dead letter to its topic again, under the same event id."""
    from services.bootstrap import replay_dead_letter
    from services.parts.launcher import connected_settings

    replay_dead_letter(connected_settings(_settings()), dead_letter)
    _say("sent again")


@main.command()
@click.argument("result")
@click.option("--no-model", is_flag=True, help="Check the ingredients only; the model is not asked again.")
@as_json
@named_failures
def reproduce(result: str, no_model: bool, as_json: bool) -> None:
    """Rebuild RESULT (its id, or DiagnosticReport/ID) from its Provenance; status 0 only if the answer is the same."""
    from services.bootstrap import reproduce_result
    from services.parts.launcher import connected_settings

    found = reproduce_result(connected_settings(_settings()), result, ask=not no_model)
    if as_json:
        click.echo(found.model_dump_json(indent=2))
    else:
        rows = [[i.name, i.state, _short(i.was), _short(i.now), i.note] for i in found.ingredients]
        _table("ingredients", ["ingredient", "", "was", "is", ""], rows)
        click.echo(found.sentence())
    sys.exit(0 if found.verdict == "same" else 1)


def _short(value: str | None) -> str:
    """The beginning of a digest; anything else as it is."""
    digest = value is not None and len(value) == 64 and not value.strip("0123456789abcdef")
    return f"{str(value)[:12]}…" if digest else value or ""


@click.option("--now", is_flag=True, help="Run one pass and wait for it.")
@click.option("--schedule", is_flag=True, help="Let passes begin by themselves (LONGVIEW_RECONCILE_MINUTES).")
@click.option("--pause", is_flag=True, help="Let no pass begin by itself.")
@as_json
@named_failures
def reconcile(now: bool, schedule: bool, pause: bool, as_json: bool) -> None:
    """What was lost between archive, FHIR and inbox, and what became of it: the newest passes; status 1 if a person has to look."""
    from services import oversight
    from services.parts.launcher import connected_settings

    if now + schedule + pause > 1:
        raise click.UsageError("give one of --now, --schedule and --pause")
    settings = connected_settings(_settings())
    if schedule or pause:
        (oversight.schedule_reconciliation if schedule else oversight.pause_reconciliation)(settings)
        _say("scheduled" if schedule else "paused")
        return
    if now:
        oversight.reconcile_now(settings)
    found = oversight.list_passes(settings)
    if as_json:
        click.echo(json.dumps(found, indent=2, default=str))
    else:
        _rows("passes", found["passes"], False, _PASS_SHOWN)
        if found["items"]:
            _rows("items", found["items"], False, ("state", "kind", "code", "key", "at"))
    sys.exit(1 if found["passes"] and found["passes"][0]["flagged"] else 0)


_PASS_SHOWN = ("started_at", "ended_at", "trigger", "studies", "results", "healed", "waiting", "flagged", "left_over")


@main.group()
def report() -> None:
    """Reports on what the models have said: agreement and drift."""


@report.command()
@click.option("--since", type=click.DateTime(["%Y-%m-%d"]), help="First day, UTC (default: 90 days ago).")
@as_json
@named_failures
def agreement(since: datetime | None, as_json: bool) -> None:
    """A shadow release against the shown one, and both against what humans decided."""
    from services import oversight
    from services.parts.launcher import connected_settings

    reports = oversight.agreement_reports(connected_settings(_settings()), _first_day(since, 90))
    if as_json:
        click.echo(json.dumps({"agreement": [oversight.agreement_json(each) for each in reports]}, indent=2))
    elif not reports:
        _say("no results in this time")
    for each in [] if as_json else reports:
        _say(f"shown: {each.shown_release}  shadow: {each.shadow_release or 'none'}  studies: {each.studies}")
        _table("agreement", oversight.AGREEMENT_COLUMNS, oversight.agreement_rows(each))
        _table("decisions of humans", oversight.DECISION_COLUMNS, oversight.decision_rows(each))


@report.command()
@click.option("--since", type=click.DateTime(["%Y-%m-%d"]), help="First day of looks to show, UTC (default: today).")
@as_json
@named_failures
def drift(since: datetime | None, as_json: bool) -> None:
    """Whether what a release says has changed: the last 7 days against the 28 before; status 1 on an alarm."""
    from services import oversight
    from services.parts.launcher import connected_settings

    looks = oversight.drift_looks(connected_settings(_settings()), _first_day(since, 0))
    shown = ("day", "release_id", "metric", "recent_k", "recent_n", "reference_k", "reference_n", "p", "verdict")
    _rows("looks", looks, as_json, shown)
    sys.exit(1 if any(look["verdict"] == "alarm" for look in looks) else 0)


def _first_day(given: datetime | None, days_ago: int) -> date:
    return given.date() if given else datetime.now(UTC).date() - timedelta(days=days_ago)


def _rows(title: str, rows: list[dict[str, Any]], as_json: bool, shown: tuple[str, ...]) -> None:
    """Everything as JSON, the columns that people look at as a table."""
    if as_json:
        click.echo(json.dumps({title.replace(" ", "_"): rows}, indent=2, default=str))
    elif not rows:
        _say(f"no {title}")
    else:
        _table(title, [name.removesuffix("_at") for name in shown], [[_cell(row[c]) for c in shown] for row in rows])


def _cell(value: Any) -> str:
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%SZ")
    return "" if value is None else str(value)


@main.group()
def fhir() -> None:
    """Our own definitions: code systems, value sets, identifier systems, extension and profiles."""


@fhir.command("publish")
@click.option("--dry-run", is_flag=True, help="Only say what would be new.")
@as_json
@named_failures
def fhir_publish(dry_run: bool, as_json: bool) -> None:
    """Load our definitions into the FHIR server; status 1, and nothing written, if it holds another content of a version."""
    from services.bootstrap import publish_definitions
    from services.parts.launcher import connected_settings

    found = publish_definitions(connected_settings(_settings()), dry_run=dry_run)
    _rows("definitions", [each.row for each in found], as_json, ("state", "type", "version", "url"))
    if mend := next((each.mend for each in found if each.mend), ""):
        _fail(mend)


@fhir.command("definitions")
@click.option("--output", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder to write to.")
@named_failures
def fhir_definitions(output: Path) -> None:
    """Write our definitions as JSON files, one a resource."""
    from schemas.codes import Canonical
    from schemas.conformance import definition_files

    output.mkdir(parents=True, exist_ok=True)
    files = definition_files(Canonical(_settings().canonical_base))
    for name, content in files.items():
        (output / name).write_bytes(content)
    _say(f"{len(files)} definitions written")


@main.command()
@click.argument("name", required=False)
@click.option("--all", "all_of_them", is_flag=True, help="Every benchmark, one after the other.")
@as_json
@named_failures
def bench(name: str | None, all_of_them: bool, as_json: bool) -> None:
    """Measure speed as ratios, each taken in one run."""
    from services.bench.run import known_benches, run_bench

    if not name and not all_of_them:
        raise click.UsageError(f"name a benchmark ({', '.join(known_benches())}) or give --all")
    for each in known_benches() if all_of_them else [str(name)]:
        result = run_bench(each)
        if as_json:
            click.echo(json.dumps(result))
        else:
            rows = [[key, f"{value:.3g}"] for key, value in result["ratios"].items()]
            _table(f"bench {each}", ["ratio", "value"], rows)


if __name__ == "__main__":
    main()
