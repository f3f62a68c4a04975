"""`python -m model_runtime`: build the untrained checkpoint, describe another, serve one, probe a server."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import click

from model_runtime.settings import TOKEN, ServerSettings, options, refuse_unknown, take_token
from schemas.errors import LongviewError

FOLDER = click.Path(path_type=Path, file_okay=False)
EXISTING = click.Path(path_type=Path, file_okay=False, exists=True)


@click.group(help=__doc__)
def main() -> None:
    pass


@main.command()
@click.option("--cache", type=FOLDER, required=True, help="Where checkpoints are kept.")
def build(cache: Path) -> None:
    """Build the untrained checkpoint, unless it is there, and print its folder."""
    from model_runtime.checkpoint import build_checkpoint

    click.echo(str(build_checkpoint(cache.resolve())))


@main.command()
@click.option("--checkpoint", type=EXISTING, required=True, help="A folder in the layout of MedGemma 1.5.")
@click.option("--name", required=True, help="What people read as the model's name, for example medgemma-1.5-4b-it.")
@click.option("--manufacturer", default="unknown", show_default=True, help="Who made it.")
def describe(checkpoint: Path, name: str, manufacturer: str) -> None:
    """Write release.json into a checkpoint's folder and print its path."""
    from model_runtime.release import described_release, write_release

    click.echo(str(write_release(checkpoint, described_release(checkpoint, name, manufacturer))))


@main.command()
@options
def serve(**given: Any) -> None:
    """Serve a checkpoint over vLLM's OpenAI API until SIGTERM; every option can be given as LONGVIEW_MODEL_SERVER_<NAME> too."""
    from model_runtime.checkpoint import build_checkpoint
    from model_runtime.promises import require_versions
    from model_runtime.release import read_release
    from model_runtime.serving import Serving, environment, metrics_folder

    settings = ServerSettings(**given)
    refuse_unknown(os.environ)
    token = take_token(settings, os.environ)
    require_versions()
    if settings.ready_file is not None:
        settings.ready_file.unlink(missing_ok=True)
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    cache = (settings.cache or base / "longview").resolve()
    folder = settings.checkpoint.resolve() if settings.checkpoint else build_checkpoint(cache)
    serving = Serving(folder, read_release(folder), cache, settings.media_folder(), settings)
    shutil.rmtree(metrics_folder(serving), ignore_errors=True)  # of a server that used the port before
    metrics_folder(serving).mkdir(parents=True)
    os.environ.update(environment(serving, os.environ))
    from model_runtime.server import run

    run(serving, token)


@main.command()
@click.option("--url", required=True, help="The server's address, for example http://127.0.0.1:8000.")
@click.option("--patience", type=float, default=60.0, show_default=True, help="Seconds to wait.")
@click.option("--token-file", type=click.Path(path_type=Path), help=f"File of the worker's token (or {TOKEN}).")
def probe(url: str, patience: float, token_file: Path | None) -> None:
    """Ask a server one question of each kind; exit status 0 once all have been answered."""
    from model_runtime.warm_up import wait_until_ready

    token = take_token(ServerSettings(token_file=token_file), os.environ)
    seconds = asyncio.run(wait_until_ready(url, patience, token=token))
    click.echo(f"ready after {seconds:.1f} s")


@main.command()
def windows() -> None:
    """Measure how long a CT takes to become grey levels, by numpy and on this machine's device."""
    import orjson

    from model_runtime.window_speed import window_seconds

    click.echo(orjson.dumps(window_seconds()).decode())


if __name__ == "__main__":
    try:
        main()
    except LongviewError as failure:
        click.echo(failure.hint or failure.code, err=True)
        sys.exit(1)
