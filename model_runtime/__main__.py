"""`python -m model_runtime`: build an untrained checkpoint; convert, check, describe and quantize another; serve one; probe a server."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import click
import orjson

from model_runtime.settings import TOKEN, ServerSettings, options, refuse_unknown, take_token
from schemas.errors import LongviewError
from schemas.families import FAMILIES, MEDGEMMA
from schemas.telemetry.logs import configure

FOLDER = click.Path(path_type=Path, file_okay=False)
EXISTING = click.Path(path_type=Path, file_okay=False, exists=True)

FAMILY = click.option(
    "--family", type=click.Choice(list(FAMILIES)), default=MEDGEMMA.name, show_default=True, help="A family of models."
)


@click.group(help=__doc__)
def main() -> None:
    pass


@main.command()
@click.option("--cache", type=FOLDER, required=True, help="Where checkpoints are kept.")
@FAMILY
@click.option(
    "--size",
    type=click.Choice(["tiny", "bench"]),
    default="tiny",
    show_default=True,
    help="bench: 95 million parameters, of MedGemma alone.",
)
@click.option("--link", type=click.Path(path_type=Path), help="A symbolic link to make of it, for a name that stays.")
def build(cache: Path, family: str, size: str, link: Path | None) -> None:
    """Build the untrained checkpoint of a family, unless it is there, and print its folder."""
    from model_runtime.checkpoint import build_checkpoint, link_checkpoint

    folder = build_checkpoint(cache.resolve(), FAMILIES[family], size)
    if link is not None:
        link_checkpoint(folder, link)
    click.echo(str(folder))


@main.command()
@click.option("--from", "published", type=EXISTING, required=True, help="The folder as its publisher gives it.")
@click.option("--to", "target", type=FOLDER, help="The folder to write; none for MedGemma, which is served as it is.")
@click.option("--family", default="", help="What it should be; told from config.json without.")
@click.option(
    "--vision-tower", type=EXISTING, help="Folder of openai/clip-vit-large-patch14-336, if apart (LLaVA-Med)."
)
@click.option(
    "--dtype", type=click.Choice(["float32", "bfloat16"]), help="Type of the numbers (default: as published)."
)
@click.option("--name", default="", help="What people read as the model's name (default: the family's).")
@click.option("--manufacturer", default="unknown", show_default=True, help="Who made it.")
def convert(
    published: Path,
    target: Path | None,
    family: str,
    vision_tower: Path | None,
    dtype: str | None,
    name: str,
    manufacturer: str,
) -> None:
    """Make a publisher's checkpoint one that can be served, describe it, and print its folder."""
    from model_runtime.families.convert import convert as converted

    folder = converted(
        published, target, family=family, tower=vision_tower, dtype=dtype or "", name=name, manufacturer=manufacturer
    )
    click.echo(str(folder))


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
@click.option("--quick", is_flag=True, help="Do not hash the weights.")
def check(folder: Path, as_json: bool, quick: bool) -> None:
    """Say whether a folder of weights can be served, in how much memory, and what is missing; status 1 if it cannot."""
    from model_runtime.families.check import check_folder
    from model_runtime.families.screen import screen

    report = check_folder(folder, digest=not quick)
    click.echo(orjson.dumps(report.as_document(), option=orjson.OPT_INDENT_2).decode() if as_json else screen(report))
    sys.exit(0 if report.servable else 1)


@main.command()
@click.option("--checkpoint", type=EXISTING, required=True, help="A folder that can be served.")
@click.option("--name", required=True, help="What people read as the model's name, for example medgemma-1.5-4b-it.")
@click.option("--manufacturer", default="unknown", show_default=True, help="Who made it.")
def describe(checkpoint: Path, name: str, manufacturer: str) -> None:
    """Write release.json into a checkpoint's folder and print its path."""
    from model_runtime.release import described_release, write_release

    click.echo(str(write_release(checkpoint, described_release(checkpoint, name, manufacturer))))


@main.command()
@click.option("--checkpoint", type=EXISTING, required=True, help="A described checkpoint that can be served.")
@click.option("--bits", type=click.Choice(["8", "4"]), required=True, help="8: W8A8; 4: W4A16.")
@click.option(
    "--group", type=click.Choice(["128", "32"]), help="Weights with one scale, in 4 bit; by default what divides."
)
@click.option("--out", type=FOLDER, required=True, help="The folder to write; it must not be there.")
def quantize(checkpoint: Path, bits: str, group: str | None, out: Path) -> None:
    """Write a checkpoint with rounded weights and a release of its own, and print its folder."""
    from model_runtime.quantize.folder import quantize_checkpoint

    size = int(group) if group else None
    click.echo(str(quantize_checkpoint(checkpoint.resolve(), out.resolve(), 8 if bits == "8" else 4, size)))


@main.command()
@options
def serve(**given: Any) -> None:
    """Serve a checkpoint over vLLM's OpenAI API until SIGTERM; every option can be given as LONGVIEW_MODEL_SERVER_<NAME> too."""
    from model_runtime.checkpoint import built_apart
    from model_runtime.promises import require_versions
    from model_runtime.release import read_release
    from model_runtime.serving import Serving, environment, metrics_folder

    settings = ServerSettings(**given)
    configure("json" if settings.log_format == "json" else "text", level=logging.WARNING)
    refuse_unknown(os.environ)
    token = take_token(settings, os.environ)
    require_versions()
    if settings.ready_file is not None:
        settings.ready_file.unlink(missing_ok=True)
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    cache = (settings.cache or base / "longview").resolve()
    folder = settings.checkpoint.resolve() if settings.checkpoint else built_apart(cache, FAMILIES[settings.family])
    serving = Serving(folder, read_release(folder), cache, settings.media_folder(), settings)
    shutil.rmtree(metrics_folder(serving), ignore_errors=True)  # of a server that used the port before
    metrics_folder(serving).mkdir(parents=True)
    os.environ.update(environment(serving, os.environ))
    from model_runtime.server import run

    run(serving, token)


@main.command()
@click.option("--url", required=True, help="The server's address, for example http://127.0.0.1:8000.")
@click.option("--patience", type=float, default=60.0, show_default=True, help="Seconds to wait.")
@FAMILY
@click.option("--token-file", type=click.Path(path_type=Path), help=f"File of the worker's token (or {TOKEN}).")
def probe(url: str, patience: float, token_file: Path | None, family: str) -> None:
    """Ask a server one question of each kind; exit status 0 once all have been answered."""
    from model_runtime.warm_up import wait_until_ready

    token = take_token(ServerSettings(token_file=token_file), os.environ)
    seconds = asyncio.run(wait_until_ready(url, patience, token=token, family=FAMILIES[family]))
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
