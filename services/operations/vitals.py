"""Whether a process lives and whether it can do its work. Liveness asks nobody else: an outage elsewhere must not restart everything here."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from schemas.telemetry.fields import fields
from schemas.telemetry.logs import reason_of

log = logging.getLogger(__name__)

Clock = Callable[[], float]
Beat = Callable[[], None]

ASK_SECONDS = 10.0
"""Between two questions to a part that is needed."""
PATIENCE_SECONDS = 35.0
"""How old a part's last good answer may be: three questions and a bit."""
LOOP_SECONDS = 180.0
"""How long a loop of ours may take for one round. What it waits for meanwhile has shorter limits of its own (Temporal 20 s, the bus 60 s, the
database 75 s), so that it gets round while all of them are away."""
EVENT_LOOP_SECONDS = 60.0


@dataclass(frozen=True)
class Loop:
    """When a loop last came round, and how long it may take."""

    beat: float
    limit: float


class Vitals:
    """What the probes are answered from; any thread may ask. Names of loops and needs are kebab-case codes."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._loops: dict[str, Loop] = {}
        self._answered: dict[str, float | None] = {}
        self._troubles: set[str] = set()
        self._ready = False
        self._stopping = threading.Event()

    def loop(self, name: str, limit: float = LOOP_SECONDS) -> Beat:
        """Watch a loop from now on; it calls what is returned each time it comes round."""

        def beat() -> None:
            self._loops[name] = Loop(self._clock(), limit)

        beat()
        return beat

    def needs(self, name: str, ask: Callable[[], object], every: float = ASK_SECONDS) -> None:
        """Ask a part again and again, in a thread of its own: one that hangs is noticed by the age of its last answer, and holds up nothing else.

        `ask` raises while the part is away; what it returns is not looked at.
        """
        self._answered[name] = None
        threading.Thread(target=self._keep_asking, args=(name, ask, every), name=f"needs-{name}", daemon=True).start()

    def trouble(self, name: str) -> None:
        """The process says of itself that it cannot do this part of its work; until `well`."""
        self._troubles.add(name)

    def well(self, name: str) -> None:
        self._troubles.discard(name)

    def ready(self) -> None:
        """The process has started."""
        self._ready = True

    def stop(self) -> None:
        """The process was told to end: it is ready for nothing new from this moment."""
        self._stopping.set()

    def loop_ages(self) -> dict[str, float]:
        """Seconds since each loop last came round."""
        now = self._clock()
        return {name: now - loop.beat for name, loop in list(self._loops.items())}

    def stalled(self) -> list[str]:
        """The loops that take too long; while the process ends, none: what it still has to do may take its time."""
        if self._stopping.is_set():
            return []
        now = self._clock()
        return sorted(name for name, loop in list(self._loops.items()) if now - loop.beat > loop.limit)

    def answering(self) -> dict[str, bool]:
        """Each part that is needed, and whether it has answered lately."""
        now = self._clock()
        return {name: at is not None and now - at <= PATIENCE_SECONDS for name, at in list(self._answered.items())}

    def missing(self) -> list[str]:
        """Why the process cannot do its work: `stopping`, `starting`, its own troubles, the parts that do not answer; empty when it can."""
        if self._stopping.is_set():
            return ["stopping"]
        away = sorted({*self._troubles, *(name for name, answers in self.answering().items() if not answers)})
        return [*([] if self._ready else ["starting"]), *away]

    def _keep_asking(self, name: str, ask: Callable[[], object], every: float) -> None:
        well = True
        while not self._stopping.is_set():
            try:
                ask()
            except Exception as error:  # its text may hold an address; whatever it is, the part did not answer
                if well:
                    log.warning("part-away", extra=fields(part=name, **reason_of(error)))
                well = False
            else:
                self._answered[name] = self._clock()
                if not well:
                    log.info("part-answers-again", extra=fields(part=name))
                well = True
            self._stopping.wait(every)
