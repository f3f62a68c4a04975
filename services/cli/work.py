"""Work: studies sent, runs and dead letters looked at, results reproduced."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from services.cli.base import as_json, main, named_failures, read_settings, say, show_rows, table

SERIES_COLUMNS = ("number", "description", "instances", "outcome", "code", "reason")


@main.command()
@click.option("--once", is_flag=True, help="End by itself, stopping what it has started.")
@as_json
@click.option(
    "--study", type=click.Path(path_type=Path), help="Folder of DICOM files of your own, or a whole slide (TIFF, SVS)."
)
@click.option("--patient", type=click.Path(path_type=Path), help="FHIR R4 Bundle or Patient of your own (JSON).")
@click.option("--keep", is_flag=True, help="With --once: leave the parts running.")
@click.option("--seed", default=1, show_default=True, help="Which phantom patient to make.")
def demo(once: bool, as_json: bool, study: Path | None, patient: Path | None, keep: bool, seed: int) -> None:
    """Send one study through everything, and show each step."""
    from services.demo.command import DemoOptions, run_demo

    options = DemoOptions(once=once or as_json, as_json=as_json, study=study, patient=patient, keep=keep, seed=seed)
    sys.exit(run_demo(read_settings, options))


@main.command()
@click.option("--study", required=True, metavar="UID", help="StudyInstanceUID of a study in the archive.")
@click.option("--patient", required=True, metavar="Patient/ID", help="The FHIR patient it belongs to.")
@named_failures
def publish(study: str, patient: str) -> None:
    """Announce a study of the archive on the bus."""
    from services.demo.publish import publish_study
    from services.parts.launcher import connected_settings

    published = publish_study(connected_settings(read_settings()), study, patient)
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
    from services.audit import record_operator
    from services.parts.launcher import connected_settings
    from services.show_timeline import as_document, gather, print_timeline

    settings, patient = connected_settings(read_settings()), patient if "/" in patient else f"Patient/{patient}"
    record_operator(settings, "history-read", patient=patient, data=patient)
    shown = gather(settings, patient, study, as_of, tokens)
    if as_json:
        click.echo(json.dumps(as_document(shown), indent=2))
    else:
        print_timeline(shown)


@main.command()
@click.option("--failed", is_flag=True, help="Only runs that failed.")
@click.option(
    "--study", default="", metavar="UID", help="Only of this study: its StudyInstanceUID or accession number."
)
@click.option("--check", is_flag=True, help="End with status 1 if a run shown has failed.")
@as_json
@named_failures
def runs(failed: bool, study: str, check: bool, as_json: bool) -> None:
    """What was read, and what failed at which stage and why. With --study also what became of each series."""
    from services.operate import list_runs
    from services.parts.launcher import connected_settings
    from services.parts.tables import cells

    shown = ("updated_at", "state", "stage", "code", "attempts", "study_key", "trace_id", "hint")
    found = list_runs(connected_settings(read_settings()), failed=failed, study=study)
    show_rows("runs", found, as_json, shown)
    if not as_json:
        for row in found:
            if series := row.get("series"):
                table("series", list(SERIES_COLUMNS), cells(series, SERIES_COLUMNS))
    if check and any(row["state"] == "failed" for row in found):
        sys.exit(1)


@main.command("dead-letters")
@as_json
@named_failures
def dead_letters(as_json: bool) -> None:
    """Records of the bus that could not be handled."""
    from services.operate import list_dead_letters
    from services.parts.launcher import connected_settings

    shown = ("id", "reason", "code", "topic", "partition", "offset", "created_at", "replayed_at")
    show_rows("dead letters", list_dead_letters(connected_settings(read_settings())), as_json, shown)


@main.command()
@click.argument("dead_letter")
@named_failures
def replay(dead_letter: str) -> None:
    """Send a dead letter to its topic again, under the same event id."""
    from services.operate import replay_dead_letter
    from services.parts.launcher import connected_settings

    replay_dead_letter(connected_settings(read_settings()), dead_letter)
    say("sent again")


@main.command()
@click.argument("result")
@click.option("--no-model", is_flag=True, help="Check the ingredients only; the model is not asked again.")
@as_json
@named_failures
def reproduce(result: str, no_model: bool, as_json: bool) -> None:
    """Rebuild RESULT (its id, or DiagnosticReport/ID) from its Provenance; status 0 only if the answer is the same."""
    from services.operate import reproduce_result
    from services.parts.launcher import connected_settings

    found = reproduce_result(connected_settings(read_settings()), result, ask=not no_model)
    if as_json:
        click.echo(found.model_dump_json(indent=2))
    else:
        rows = [[i.name, i.state, _short(i.was), _short(i.now), i.note] for i in found.ingredients]
        table("ingredients", ["ingredient", "", "was", "is", ""], rows)
        click.echo(found.sentence())
    sys.exit(0 if found.verdict == "same" else 1)


def _short(value: str | None) -> str:
    """The beginning of a digest; anything else as it is."""
    digest = value is not None and len(value) == 64 and not value.strip("0123456789abcdef")
    return f"{str(value)[:12]}…" if digest else value or ""


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
            table(f"bench {each}", ["ratio", "value"], rows)
            for note in result.get("notes", []):
                click.echo(note)
