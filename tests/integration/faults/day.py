"""One day on one system: prepared, lived through, and looked at once all is still."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace

from services.parts.launcher import Launcher
from services.parts.part import Part
from services.scripted_model.part import with_scripted_model
from services.settings import Settings
from tests.integration.faults.evidence import Evidence, gather
from tests.integration.faults.hospital import Day, Hospital
from tests.integration.faults.proxy import FaultProxy
from tests.integration.faults.storm import VICTIMS, Size, Storm, Told
from tests.integration.faults.witness import wait_until_still
from tests.integration.system import System

FAULTS = 0.3
OURS = ("broker", "temporal", "fhir", "archive", "database", "model", "gateway", "worker")


@dataclass(frozen=True)
class Aftermath:
    """The day as it was planned, what went over the bus, and what is found when all is still."""

    size: Size
    hospital: Hospital
    told: Told
    evidence: Evidence
    faults: dict[str, int]


def size_of_day(events: int, patients: int) -> tuple[Size, int]:
    """The size and the seed; LONGVIEW_TEST_EVENTS, _PATIENTS, _KILLS, _RATE and _SEED make it another one."""

    def told(name: str, default: int) -> int:
        return int(os.environ.get(f"LONGVIEW_TEST_{name}", default))

    size = Size(told("EVENTS", events), told("PATIENTS", patients), told("KILLS", 1), float(told("RATE", 5)))
    return size, told("SEED", 18)


@contextmanager
def stormy_system(settings: Settings, fhir: Part, seed: int) -> Iterator[tuple[System, FaultProxy, str]]:
    """The parts with `fhir` behind a proxy that fails nothing yet; and the URL of the FHIR server itself."""
    launcher: list[Launcher] = []

    def server() -> str:
        return f"127.0.0.1:{launcher[0].records()['fhir'].port}"

    with closing(FaultProxy(seed, 0.0, server)) as proxy:
        through = replace(fhir, provides=_fixed(f"http://{proxy.address}/fhir"))
        parts = tuple(through if part.name == "fhir" else part for part in with_scripted_model())
        system = System(settings, parts=parts)
        launcher.append(system.launcher)
        system.up(*OURS)
        try:
            yield system, proxy, f"http://{server()}/fhir"
        finally:
            system.down()


def _fixed(url: str) -> Callable[[object], dict[str, str]]:
    return lambda launch: {"fhir_url": url}


def live_through(system: System, proxy: FaultProxy, fhir_url: str, size: Size, seed: int) -> Aftermath:
    hospital = Day(seed, system.settings).plan(size.events, size.patients)
    with closing(Storm(system, hospital, size, seed, fhir_url)) as storm:
        storm.prepare()
        proxy.share, began = FAULTS, time.monotonic()
        print(f"\n{size}, seed {seed}")
        storm.rage(VICTIMS)
        print(f"published in {time.monotonic() - began:.1f} s, killed {dict(storm.told.killed)}")
        calm = wait_until_still(system.settings, storm.told.last_offset, 180 + size.events)
        print(f"still {calm:.1f} s after the last event; calls to FHIR and their faults: {dict(proxy.faults)}")
        proxy.share = 0.0
        return Aftermath(size, hospital, storm.told, gather(system, fhir_url), dict(proxy.faults))
