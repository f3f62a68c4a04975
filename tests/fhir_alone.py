"""The embedded FHIR server by itself, for tests whose clients know nothing but its address: it asks for no token."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from services.parts.catalog import FHIR
from services.parts.launcher import Launcher
from services.parts.part import Command, Launch
from services.settings import Settings


def _without_token(launch: Launch) -> Command:
    assert FHIR.command is not None
    return FHIR.command(replace(launch, settings=replace(launch.settings, fhir_token="")))


@contextmanager
def fhir_alone(folder: Path) -> Iterator[str]:
    """Its base URL."""
    launcher = Launcher(Settings(state_dir=str(folder)), parts=(replace(FHIR, command=_without_token),))
    launcher.up(["fhir"])
    try:
        yield launcher.settings.fhir_url
    finally:
        launcher.down()
