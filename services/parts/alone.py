"""One embedded part in the foreground, as the only process of a container: its log is ours, and so is its end."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

from schemas.errors import PartUnavailable
from services.parts.catalog import ARCHIVE, BROKER, FHIR, TEMPORAL
from services.parts.part import Launch, Part
from services.parts.probes import NotReady
from services.settings import Settings

ALONE = {part.name: part for part in (BROKER, TEMPORAL, FHIR, ARCHIVE)}
"""What is not ours to run otherwise: the other processes have commands of their own."""
POLL_SECONDS = 0.1


def run_alone(name: str, settings: Settings, port: int, *, listens_on: str, reached_as: str) -> int:
    """Start the part, do its step once it is healthy, and wait for its end; returns its status, or 0 where we were told to stop.

    `PartUnavailable` where there is no such part, or it does not become healthy in time.
    """
    if name not in ALONE:
        raise PartUnavailable("part-unknown", f"there is no such part: name one of {', '.join(ALONE)}.")
    part, state = ALONE[name], settings.state
    launch = Launch(
        settings, port, state / name, state / "run" / f"{name}.ready", listens_on=listens_on, reached_as=reached_as
    )
    launch = replace(launch, settings=replace(settings, **part.provides(launch)))
    launch.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    child = _start(part, launch)
    try:
        _await(part, launch, child)
        if part.step is not None:
            part.step(launch)
        return child.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        _end(child, part.grace)


def _start(part: Part, launch: Launch) -> subprocess.Popen[bytes]:
    assert part.command is not None
    command = part.command(launch)
    try:
        return subprocess.Popen(
            command.arguments,
            cwd=launch.folder,
            env=command.environment,
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr,
            start_new_session=True,
        )
    except OSError as error:
        program = Path(command.arguments[0]).name
        raise PartUnavailable(
            f"part-{part.name}", f"{part.title} cannot start: {program} cannot be run: install longview[demo]."
        ) from error


def _await(part: Part, launch: Launch, child: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + part.patience
    while True:
        if child.poll() is not None:
            raise PartUnavailable(f"part-{part.name}", f"{part.title} cannot start: see its last lines above.")
        try:
            part.healthy(launch)
            return
        except NotReady as reason:
            if time.monotonic() > deadline:
                raise PartUnavailable(
                    f"part-{part.name}", f"{part.title} cannot start: {reason} after {part.patience:.0f} s."
                ) from reason
        time.sleep(POLL_SECONDS)


def _end(child: subprocess.Popen[bytes], grace: float) -> None:
    """SIGTERM, and SIGKILL to one that has not ended within `grace` seconds."""
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(grace)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
