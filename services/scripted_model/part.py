"""The scripted model in the place of vLLM among the launcher's parts."""

from __future__ import annotations

from dataclasses import replace

from services.parts.catalog import CHECKPOINT, MODEL, PARTS, PYTHON
from services.parts.environment import model_telemetry, model_token, part_environment
from services.parts.part import Command, Launch, Part, Provides
from services.scripted_model.server import write_release


def _release(launch: Launch) -> Provides:
    return {"model_release": str(write_release(launch.folder))}


def _serve(launch: Launch) -> Command:
    launch.settings.store.mkdir(parents=True, exist_ok=True, mode=0o700)
    arguments = ["services.scripted_model", "--port", str(launch.port), "--media-dir", str(launch.settings.store)]
    environment = part_environment() | model_token(launch.settings) | model_telemetry(launch.settings)
    return Command([*PYTHON, *arguments, "--ready-file", str(launch.ready_file)], environment)


SCRIPTED = {
    "checkpoint": replace(CHECKPOINT, title="the scripted model's release", setting="", step=_release),
    "model": replace(MODEL, title="the scripted model", setting="", command=_serve),
}


def with_scripted_model(parts: tuple[Part, ...] = PARTS) -> tuple[Part, ...]:
    """The same parts, vLLM and its checkpoint replaced."""
    return tuple(SCRIPTED.get(part.name, part) for part in parts)
