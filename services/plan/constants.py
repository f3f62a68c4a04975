"""Every number that the plan is computed from, with where it comes from.

`measured` was counted or timed by this repository on the machine that its source names (two cores, no GPU); `published` stands in a vendor's or a
project's documentation; `assumed` is a guess that a site must replace. `longview bench capacity` takes the measured ones of a study anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Origin = Literal["measured", "published", "assumed"]


@dataclass(frozen=True)
class Constant:
    value: float
    unit: str
    origin: Origin
    source: str


_BENCH = "longview bench capacity (CT of 3 and 40 slices, 20 observations a chart, one question a study)"

CONSTANTS: dict[str, Constant] = {
    # -- a study, counted
    "temporal_transitions": Constant(61, "state transitions a study", "measured", _BENCH),
    "temporal_events": Constant(99, "history events a study", "measured", _BENCH),
    "temporal_activities": Constant(12, "activities a study", "measured", _BENCH),
    "temporal_history_bytes": Constant(24_900, "bytes of history a study", "measured", _BENCH),
    "fhir_reads": Constant(
        33,
        "reads and searches a study",
        "measured",
        f"{_BENCH}: 15, and a search for each of 18 more types of the chart",
    ),
    "fhir_transactions": Constant(1, "transactions a study", "measured", _BENCH),
    "fhir_resources": Constant(7, "resources a result", "measured", _BENCH),
    "store_fixed_bytes": Constant(74_300, "bytes a study beside its pixels", "measured", _BENCH),
    "store_bytes_per_pixel_byte": Constant(1.03, "bytes a byte of pixels", "measured", _BENCH),
    "store_shown_part": Constant(
        0.28,
        "bytes more a byte of pixels",
        "assumed",
        "a stack deeper than 85 slices is kept twice: whole, and as the 85 shown (of 300)",
    ),
    "store_objects": Constant(13, "objects a study", "measured", _BENCH),
    "database_bytes": Constant(22_900, "bytes a study, indexes included (SQLite)", "measured", _BENCH),
    "bus_bytes": Constant(1_920, "bytes of records a study", "measured", _BENCH),
    "review_transitions": Constant(
        18, "state transitions a decision", "assumed", "one update with two activities: about a fifth of a reading"
    ),
    # -- speeds
    "gateway_events_a_second": Constant(
        212,
        "events a second and gateway",
        "measured",
        "longview bench gateway: median of five rounds (76 to 246), two cores shared with Temporal",
    ),
    "worker_seconds": Constant(
        2.2,
        "seconds of a thread a study, without the model and its pixels",
        "measured",
        "longview bench throughput: 0.55 s a small study at 4 threads, two busy cores shared by every part",
    ),
    "fetch_megabytes_a_second": Constant(
        50.0, "MB of pixels a second and thread, fetched, decoded and kept", "assumed", "the network and one core"
    ),
    "fhir_creates_a_second": Constant(
        44,
        "creates a second over one connection",
        "measured",
        "HAPI 8.8 on PostgreSQL, two cores: 44 to 74 (the lower end)",
    ),
    "fhir_read_seconds": Constant(0.05, "seconds a search", "measured", "HAPI 8.8, two cores: 32 to 70 ms"),
    "database_write_seconds": Constant(
        0.005,
        "seconds a write transaction holds the write lock",
        "assumed",
        "one fsync of a PostgreSQL on SSD and two round trips",
    ),
    "database_writes": Constant(
        7, "write transactions a study", "measured", "counted in services/db: run, build, entry, events sent, decision"
    ),
    "shard_seconds": Constant(
        0.01, "seconds a state transition holds its shard", "assumed", "one write to Temporal's persistence on SSD"
    ),
    "shard_margin": Constant(
        10, "shards for each one that is busy", "assumed", "shards are never evenly loaded, and cannot be added later"
    ),
    "least_shards": Constant(
        512,
        "history shards",
        "published",
        "Temporal: 512 for small production clusters; the number is fixed at installation",
    ),
    # -- the model
    "gpu_seconds": Constant(
        10.0,
        "GPU seconds a study",
        "assumed",
        "NEVER MEASURED HERE: about 1 PFLOP (85 + 85 slices, 4 B parameters) at a third of an L40S's peak",
    ),
    "answer_seconds": Constant(
        30.0, "seconds a worker waits for both answers", "assumed", "several studies share a GPU at a time"
    ),
    # -- sites
    "peak_factor": Constant(
        3.0, "peak hour over the day's mean", "assumed", "an eighth of the day's studies in its busiest hour"
    ),
    "headroom": Constant(
        0.7, "part of what a process could do", "assumed", "room for a burst, an upgrade, a part that is down"
    ),
    "study_megabytes": Constant(150.0, "MB of pixels a study", "assumed", "a CT of 300 slices of 512 x 512 at 16 bit"),
    "priors": Constant(1.0, "prior studies fetched a study", "assumed", "the policy of a CT's kind"),
    "history_factor": Constant(
        3.0, "times the resources of the measured chart", "assumed", "a chart of 60 observations; reads grow by pages"
    ),
    "retention_days": Constant(
        30.0, "days that Temporal and the bus keep what is closed", "assumed", "long enough for a restore"
    ),
    "replicas": Constant(
        3.0, "copies the bus keeps", "published", "Kafka: replication factor 3, min.insync.replicas 2"
    ),
    "reviews_an_hour": Constant(12.0, "results an hour and reviewer", "assumed", "five minutes each"),
    "users_a_replica": Constant(200.0, "open pages an inbox", "assumed", "each holds one server-sent stream"),
    "archive_gigabits": Constant(10.0, "Gbit/s to the archive", "assumed", "one 10 GbE link, half of it for us"),
    "fhir_connections": Constant(
        32.0, "connections the FHIR server works on at a time", "assumed", "a server of 16 cores"
    ),
}
