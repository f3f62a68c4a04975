"""Models: which families there are, and a folder of weights converted, quantized, served, checked by the model runtime in a process of its own."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys

import click

from services.cli.base import as_json, fail, main, named_failures, table

PASSED_ON = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}
"""The runtime's own options, `--help` among them."""
NEEDS_RUNTIME = "vllm"


@main.group()
def model() -> None:
    """Families of models, and folders of weights."""


@model.command("list")
@as_json
@named_failures
def list_families(as_json: bool) -> None:
    """The families, what each takes, and within which limits."""
    from dataclasses import asdict

    from schemas.families import FAMILIES

    if as_json:
        rows = [asdict(family) | {"takes": sorted(family.takes)} for family in FAMILIES.values()]
        click.echo(json.dumps({"families": rows}, indent=2))
        return
    columns = ["family", "parameters", "takes", "pictures", "tokens", "served as"]
    table(
        "families of models",
        columns,
        [
            [f.name, f.parameters, f.spoken, str(f.most_pictures), f"{f.context:,}", f.served_architecture]
            for f in FAMILIES.values()
        ],
    )


def _pass_on(command: str, told: str, *, heavy: bool = True) -> None:
    """A command of the runtime as one of `longview model`, with whatever arguments it takes."""

    @model.command(command, help=told, context_settings=PASSED_ON, add_help_option=False)
    @click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
    @named_failures
    def run(arguments: tuple[str, ...]) -> None:
        _runtime(command, arguments, heavy=heavy)


def _runtime(command: str, arguments: tuple[str, ...], *, heavy: bool) -> None:
    """The runtime's command as a child at the same terminal; ends with the child's status, and the child with us."""
    if heavy and importlib.util.find_spec(NEEDS_RUNTIME) is None:
        fail("the model runtime is not installed here: install longview[runtime].")
    child = subprocess.Popen([sys.executable, "-P", "-m", "model_runtime", command, *arguments])
    try:
        status = child.wait()
    except KeyboardInterrupt:  # SIGTERM too (services.cli.base); the child may have got it from the terminal already
        child.terminate()
        status = child.wait()
    sys.exit(status if status >= 0 else 128 - status)


_pass_on("convert", "Make a publisher's checkpoint one that can be served.")
_pass_on("quantize", "Write a checkpoint with 8 or 4 bits a weight.")
_pass_on("serve", "Serve a checkpoint until told to stop.")
_pass_on("check", "Say whether a folder of weights can be served, and what is missing.", heavy=False)
