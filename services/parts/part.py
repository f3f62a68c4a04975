"""What a part is: how it is started, found, asked for its health, and which settings it gives to the others."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from services.settings import Settings

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Launch:
    """What a part is started with: settings as far as they are known, its port (0: it has none), its own folder, its ready file."""

    settings: Settings
    port: int
    folder: Path
    ready_file: Path
    aborted: threading.Event = field(default_factory=threading.Event)
    """Set when another part has failed: whatever takes long stops then."""
    listens_on: str = HOST
    reached_as: str = HOST
    """The host by which others find the part: a Service's name where each part has a container of its own."""

    @property
    def address(self) -> str:
        return f"{self.reached_as}:{self.port}"


@dataclass(frozen=True)
class Command:
    arguments: list[str]
    environment: dict[str, str]


Provides = dict[str, str]
"""Settings that a part gives to the others: name -> value."""


@dataclass(frozen=True)
class Part:
    """One part. With `command` it is a process; with only `step` it is something that is done once and leaves no process."""

    name: str
    title: str
    package: str
    mend: str
    needs: tuple[str, ...] = ()
    setting: str = ""
    """The setting that names a part which is already there; then it is checked and not started."""
    command: Callable[[Launch], Command] | None = None
    step: Callable[[Launch], Provides] | None = None
    """For a process: done once it is healthy."""
    step_when_found: bool = False
    provides: Callable[[Launch], Provides] = field(default=lambda launch: {})
    healthy: Callable[[Launch], None] = field(default=lambda launch: None)
    found: Callable[[Settings], None] = field(default=lambda settings: None)
    has_port: bool = True
    patience: float = 60.0
    grace: float = 10.0
    loses: str = ""
    """What a restart of the part loses."""

    @property
    def version(self) -> str:
        try:
            return version(self.package)
        except PackageNotFoundError:
            return "not installed"
