"""`python -m scripts.cluster up|down`: starts or stops the control plane of `make cluster`, whose state is in .longview-cluster."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click

from schemas.errors import PartUnavailable
from scripts.cluster.plane import control_plane, kubeconfig, tools
from services.parts.launcher import Outcome

STATE = Path(".longview-cluster").resolve()
USAGE = "usage: python -m scripts.cluster up|down"


def main(words: list[str]) -> int:
    if words not in (["up"], ["down"]):
        click.echo(USAGE, err=True)
        return 2
    try:
        _up() if words == ["up"] else _down()
    except PartUnavailable as error:
        click.echo(f"cluster: {error}", err=True)
        return 1
    return 0


def _up() -> None:
    began = time.monotonic()
    control_plane(STATE, _report).up()
    click.echo(f"cluster: up after {time.monotonic() - began:.1f} s; to use it:", err=True)
    click.echo(f"export KUBECONFIG={kubeconfig(STATE)} PATH={tools()}:$PATH")


def _down() -> None:
    stopped = control_plane(STATE).down()
    click.echo(f"cluster: stopped: {', '.join(stopped)}" if stopped else "cluster: nothing was running", err=True)


def _report(outcome: Outcome) -> None:
    click.echo(f"cluster: {outcome.name:<12} {outcome.state:<8} {outcome.seconds:5.1f} s", err=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
