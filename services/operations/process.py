"""What a process is given to be operated with: its vitals, its meter, and, where the settings name a port, the server that tells of both."""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from services.operations.build import code_digest
from services.operations.meter import Meter, gauge, install
from services.operations.metric import Process
from services.operations.server import OperationsServer
from services.operations.vitals import EVENT_LOOP_SECONDS, Beat, Vitals
from services.settings import Settings

if TYPE_CHECKING:
    from services.operations.database_state import Sample

BEAT_SECONDS = 1.0


class Operations:
    """Handed to a process by `services.bootstrap`; without a port it watches all the same and tells nobody."""

    def __init__(self, process: Process, settings: Settings) -> None:
        self._process = process
        self.vitals = Vitals()
        self.meter = Meter(process)
        self._before_page: list[Callable[[], None]] = []
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
        self._say_build()
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

    def measure_temporal(self) -> None:
        """Record what Temporal's SDK measures; to be called before a client is made."""
        if self.served:
            from services.operations.temporal import SdkMetrics

            self._before_page.append(SdkMetrics().drain)

    def tell_state(self, read: Callable[[datetime], list[Sample]]) -> None:
        """Tell what the database holds at each scrape."""
        from services.operations.database_state import DatabaseState

        self.meter.collect_from(DatabaseState(read))

    def before_page(self, look: Callable[[], None]) -> None:
        """Call `look` before each scrape, to set what is cheap to ask and changes by itself."""
        self._before_page.append(look)

    def _page(self) -> bytes:
        for look in self._before_page:
            look()
        gauge("longview_ready", not self.vitals.missing(), process=self._process)
        for need, answers in self.vitals.answering().items():
            gauge("longview_need_answers", answers, process=self._process, need=need)
        for loop, age in self.vitals.loop_ages().items():
            gauge("longview_loop_age_seconds", age, process=self._process, loop=loop)
        return self.meter.page()

    def _say_build(self) -> None:
        version = importlib.metadata.version("longview")
        gauge("longview_build_info", 1, process=self._process, version=version, build=code_digest())


async def _beat(beat: Beat) -> None:
    with suppress(asyncio.CancelledError):
        while True:
            beat()
            await asyncio.sleep(BEAT_SECONDS)
