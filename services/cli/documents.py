"""Documents of the chart."""

from __future__ import annotations

import json

import click

from services.cli.base import as_json, main, named_failures, read_settings, say, table


@main.group()
def document() -> None:
    """Laboratory reports and other documents."""


@document.command("extract")
@click.argument("target", metavar="FILE|DiagnosticReport/ID|DocumentReference/ID")
@click.option("--no-model", is_flag=True, help="Read rows by their geometry alone; the model is not asked.")
@as_json
@named_failures
def document_extract(target: str, no_model: bool, as_json: bool) -> None:
    """Show the values of a PDF or text, each with the line it stands in. Nothing is written. Shows what the document says, here alone."""
    from services.audit import record_operator
    from services.extract_document import as_document, extract, print_extracted
    from services.parts.launcher import connected_settings

    settings = read_settings()
    in_fhir = target.startswith(("DiagnosticReport/", "DocumentReference/"))
    if in_fhir or not no_model:
        settings = connected_settings(settings)
    if in_fhir:
        record_operator(settings, "document-read", data=target)
    found = extract(settings, target, ask=not no_model)
    if as_json:
        click.echo(json.dumps(as_document(found), indent=2))
    else:
        print_extracted(found, table)
        say("Unverified: compare each value with its line.")
