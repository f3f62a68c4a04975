"""What a number of studies a day asks of each part, and which part gives way first.

Everything follows from the rate of the busiest hour: `studies / 86400 * peak factor`. What can be multiplied (processes, partitions, GPUs) is
rounded up with headroom and never below what survives the loss of one; what cannot be (one write lock, one FHIR server, one archive) has a ceiling.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Literal

from services.plan.constants import CONSTANTS

THREADS = 4
"""Activities a reading worker does at a time (services.worker.service)."""
WORKER_GIB = 4.0
PARTITIONS_A_GATEWAY = 4
LEAST_PARTITIONS = 12
DAY, YEAR = 86_400.0, 365.0
ARCHIVE_PART = 0.5
BACKGROUND_PART = 0.1
"""Of a reading worker's time: reconciliation and shadow plans, without shadow models."""
Kind = Literal["bus", "temporal", "processes", "model", "fhir", "archive", "storage", "people"]


def _default(name: str) -> float:
    return CONSTANTS[name].value


@dataclass(frozen=True)
class Demand:
    """What a site knows better than the defaults."""

    studies_per_day: int
    peak_factor: float = field(default_factory=lambda: _default("peak_factor"))
    headroom: float = field(default_factory=lambda: _default("headroom"))
    gpu_seconds: float = field(default_factory=lambda: _default("gpu_seconds"))
    answer_seconds: float = field(default_factory=lambda: _default("answer_seconds"))
    study_megabytes: float = field(default_factory=lambda: _default("study_megabytes"))
    priors: float = field(default_factory=lambda: _default("priors"))
    fhir_connections: float = field(default_factory=lambda: _default("fhir_connections"))
    archive_gigabits: float = field(default_factory=lambda: _default("archive_gigabits"))

    @property
    def peak(self) -> float:
        """Studies a second in the busiest hour."""
        return self.studies_per_day / DAY * self.peak_factor


@dataclass(frozen=True)
class Line:
    """One thing to provide; `why` says what it follows from."""

    kind: Kind
    name: str
    amount: float
    unit: str
    why: str


@dataclass(frozen=True)
class Ceiling:
    """A part that cannot be multiplied: how many studies a day it carries."""

    name: str
    studies_per_day: int
    mend: str


@dataclass(frozen=True)
class Plan:
    demand: Demand
    lines: list[Line]
    ceilings: list[Ceiling]
    """The lowest first: that is where it breaks."""

    def amount(self, name: str) -> float:
        return next(line.amount for line in self.lines if line.name == name)

    @property
    def carried(self) -> bool:
        return self.ceilings[0].studies_per_day >= self.demand.studies_per_day


def plan(demand: Demand) -> Plan:
    """`ValueError` for a demand that is none."""
    if demand.studies_per_day < 1 or min(demand.peak_factor, demand.study_megabytes, demand.gpu_seconds) <= 0:
        raise ValueError("a demand is at least one study a day, with positive figures")
    if not 0 < demand.headroom <= 1 or demand.peak_factor < 1:
        raise ValueError("headroom lies between 0 and 1, and the peak is not below the mean")
    parts = (_bus, _temporal, _processes, _model, _fhir, _archive, _storage, _people)
    lines = [line for part in parts for line in part(demand)]
    return Plan(demand, lines, sorted(_ceilings(demand), key=lambda ceiling: ceiling.studies_per_day))


def _copies(load: float, demand: Demand, least: int = 2) -> int:
    """As many as carry the load with headroom; two at least, so that one may be lost."""
    return max(math.ceil(load / demand.headroom), least)


# -- parts ---------------------------------------------------------------------------------------------------------------------

EVENTS_A_STUDY = 4.0
"""A study, its order, its final report, an observation that is announced: what a hospital's bus tells for each study."""


def gateways(demand: Demand) -> int:
    return _copies(demand.peak * EVENTS_A_STUDY / _default("gateway_events_a_second"), demand)


def _bus(demand: Demand) -> list[Line]:
    partitions = max(LEAST_PARTITIONS, PARTITIONS_A_GATEWAY * gateways(demand))
    kept = demand.studies_per_day * _default("bus_bytes") * _default("retention_days") * _default("replicas")
    return [
        Line(
            "bus",
            "events a second",
            demand.peak * EVENTS_A_STUDY,
            "1/s",
            f"{EVENTS_A_STUDY:.0f} events a study at the peak",
        ),
        Line("bus", "partitions a topic", partitions, "", "four for each gateway; more can be added, fewer never"),
        Line(
            "bus",
            "bus storage",
            kept / 1e9,
            "GB",
            f"{_default('retention_days'):.0f} days, {_default('replicas'):.0f} copies",
        ),
    ]


def _temporal(demand: Demand) -> list[Line]:
    each = _default("temporal_transitions") + _default("review_transitions")
    rate = demand.peak * each
    busy = rate * _default("shard_seconds") * _default("shard_margin")
    shards = 2 ** math.ceil(math.log2(max(busy, _default("least_shards"))))
    kept = demand.studies_per_day * _default("temporal_history_bytes") * _default("retention_days")
    return [
        Line("temporal", "state transitions a second", rate, "1/s", f"{each:.0f} a study with its decision"),
        Line("temporal", "history shards", shards, "", "a power of two; fixed when Temporal is installed"),
        Line(
            "temporal",
            "Temporal storage",
            kept / 1e9,
            "GB",
            f"{_default('retention_days'):.0f} days of closed workflows",
        ),
    ]


def _processes(demand: Demand) -> list[Line]:
    pixels = demand.study_megabytes * (1 + demand.priors) / _default("fetch_megabytes_a_second")
    busy = demand.peak * (_default("worker_seconds") + pixels + demand.answer_seconds)
    readers = _copies(busy / THREADS, demand)
    return [
        Line(
            "processes",
            "gateways",
            gateways(demand),
            "",
            f"{_default('gateway_events_a_second'):.0f} events a second each",
        ),
        Line(
            "processes",
            "reading workers",
            readers,
            "",
            f"{THREADS} studies at a time, of which each waits {demand.answer_seconds:.0f} s for the model",
        ),
        Line(
            "processes",
            "background workers",
            _copies(readers * BACKGROUND_PART * demand.headroom, demand),
            "",
            "reconciliation, shadow readings",
        ),
        Line("processes", "memory of the workers", readers * WORKER_GIB, "GiB", f"{WORKER_GIB:.0f} GiB each"),
    ]


def _model(demand: Demand) -> list[Line]:
    gpus = _copies(demand.peak * demand.gpu_seconds, demand)
    return [
        Line(
            "model", "GPUs", gpus, "", f"{demand.gpu_seconds:g} GPU seconds a study: an ASSUMPTION, measure it on yours"
        )
    ]


def _fhir(demand: Demand) -> list[Line]:
    writes = demand.peak * (_default("fhir_transactions") + 1)
    resources = demand.peak * _default("fhir_resources") * 2
    reads = demand.peak * _default("fhir_reads") * _default("history_factor")
    return [
        Line("fhir", "FHIR transactions a second", writes, "1/s", "the result, its notices and the decision"),
        Line(
            "fhir", "FHIR resources written a second", resources, "1/s", "the result's, and once more with the decision"
        ),
        Line("fhir", "FHIR reads a second", reads, "1/s", "history and conditional looks"),
        Line("fhir", "FHIR connections busy", _fhir_busy(demand), "", "at the speed of HAPI on two cores"),
    ]


def _fhir_busy(demand: Demand) -> float:
    resources = demand.peak * _default("fhir_resources") * 2
    reads = demand.peak * _default("fhir_reads") * _default("history_factor")
    return resources / _default("fhir_creates_a_second") + reads * _default("fhir_read_seconds")


def _archive(demand: Demand) -> list[Line]:
    megabytes = demand.peak * demand.study_megabytes * (1 + demand.priors)
    return [
        Line(
            "archive",
            "DICOMweb",
            megabytes * 8 / 1000,
            "Gbit/s",
            f"{demand.study_megabytes:.0f} MB and {demand.priors:g} priors a study, uncompressed",
        )
    ]


def _storage(demand: Demand) -> list[Line]:
    kept = _default("store_bytes_per_pixel_byte") + _default("store_shown_part")
    pixels = demand.study_megabytes * 1e6 * (1 + demand.priors) * kept
    objects = (pixels + _default("store_fixed_bytes")) * demand.studies_per_day * YEAR
    rows = _default("database_bytes") * demand.studies_per_day * YEAR
    return [
        Line(
            "storage",
            "object store",
            objects / 1e12,
            "TB/year",
            "nothing is deleted; nearly all of it is pixels, which the archive has",
        ),
        Line(
            "storage",
            "object store beside pixels",
            _default("store_fixed_bytes") * demand.studies_per_day * YEAR / 1e12,
            "TB/year",
            "what 'longview backup create --without-pixels' copies",
        ),
        Line(
            "storage",
            "objects",
            _default("store_objects") * demand.studies_per_day * YEAR / 1e6,
            "million/year",
            "one file each",
        ),
        Line("storage", "database", rows / 1e9, "GB/year", "indexes included"),
    ]


def _people(demand: Demand) -> list[Line]:
    reviewers = math.ceil(demand.peak * 3600 / _default("reviews_an_hour"))
    pages = _copies(reviewers / _default("users_a_replica"), demand)
    return [
        Line(
            "people", "reviewers at the peak", reviewers, "", f"{_default('reviews_an_hour'):.0f} results an hour each"
        ),
        Line("people", "inboxes", pages, "", f"{_default('users_a_replica'):.0f} open pages each"),
    ]


# -- where it breaks -----------------------------------------------------------------------------------------------------------


def _ceilings(demand: Demand) -> list[Ceiling]:
    """Each load is proportional to the rate, so the studies a day that a part carries are this demand's over its load."""
    archive = demand.archive_gigabits * ARCHIVE_PART
    loads = {
        "the database's write lock": (
            demand.peak * _default("database_writes") * _default("database_write_seconds"),
            "one deployment for each site (tenant), each with a database of its own",
        ),
        "the FHIR server": (
            _fhir_busy(demand) / demand.fhir_connections,
            "more replicas of the FHIR server, or faster disks under its database",
        ),
        "the archive's network": (
            _archive(replace(demand))[0].amount / archive,
            "a second link, workers beside the archive, or compressed transfer",
        ),
    }
    return [
        Ceiling(name, math.floor(demand.studies_per_day * demand.headroom / load), mend)
        for name, (load, mend) in loads.items()
    ]
