"""`python -m model_runtime`: build the untrained checkpoint, describe another, quantize one, serve one, probe a server."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import click

from schemas.errors import LongviewError

FOLDER = click.Path(path_type=Path, file_okay=False)
EXISTING = click.Path(path_type=Path, file_okay=False, exists=True)


@click.group(help=__doc__)
def main() -> None:
    pass


@main.command()
@click.option("--cache", type=FOLDER, required=True, help="Where checkpoints are kept.")
@click.option(
    "--size",
    type=click.Choice(["tiny", "bench"]),
    default="tiny",
    show_default=True,
    help="bench: 95 million parameters.",
)
def build(cache: Path, size: str) -> None:
    """Build the untrained checkpoint, unless it is there, and print its folder."""
    from model_runtime.checkpoint import build_checkpoint

    click.echo(str(build_checkpoint(cache.resolve(), size)))


@main.command()
@click.option("--checkpoint", type=EXISTING, required=True, help="A folder in the layout of MedGemma 1.5.")
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
@click.option(
    "--cache",
    type=FOLDER,
    help="Serve the untrained checkpoint of this cache; with --checkpoint, where vLLM keeps its own.",
)
@click.option("--checkpoint", type=EXISTING, help="Serve this checkpoint; it must have been described.")
@click.option("--port", type=int, required=True)
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--media-dir", type=EXISTING, required=True, help="The only folder that file: URLs may name.")
@click.option("--ready-file", type=click.Path(path_type=Path), help="Written once a question has been answered.")
def serve(
    cache: Path | None, checkpoint: Path | None, port: int, host: str, media_dir: Path, ready_file: Path | None
) -> None:
    """Serve a checkpoint over vLLM's OpenAI API until SIGTERM."""
    from model_runtime.checkpoint import build_checkpoint
    from model_runtime.release import read_release
    from model_runtime.serving import Serving, environment

    if ready_file is not None:
        ready_file.unlink(missing_ok=True)
    cache = (cache or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "longview").resolve()
    folder = checkpoint.resolve() if checkpoint else build_checkpoint(cache)
    serving = Serving(folder, read_release(folder), cache, media_dir.resolve(), host, port)
    os.environ.update(environment(cache, os.environ))
    from model_runtime.server import run

    run(serving, ready_file)


@main.command()
@click.option("--url", required=True, help="The server's address, for example http://127.0.0.1:8000.")
@click.option("--patience", type=float, default=60.0, show_default=True, help="Seconds to wait.")
def probe(url: str, patience: float) -> None:
    """Ask a server one question about a tiny volume; exit status 0 once it has answered."""
    from model_runtime.warm_up import wait_until_ready

    seconds = asyncio.run(wait_until_ready(url, patience))
    click.echo(f"ready after {seconds:.1f} s")


if __name__ == "__main__":
    try:
        main()
    except LongviewError as failure:
        click.echo(failure.hint or failure.code, err=True)
        sys.exit(1)
