"""Brings the parts up in parallel, each after those it needs, and down again; a part that fails takes down what was started with it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from schemas.errors import LongviewError, PartUnavailable
from services.parts.catalog import PARTS
from services.parts.environment import absolute
from services.parts.part import HOST, Launch, Part, Provides
from services.parts.ports import choose_ports
from services.parts.probes import NotReady
from services.parts.process import ProcessId, is_alive, spawn, stop
from services.parts.scrub import last_words, scrub
from services.parts.state import (
    PartRecord,
    PartsFile,
    launcher_lock,
    model_token_file,
    parts_token_file,
    payload_key_file,
    secrets_in,
)
from services.secret_file import read_secret
from services.settings import Settings

HEALTH_POLL_SECONDS = 0.1
PORT_TRIES, PORT_PAUSE_SECONDS, PORT_TAKEN = 3, 1.0, "address already in use"

OutcomeState = Literal["started", "running", "found", "done"]


@dataclass(frozen=True)
class Outcome:
    """What became of one part: started now, running already, found by its setting, or (a step) done."""

    name: str
    state: OutcomeState
    url: str
    seconds: float
    note: str = ""


Report = Callable[[Outcome], None]


class Launcher:
    """The parts of one state folder."""

    def __init__(
        self, settings: Settings, *, parts: tuple[Part, ...] = PARTS, report: Report = lambda outcome: None
    ) -> None:
        self._given = settings
        self._parts = {part.name: part for part in parts}
        self._report = report
        self._file = PartsFile(settings.state)
        self._aborted = threading.Event()
        self._guard = threading.Lock()
        self._provided: Provides = {}

    @property
    def settings(self) -> Settings:
        """The settings given, completed by what the recorded parts provide: how another process reaches them."""
        provided: Provides = dict(self._provided)
        for record in self._file.read().values():
            provided |= record.provides
        if self._given.inbox_url:
            provided.pop("inbox_url", None)  # the address that people use may be another than the one it listens on
        key = self._given.payload_key_file or str(payload_key_file(self._given.state))
        secrets = {"payload_key_file": key, "model_token_file": self._model_token_file()} | self._parts_tokens()
        return absolute(replace(self._given, **(provided | secrets)))

    def _parts_tokens(self) -> dict[str, str]:
        """For the FHIR server and the archive, where these are started here and no other token was given."""
        given = self._given
        ours = [name for name in ("fhir", "dicomweb") if not getattr(given, f"{name}_url")]
        wanted = [f"{name}_token" for name in ours if not getattr(given, f"{name}_token")]
        return dict.fromkeys(wanted, read_secret(parts_token_file(given.state))) if wanted else {}

    def _model_token_file(self) -> str:
        """The one given; one of our own for a model server that is started here."""
        given = self._given
        ours = not (given.model_url or given.model_token or given.model_token_file)
        return str(model_token_file(given.state)) if ours else given.model_token_file

    def records(self) -> dict[str, PartRecord]:
        return self._file.read()

    def up(self, only: Iterable[str] = ()) -> list[Outcome]:
        """Bring up `only` these parts and those they need (none given: all); `PartUnavailable` after stopping what was started here."""
        chosen = self._closure(list(only) or list(self._parts))
        with launcher_lock(self._given.state):
            running = {name for name in chosen if self._is_running(name)}
            for name in running:
                self._report(self._running_outcome(name))
            rest = [self._parts[name] for name in chosen if name not in running]
            self._stop_leftovers(rest)
            ports = self._ports(rest)
            if running:
                self._refuse_moved(rest, ports)
            started = self._start_all(rest, ports)
        return [self._running_outcome(name) for name in chosen if name in running] + started

    def down(self) -> list[str]:
        """Stop everything that is recorded, dependants first; returns the names of the processes that were stopped."""
        with launcher_lock(self._given.state):
            return self._stop(list(self._file.read()))

    def stop_parts(self, names: Iterable[str]) -> list[str]:
        """Stop these parts alone."""
        with launcher_lock(self._given.state):
            return self._stop(list(names))

    def restart(self, name: str) -> Outcome:
        """Stop one part, if it still runs, and start it again on the port it had."""
        part = self._part(name)
        if self._is_found(part):
            raise PartUnavailable("part-not-ours", f"{part.title} was not started here: restart it where it runs.")
        record = self._file.read().get(name)
        if record is None:
            raise PartUnavailable("part-not-started", f"{part.title} is not running: start it with 'longview up'.")
        with launcher_lock(self._given.state):
            self._stop_process(record)
            outcome = self._start_on(part, record.port or 0)
        return replace(outcome, note=part.loses)

    def _start_on(self, part: Part, port: int) -> Outcome:
        """On the port it had, which whoever looks for a free one meanwhile may hold for a moment."""
        for _ in range(PORT_TRIES - 1):
            try:
                (outcome,) = self._start_all([part], ports={part.name: port})
                return outcome
            except PartUnavailable as failure:
                if PORT_TAKEN not in str(failure):
                    raise
            time.sleep(PORT_PAUSE_SECONDS)
        (outcome,) = self._start_all([part], ports={part.name: port})
        return outcome

    # -- what is there ---------------------------------------------------------------------------------------------------------

    def _part(self, name: str) -> Part:
        if name not in self._parts:
            raise PartUnavailable(
                "part-unknown", f"'{scrub(name)}' is not a part: name one of {', '.join(self._parts)}."
            )
        return self._parts[name]

    def _closure(self, names: list[str]) -> list[str]:
        """The named parts and all they need, in the catalogue's order."""
        wanted: set[str] = set()
        queue = [self._part(name).name for name in names]
        while queue:
            name = queue.pop()
            if name not in wanted:
                wanted.add(name)
                queue += self._parts[name].needs
        return [name for name in self._parts if name in wanted]

    def _is_found(self, part: Part) -> bool:
        return bool(part.setting and getattr(self._given, part.setting))

    def _is_running(self, name: str) -> bool:
        record = self._file.read().get(name)
        return record is not None and record.alive and not self._is_found(self._parts[name])

    def _running_outcome(self, name: str) -> Outcome:
        record = self._file.read()[name]
        return Outcome(name, "running" if record.process else "done", record.url, 0.0)

    def _ports(self, parts: list[Part]) -> dict[str, int]:
        """A port for each part that is to be started: the one it had, the one that was set, or a free one."""
        records = self._file.read()
        wanted = {part.name: 0 for part in parts if part.has_port and not self._is_found(part)}
        for name in wanted:
            had = records.get(name)
            wanted[name] = had.port or 0 if had else 0
        if "inbox" in wanted and self._given.inbox_port != "0":
            wanted["inbox"] = int(self._given.inbox_port)
        return choose_ports(wanted)

    def _refuse_moved(self, parts: list[Part], ports: dict[str, int]) -> None:
        """A part that comes back elsewhere would not be found by those that run with its old address."""
        records = self._file.read()
        for part in parts:
            had = records[part.name].port if part.name in records else None
            if had and ports.get(part.name, had) != had:
                raise PartUnavailable(
                    "part-port",
                    f"{part.title} cannot come back on port {had}, which another program has taken: run 'longview down', then 'longview up'.",
                )

    def launch(self, part: Part, port: int) -> Launch:
        state = self._given.state
        return Launch(self.settings, port, state / part.name, state / "run" / f"{part.name}.ready", self._aborted)

    # -- starting --------------------------------------------------------------------------------------------------------------

    def _start_all(self, parts: list[Part], ports: dict[str, int]) -> list[Outcome]:
        """Start `parts` in parallel; on the first failure give up and stop what was started here."""
        if not parts:
            return []
        self._aborted.clear()
        for part in parts:
            if not self._is_found(part):
                self._provided |= part.provides(self.launch(part, ports.get(part.name, 0)))
        futures: dict[str, Future[Outcome]] = {}
        with ThreadPoolExecutor(len(parts), thread_name_prefix="start") as pool:
            for part in parts:
                needed = [futures[name] for name in part.needs if name in futures]
                futures[part.name] = pool.submit(self._start_after, part, ports.get(part.name, 0), needed)
            try:
                wait(futures.values(), return_when=FIRST_EXCEPTION)
                self._raise_first(futures.values())
            except BaseException:
                self._aborted.set()
                wait(futures.values())
                self._stop([part.name for part in parts])
                raise
            finally:
                self._provided = {}
        return [future.result() for future in futures.values()]

    @staticmethod
    def _raise_first(futures: Iterable[Future[Outcome]]) -> None:
        """The failure that came first, not those that followed from it."""
        failed = [future.exception() for future in futures if future.done() and future.exception() is not None]
        causes = [error for error in failed if not isinstance(error, _GivenUp)]
        for error in causes or failed:
            if error is not None:
                raise error

    def _start_after(self, part: Part, port: int, needed: list[Future[Outcome]]) -> Outcome:
        for future in needed:
            if future.exception() is not None:
                raise _GivenUp
        began = time.monotonic()
        try:
            outcome = self._find(part) if self._is_found(part) else self._start(part, port)
        except LongviewError:
            raise
        except Exception as error:  # a stray error's text may hold a URL with its password: only its kind is told
            raise self._failure(part, f"an unexpected {type(error).__name__} came up") from error
        outcome = replace(outcome, seconds=round(time.monotonic() - began, 2))
        self._report(outcome)
        return outcome

    def _find(self, part: Part) -> Outcome:
        """Check a part that was named by its setting."""
        launch = self.launch(part, 0)
        try:
            part.found(self._given)
            if part.step is not None and part.step_when_found:
                part.step(launch)
        except NotReady as reason:
            raise PartUnavailable(
                f"part-{part.name}",
                f"{part.title} named by LONGVIEW_{part.setting.upper()} cannot be used, because {reason}: {part.mend}.",
            ) from reason
        return Outcome(part.name, "found", str(getattr(self._given, part.setting)), 0.0)

    def _start(self, part: Part, port: int) -> Outcome:
        launch = self.launch(part, port)
        began = time.monotonic()
        process = self._spawn(part, launch) if part.command else None
        provides = part.provides(launch)
        if part.step is not None:
            provides |= self._do_step(part, launch)
        self._record(part, launch, process, provides, time.monotonic() - began)
        with self._guard:
            self._provided |= provides
        return Outcome(part.name, "started" if process else "done", self._url(part, port, provides), 0.0)

    def _spawn(self, part: Part, launch: Launch) -> ProcessId:
        """Start the process, write it down before anything can go wrong, and wait until it is healthy."""
        assert part.command is not None
        launch.ready_file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        launch.ready_file.unlink(missing_ok=True)
        log = self._log(part)
        since = log.stat().st_size if log.exists() else 0
        command = part.command(launch)
        try:
            process = spawn(command.arguments, command.environment, launch.folder, log)
        except OSError as error:
            raise self._failure(part, f"its program cannot be run ({type(error).__name__})") from error
        self._record(part, launch, process, part.provides(launch), 0.0)
        self._await_health(part, launch, process, since)
        return process

    def _await_health(self, part: Part, launch: Launch, process: ProcessId, since: int) -> None:
        deadline = time.monotonic() + part.patience
        while not self._aborted.is_set():
            if not is_alive(process):
                raise self._failure(part, last_words(self._log(part), since) or "it ended without a word")
            try:
                part.healthy(launch)
                return
            except NotReady as reason:
                if time.monotonic() > deadline:
                    said = last_words(self._log(part), since)
                    why = f"{reason} after {part.patience:.0f} s" + (f"; its log ends with: {said}" if said else "")
                    raise self._failure(part, why) from reason
            time.sleep(HEALTH_POLL_SECONDS)
        raise _GivenUp

    def _do_step(self, part: Part, launch: Launch) -> Provides:
        assert part.step is not None
        try:
            return part.step(launch)
        except NotReady as reason:
            if self._aborted.is_set():
                raise _GivenUp from reason
            raise self._failure(part, str(reason)) from reason

    def _failure(self, part: Part, why: str) -> PartUnavailable:
        log = self._log(part)
        where = f" (log: {log})" if log.exists() else ""
        return PartUnavailable(
            f"part-{part.name}", f"{part.title} cannot start: {why.rstrip('.')}{where}: {part.mend}."
        )

    def _record(
        self, part: Part, launch: Launch, process: ProcessId | None, provides: Provides, seconds: float
    ) -> None:
        self._file.put(
            PartRecord(
                name=part.name,
                pid=process.pid if process else None,
                started=process.started if process else None,
                port=launch.port or None,
                url=self._url(part, launch.port, provides),
                log=str(self._log(part)),
                version=part.version,
                provides={name: value for name, value in provides.items() if name != "database_url"},
                seconds=round(seconds, 2),
            )
        )

    @staticmethod
    def _url(part: Part, port: int, provides: Provides) -> str:
        """How the part is reached; a database's URL may hold a password and is not shown."""
        return str(next((v for k, v in provides.items() if k != "database_url"), f"{HOST}:{port}" if port else ""))

    def _log(self, part: Part) -> Path:
        return self._given.state / "logs" / f"{part.name}.log"

    # -- stopping --------------------------------------------------------------------------------------------------------------

    def _stop(self, names: list[str]) -> list[str]:
        """Stop the recorded ones of `names`, dependants first, equals in parallel; what has no process is only forgotten."""
        records = self._file.read()
        stopped: list[str] = []
        left = [records[name] for name in names if name in records]
        while left:
            needed = {need for record in left for need in self._needs(record.name)}
            wave = [record for record in left if record.name not in needed] or left
            with ThreadPoolExecutor(len(wave), thread_name_prefix="stop") as pool:
                list(pool.map(self._stop_process, wave))
            for record in wave:
                self._file.remove(record.name)
            stopped += [record.name for record in wave if record.process]
            left = [record for record in left if record not in wave]
        return stopped

    def _stop_leftovers(self, parts: list[Part]) -> None:
        """Children that outlived a killed part would hold its port or its files."""
        records = self._file.read()
        for part in parts:
            if part.name in records:
                self._stop_process(records[part.name])

    def _needs(self, name: str) -> tuple[str, ...]:
        return self._parts[name].needs if name in self._parts else ()

    def _stop_process(self, record: PartRecord) -> None:
        part = self._parts.get(record.name)
        if record.process is not None:
            stop(record.process, part.grace if part else 10.0)


class _GivenUp(PartUnavailable):
    """This part was given up because another one failed."""

    def __init__(self) -> None:
        super().__init__("part-given-up", "another part could not start: see there.")

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), ()


def connected_settings(settings: Settings) -> Settings:
    """`settings` completed with the addresses and keys of the parts in its state folder; where none were ever started nothing is made."""
    launcher = Launcher(settings)
    started_here = launcher.records() or any(map(Path.exists, secrets_in(settings.state)))
    return launcher.settings if started_here else absolute(settings)
