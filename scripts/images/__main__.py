"""`python -m scripts.images`: build our images, check their Dockerfiles; where no builder is, replay their steps and run what came of it."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import click

from scripts.images import base, catalog, dockerfile, sandbox
from scripts.images.replay import Inputs, Replayed, replay, size, tree_digest

BUILDERS = ("docker", "podman", "buildah")
TARGET = click.Choice(list(catalog.TARGETS))


@click.group(help=__doc__)
def main() -> None:
    pass


def builder() -> str:
    """The first of docker, podman and buildah that answers; a client without its server does not count."""
    for name in BUILDERS:
        if shutil.which(name) and subprocess.run([name, "info"], capture_output=True, check=False).returncode == 0:
            return name
    return ""


@main.command()
@click.argument("targets", nargs=-1, type=TARGET, required=True)
def build(targets: Sequence[str]) -> None:
    """Build images with whatever builder is here, tagged with the project's version."""
    program = builder()
    if not program:
        raise click.ClickException(
            "no docker, podman or buildah answers here: see docs/images.md for what can be done without."
        )
    for target in targets:
        command = [program, "build", "-f", str(catalog.DOCKERFILES[catalog.TARGETS[target]]), "--target", target]
        command += ["-t", f"{catalog.TAGS[target]}:{catalog.version()}"]
        command += [word for name, value in catalog.arguments().items() for word in ("--build-arg", f"{name}={value}")]
        with catalog.secrets() as secrets:
            command += [word for name, path in secrets.items() for word in ("--secret", f"id={name},src={path}")]
            subprocess.run([*command, str(catalog.ROOT)], check=True)


@main.command()
def check() -> None:
    """hadolint, and that every Dockerfile is one that can be replayed."""
    program = str(Path(sys.executable).with_name("hadolint"))
    linted = subprocess.run([program, *map(str, catalog.DOCKERFILES.values())], check=False)
    for path in catalog.DOCKERFILES.values():
        dockerfile.read(path)
    sys.exit(linted.returncode)


def cannot() -> str:
    """Why nothing can be replayed here; empty if it can."""
    return sandbox.available() or base.available()


def replay_targets(targets: Sequence[str], work: Path) -> dict[str, Replayed]:
    """TARGETS, all of one Dockerfile, into folders of their names in WORK, which must not exist."""
    kept = catalog.cache()
    kept.mkdir(parents=True, exist_ok=True)
    recipe = hashlib.sha256(Path(base.__file__).read_bytes()).hexdigest()[:8]
    stand_in = kept / f"base-{'.'.join(map(str, sys.version_info[:3]))}-{recipe}"
    for older in kept.glob("base-*"):
        if older != stand_in:
            shutil.rmtree(older)
    base.make(stand_in)
    with catalog.secrets() as secrets:
        inputs = Inputs(catalog.ROOT, stand_in, kept / "caches", secrets, catalog.arguments())
        return replay(catalog.read(targets[0]), targets, inputs, work, click.echo)


@main.command("replay")
@click.argument("targets", nargs=-1, type=TARGET, required=True)
def replay_command(targets: Sequence[str]) -> None:
    """Do the steps of targets of one Dockerfile in clean folders, which stay in the cache for `run`."""
    if why := cannot():
        raise click.ClickException(f"nothing can be replayed here: {why}.")
    if len({catalog.TARGETS[target] for target in targets}) > 1:
        raise click.ClickException("say targets of one Dockerfile.")
    begun = time.monotonic()
    work = catalog.cache() / f"replaying-{'-'.join(targets)}"
    shutil.rmtree(work, ignore_errors=True)
    try:
        done = replay_targets(targets, work)
    except (subprocess.CalledProcessError, ValueError, OSError) as error:
        status = f"status {error.returncode}" if isinstance(error, subprocess.CalledProcessError) else str(error)
        raise click.ClickException(f"a step failed, see above: {status}.") from error
    for target in targets:
        place = replayed(target)
        shutil.rmtree(place, ignore_errors=True)
        place.parent.mkdir(exist_ok=True)
        done[target].root.rename(place)
        click.echo(f"{target}: {size(place) / 1e6:.0f} MB, tree {tree_digest(place / 'opt')[:16]}, {place}")
    shutil.rmtree(work)
    click.echo(f"replayed in {time.monotonic() - begun:.0f} s")


def replayed(target: str) -> Path:
    return catalog.cache() / "replayed" / target


@main.command(context_settings={"ignore_unknown_options": True})
@click.argument("target", type=TARGET)
@click.option("--env", multiple=True, metavar="NAME=VALUE")
@click.option(
    "--mount",
    multiple=True,
    metavar="SOURCE:TARGET[:rw]",
    help="A folder or file of this machine, read-only without :rw.",
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def run(target: str, env: Sequence[str], mount: Sequence[str], arguments: Sequence[str]) -> None:
    """Run a replayed image as its user, on a read-only root, without a shell where it needs none."""
    if not replayed(target).is_dir():
        raise click.ClickException(f"{target} was not replayed yet: make images-replay TARGET={target}")
    config = dockerfile.configuration(catalog.read(target), target)
    environment = config.environment | dict(each.split("=", 1) for each in env)
    binds = [sandbox.Bind(Path(source), place, writable=more == "rw") for source, place, more in map(_mount, mount)]
    command = [*config.entrypoint, *(arguments or config.command)]
    shell = target in catalog.NEED_SHELL
    process = sandbox.start(replayed(target), command, environment, user=config.user, binds=binds, shell=shell)
    try:
        sys.exit(process.wait(None))
    except KeyboardInterrupt:
        sys.exit(process.wait(60))


def _mount(text: str) -> tuple[str, str, str]:
    source, place, *more = text.split(":")
    return source, place, more[0] if more else ""


if __name__ == "__main__":
    main()
