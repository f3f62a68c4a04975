"""The audit trail."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import Any

import click

from services.cli.base import as_json, main, named_failures, read_settings, say, table


@main.command()
@click.option("--since", type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M"]), help="From then on, UTC.")
@click.option("--patient", metavar="Patient/ID", help="Only entries about this patient.")
@click.option("--result", metavar="ID", help="Only entries about this result.")
@click.option("--limit", type=click.IntRange(min=1), default=200, show_default=True, help="The newest so many.")
@click.option("--verify", is_flag=True, help="Check that no entry was changed or removed; status 1 if one was.")
@click.option("--anchor", metavar="SEQ:HASH", help="With --verify: a head that was noted earlier must still be there.")
@as_json
@named_failures
def audit(
    since: datetime | None,
    patient: str | None,
    result: str | None,
    limit: int,
    verify: bool,
    anchor: str | None,
    as_json: bool,
) -> None:
    """Who did what to whose data, newest first. Looking here is recorded too."""
    from services.audit import list_audit, verify_audit
    from services.parts.launcher import connected_settings

    settings = connected_settings(read_settings())
    if anchor and not verify:
        raise click.UsageError("--anchor goes with --verify")
    if verify:
        _show_verified(verify_audit(settings, anchor), as_json)
        return
    utc = since.replace(tzinfo=UTC) if since else None
    rows = list_audit(settings, since=utc, patient=patient, result_id=result, limit=limit)
    if as_json:
        click.echo(json.dumps({"audit": rows}, indent=2))
    elif not rows:
        say("no entries")
    else:
        table("audit", ["at", "what", "outcome", "who", "from", "patient", "data"], [_cells(row) for row in rows])


def _cells(row: dict[str, Any]) -> list[str]:
    who = row.get("person", {}).get("name") or f"longview-{row['process']}"
    outcome = ": ".join(filter(None, [row["outcome"], row.get("code")]))
    data = row.get("data") or row.get("query") or row.get("part") or ""
    return [row["at"][:19] + "Z", row["kind"], outcome, who, row.get("address") or "", row.get("patient") or "", data]


def _show_verified(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(found, indent=2, default=str))
    elif found["intact"]:
        click.echo(f"{found['rows']} entries, none changed or removed. Head: {found['head']}")
    else:
        say(
            f"longview: entry {found['broken_at']} of the audit trail {found['reason']}: keep the database as it is, and tell security."
        )
    if not as_json and found.get("undelivered"):
        say(
            f"{found['undelivered']} entries wait for the audit repository, the oldest since {found['oldest_undelivered']:%Y-%m-%d %H:%MZ}"
        )
    sys.exit(0 if found["intact"] else 1)
