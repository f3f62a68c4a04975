"""Our own definitions in FHIR."""

from __future__ import annotations

from pathlib import Path

import click

from services.cli.base import as_json, fail, main, named_failures, read_settings, say, show_rows


@main.group()
def fhir() -> None:
    """What of ours the FHIR server holds and knows: definitions, our public key, scopes."""


@fhir.command("publish")
@click.option("--dry-run", is_flag=True, help="Only say what would be new.")
@as_json
@named_failures
def fhir_publish(dry_run: bool, as_json: bool) -> None:
    """Load our definitions into the FHIR server; status 1, and nothing written, if it holds another content of a version."""
    from services.operate import publish_definitions
    from services.parts.launcher import connected_settings

    found = publish_definitions(connected_settings(read_settings()), dry_run=dry_run)
    show_rows("definitions", [each.row for each in found], as_json, ("state", "type", "version", "url"))
    if mend := next((each.mend for each in found if each.mend), ""):
        fail(mend)


@fhir.command("definitions")
@click.option("--output", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder to write to.")
@named_failures
def fhir_definitions(output: Path) -> None:
    """Write our definitions as JSON files, one a resource."""
    from schemas.codes import Canonical
    from schemas.conformance import definition_files

    output.mkdir(parents=True, exist_ok=True)
    files = definition_files(Canonical(read_settings().canonical_base))
    for name, content in files.items():
        (output / name).write_bytes(content)
    say(f"{len(files)} definitions written")
