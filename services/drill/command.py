"""The drill itself: a day with a backup in its middle, four disasters one after the other, and after each what it took and what it cost."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from services.drill.hospital import DrillHospital, until
from services.drill.judgement import breaches, without_pictures

Scenario = Literal["database", "store", "temporal", "all"]
SCENARIOS: tuple[Scenario, ...] = ("temporal", "database", "store", "all")
PASSES = 6
WORDS: dict[Scenario, str] = {
    "temporal": "Temporal's persistence is lost",
    "database": "the database is lost",
    "store": "the object store is lost",
    "all": "everything is lost but FHIR, the archive, Kafka and the backup",
}


@dataclass(frozen=True)
class Finding:
    """One disaster: `seconds` from the loss until everything holds again (RTO), and what the time since the backup has cost (RPO)."""

    scenario: Scenario
    studies: int
    since_backup: int
    """Studies that were announced after the backup."""
    decided_since_backup: int
    restore_seconds: float
    start_seconds: float
    reconcile_seconds: float
    passes: int
    healed: int
    flagged: int
    without_pictures: int
    """Open results whose pictures were lost: their reports stand."""
    breaches: list[str]

    @property
    def seconds(self) -> float:
        return self.restore_seconds + self.start_seconds + self.reconcile_seconds


def run_drill(studies: int, scenarios: tuple[Scenario, ...], say: Callable[[str], None]) -> list[Finding]:
    """`studies` are announced before each disaster, half of them before the backup. The folder is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="longview-drill-") as folder:
        hospital = DrillHospital(Path(folder))
        try:
            hospital.open()
            return [_disaster(hospital, scenario, studies, say) for scenario in scenarios]
        finally:
            hospital.close()


def _disaster(hospital: DrillHospital, scenario: Scenario, studies: int, say: Callable[[str], None]) -> Finding:
    before, decided = _work(hospital, studies - studies // 2)
    manifest = hospital.back_up()
    say(f"{scenario}: {len(before)} studies, {decided} decided, backup {manifest.id}")
    after, decided = _work(hospital, studies // 2)
    say(f"{scenario}: {len(after)} studies more, {decided} decided; now {WORDS[scenario]}")
    began = time.monotonic()
    _lose_and_restore(hospital, scenario)
    restored = time.monotonic()
    hospital.start()
    started = time.monotonic()
    passes, healed, flagged, found = _reconcile(hospital)
    finding = Finding(
        scenario=scenario,
        studies=len(hospital.told),
        since_backup=len(after),
        decided_since_backup=decided,
        restore_seconds=round(restored - began, 1),
        start_seconds=round(started - restored, 1),
        reconcile_seconds=round(time.monotonic() - started, 1),
        passes=passes,
        healed=healed,
        flagged=flagged,
        without_pictures=without_pictures(hospital),
        breaches=found,
    )
    if not found:
        _prove_decidable(hospital)
    return finding


def _work(hospital: DrillHospital, count: int) -> tuple[list[Any], int]:
    """Studies are announced and read; of each three one is accepted and, in the first three, one rejected."""
    new = hospital.announce(count)
    hospital.wait_until_read(new)
    hospital.decide(new[::3])
    hospital.decide(new[1:2], "rejected")
    return new, len(new[::3]) + len(new[1:2])


def _lose_and_restore(hospital: DrillHospital, scenario: Scenario) -> None:
    """Longview is stopped before the restore; what was not lost runs on."""
    if scenario == "database":
        hospital.stop()
        hospital.lose_database()
        hospital.restore("database")
    elif scenario == "store":
        hospital.stop("model")
        hospital.lose_store()
        hospital.restore("objects")
    elif scenario == "temporal":
        hospital.stop("temporal")
        hospital.lose_temporal()
    else:
        hospital.stop("temporal", "model")
        hospital.lose_temporal()
        hospital.lose_database()
        hospital.lose_store()
        hospital.lose_keys()
        hospital.restore("keys", "objects", "database")
        hospital.rewind()


def _reconcile(hospital: DrillHospital) -> tuple[int, int, int, list[str]]:
    """Passes until one changes nothing and everything holds: their number, what they healed, what the last one flagged, what is still breached."""
    passes, healed = 0, 0
    while True:
        outcome = hospital.reconcile()
        passes, healed, found = passes + 1, healed + outcome.healed, _settled(hospital)
        if passes == PASSES or not (found or outcome.healed):
            return passes, healed, outcome.flagged, found


def _settled(hospital: DrillHospital) -> list[str]:
    """What a pass has begun is given a moment to end."""
    found = breaches(hospital)
    deadline = time.monotonic() + 30.0
    while found and time.monotonic() < deadline:
        time.sleep(1.0)
        found = breaches(hospital)
    return found


def _prove_decidable(hospital: DrillHospital) -> None:
    """The undecided results are decided about: the next disaster finds a day's work done."""
    waiting = [study for study in hospital.told if not study.outcome][:2]
    hospital.decide(waiting)
    until(lambda: not breaches(hospital), "the decisions to be seen everywhere", 30.0)


def as_json(findings: list[Finding]) -> dict[str, Any]:
    return {"drill": [asdict(finding) | {"seconds": round(finding.seconds, 1)} for finding in findings]}
