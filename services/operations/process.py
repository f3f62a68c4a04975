"""What a process is given to be operated with: its vitals, its meter, and, where the settings name a port, the server that tells of both."""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from services.operations.build import code_digest
from services.operations.meter import Meter, gauge, install
from services.operations.metrics import Process
from services.operations.server import OperationsServer
from services.operations.vitals import EVENT_LOOP_SECONDS, Beat, Vitals
from services.settings import Settings

BEAT_SECONDS = 1.0


class Operations:
    """Handed to a process by `services.bootstrap`; without a port it watches all the same and tells nobody."""

    def __init__(self, process: Process, settings: Settings) -> None:
        self.vitals = Vitals()
        self.meter = Meter(process)
        self._ready_file = settings.ready_file
        self._address = (settings.operations_host, settings.operations_port)

    @property
    def served(self) -> bool:
        """Whether anybody can ask."""
        return bool(self._address[1])

    def ready(self) -> None:
        """The process has started: says so to probes, and in the ready file, which the launcher looks for."""
        self.vitals.ready()
        if self._ready_file:
            Path(self._ready_file).write_text(f"{os.getpid()}\n")

    def loop(self, name: str) -> Beat:
        """See `Vitals.loop`."""
        return self.vitals.loop(name)

    def needs(self, name: str, ask: Callable[[], object]) -> None:
        """See `Vitals.needs`; nobody is asked where nobody wants to know."""
        if self.served:
            self.vitals.needs(name, ask)

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Record and, with a port, answer inside the block; called on the process's event loop before anything else is begun."""
        install(self.meter)
        _say_build()
        beating = asyncio.create_task(_beat(self.vitals.loop("event-loop", EVENT_LOOP_SECONDS)))
        host, port = self._address
        server = OperationsServer(host, int(port), self.vitals, self._page) if port else None
        try:
            yield
        finally:
            beating.cancel()
            if server is not None:
                server.close()
            install(None)

    def _page(self) -> bytes:
        gauge("longview_ready", not self.vitals.missing())
        for need, answers in self.vitals.answering().items():
            gauge("longview_need_answers", answers, need=need)
        for loop, age in self.vitals.loop_ages().items():
            gauge("longview_loop_age_seconds", age, loop=loop)
        return self.meter.page()


async def _beat(beat: Beat) -> None:
    with suppress(asyncio.CancelledError):
        while True:
            beat()
            await asyncio.sleep(BEAT_SECONDS)


def _say_build() -> None:
    gauge("longview_build_info", 1, version=importlib.metadata.version("longview"), build=code_digest())
