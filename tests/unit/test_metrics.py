"""The list of metrics is the truth: its page, what processes record, and what labels may hold."""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from schemas.facts import StudyAvailable
from schemas.report import Priority, RaisedPriority
from schemas.runs import CreateInboxEntry, ReadingChecked
from services.clients.kafka import Reach, Record
from services.gateway.progress import lags, oldest_seconds
from services.operations import meter
from services.operations.meter import FROM_COLLECTORS, Meter
from services.operations.metric import OURS, Process
from services.operations.metrics import BY_NAME, METRICS
from services.operations.metrics_of_others import OF_MODEL_SERVER, OF_TEMPORAL
from services.operations.reference import reference
from services.operations.requests import MeasuredClient, kind_of_dicomweb, kind_of_fhir
from services.worker.measures import record_done

ROOT = Path(__file__).parents[2]
RECORDED_FOR = {
    "services/gateway": ("gateway",),
    "services/worker": ("worker",),
    "services/inbox": ("inbox",),
    "services/operations": OURS,
    "services/clients": OURS,
    "services/db": OURS,
    "services/bootstrap.py": OURS,
}
"""Which processes run code of these places, at most."""


@pytest.fixture
def worker() -> Iterator[Meter]:
    made = Meter("worker")
    meter.install(made)
    yield made
    meter.install(None)


def value(made: Meter, name: str, **labels: str) -> float | None:
    """Of the one sample with these labels; None where there is none."""
    families = text_string_to_metric_families(made.page().decode())
    found = {s.value for family in families for s in family.samples if s.name == name and s.labels == labels}
    return found.pop() if found else None


# -- the list ------------------------------------------------------------------------------------------------------------


def test_the_page_is_the_list() -> None:
    assert (ROOT / "docs" / "metrics.md").read_text() == reference(), "run: longview metrics > docs/metrics.md"


def test_names_and_units_are_those_of_prometheus() -> None:
    assert len(BY_NAME) == len(METRICS)
    for metric in METRICS:
        assert re.fullmatch(r"(longview|temporal)_[a-z0-9_]+|vllm:[a-z0-9_]+", metric.name)
        assert metric.name.endswith("_total") == (metric.kind == "counter"), metric.name
        if metric.unit == "seconds" and not metric.name.startswith("vllm"):
            assert metric.name.endswith("_seconds"), metric.name
        assert metric.meaning.endswith("."), metric.name
        assert all(bool(label.values) != bool(label.pattern) for label in metric.labels), metric.name


def test_no_label_can_hold_an_identifier() -> None:
    """Not a UID, not a reference, not a key of ours, not an event id, not a name."""
    told = (
        "1.2.840.113619.2.1",
        "Patient/123",
        "a" * 64,
        "a805267e-71c4-5cb9-a583-4a1b74c9679f",
        "Doe^Jane",
        "MRN 77",
    )
    for metric in METRICS:
        for label in metric.labels:
            if metric in OF_MODEL_SERVER or label.name in ("task_queue", "version", "build"):
                continue  # names that operators gave, and versions
            assert [label.bounded(value) for value in told] == ["other"] * len(told), (metric.name, label.name)


def recorded() -> Iterator[tuple[str, str]]:
    """(file, metric) for each place that records one by its name."""
    files = [*(ROOT / "services").rglob("*.py")]
    for file in sorted(f for f in files if "bench" not in f.parts):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                first = node.args[0] if node.args else None
                if node.func.id in ("count", "observe", "gauge", "timed") and isinstance(first, ast.Constant):
                    yield file.relative_to(ROOT).as_posix(), str(first.value)


def test_every_metric_is_recorded_by_a_process_that_the_list_names_and_nothing_else_is() -> None:
    places: dict[str, set[str]] = {}
    for file, name in recorded():
        assert name in BY_NAME, f"{file} records {name}, which is not in the list"
        owners = next(owners for start, owners in RECORDED_FOR.items() if file.startswith(start))
        assert set(owners) & set(BY_NAME[name].processes), f"{file} records {name}, which is not of {owners}"
        places.setdefault(name, set()).add(file)
    others = {metric.name for metric in (*OF_TEMPORAL, *OF_MODEL_SERVER)} | set(FROM_COLLECTORS)
    assert set(BY_NAME) - others == set(places)


def test_the_database_state_tells_what_the_list_says_and_nothing_else() -> None:
    told = set(re.findall(r'"(longview_[a-z_]+)"', (ROOT / "services/operations/database_state.py").read_text()))
    assert told == set(FROM_COLLECTORS)


def test_the_model_runtimes_own_counters_are_in_the_list() -> None:
    counters = re.findall(r'Counter\(\s*"(\w+)"', (ROOT / "model_runtime" / "counters.py").read_text())
    assert {f"{name}_total" for name in counters} == {m.name for m in OF_MODEL_SERVER if m.name.startswith("longview")}


def test_the_names_of_vllm_are_those_of_the_version_that_is_locked() -> None:
    spec = importlib.util.find_spec("vllm")
    assert spec is not None
    assert spec.origin is not None
    defined = set(re.findall(r'name="(vllm:\w+)"', (Path(spec.origin).parent / "v1/metrics/loggers.py").read_text()))
    assert {m.name.removesuffix("_total") for m in OF_MODEL_SERVER if m.name.startswith("vllm:")} <= defined


@pytest.mark.parametrize("process", OURS)
def test_a_process_gives_its_own_metrics_alone(process: Process) -> None:
    page = Meter(process).page().decode()
    given = set(re.findall(r"^# TYPE (\S+)", page, re.M)) - {n for n in page.split() if n.startswith("process_")}
    assert given == {m.name for m in METRICS if process in m.processes and m.name not in FROM_COLLECTORS}


# -- recording -----------------------------------------------------------------------------------------------------------


def test_nothing_is_kept_before_a_meter_is_installed_and_a_slip_raises_all_the_same() -> None:
    meter.count("longview_outbox_sent_total")
    with pytest.raises(KeyError):
        meter.count("longview_no_such_metric_total")
    with pytest.raises(ValueError, match="is a counter with the labels"):
        meter.count("longview_gateway_records_total", topic="hospital.order.v1")
    with pytest.raises(ValueError, match="is a histogram"):
        meter.gauge("longview_gateway_record_seconds", 1)


def test_what_another_process_records_is_not_given(worker: Meter) -> None:
    meter.count("longview_outbox_sent_total")
    assert value(worker, "longview_outbox_sent_total") is None


def test_a_value_beyond_its_bound_is_other(worker: Meter) -> None:
    meter.count("longview_studies_total", outcome="failed", modality="Doe^Jane", code="fhir-refused")
    meter.count("longview_studies_total", outcome="lost", modality="CT", code="Patient/1")
    assert value(worker, "longview_studies_total", outcome="failed", modality="other", code="fhir-refused") == 1
    assert value(worker, "longview_studies_total", outcome="other", modality="CT", code="other") == 1


def test_the_number_of_series_is_bounded_whatever_codes_come(worker: Meter) -> None:
    for number in range(500):
        meter.count("longview_studies_total", outcome="failed", modality="CT", code=f"fault-{number}")
    assert worker.page().count(b"\nlongview_studies_total{") == 101
    assert value(worker, "longview_studies_total", outcome="failed", modality="CT", code="other") == 400


def test_known_values_stand_at_zero_from_the_start() -> None:
    name, topic = "longview_gateway_records_total", "hospital.order.v1"
    assert value(Meter("gateway"), name, topic=topic, outcome="dead-letter") == 0


# -- requests ------------------------------------------------------------------------------------------------------------


def answering(request: httpx.Request) -> httpx.Response:
    if request.url.path.endswith("slow"):
        raise httpx.ReadTimeout("slow", request=request)
    if request.url.path.endswith("gone"):
        raise httpx.ConnectError("gone", request=request)
    return httpx.Response(int(request.url.path[-3:]))


def test_requests_are_counted_by_how_they_ended_and_name_no_address(worker: Meter) -> None:
    name = "longview_request_seconds_count"
    client = MeasuredClient("fhir", kind_of_fhir, transport=httpx.MockTransport(answering), base_url="http://h")
    for path, seen in (("200", "ok"), ("404", "refused"), ("429", "broken"), ("503", "broken")):
        assert client.get(f"/Patient/{path}").status_code == int(path)
        assert value(worker, name, server="fhir", kind="read", outcome=seen)
    with pytest.raises(httpx.ReadTimeout):
        client.get("/Patient/slow")
    with pytest.raises(httpx.ConnectError):
        client.post("/gone")
    assert value(worker, name, server="fhir", kind="read", outcome="timeout") == 1
    assert value(worker, name, server="fhir", kind="write", outcome="unreachable") == 1
    assert b"Patient" not in worker.page()
    client.close()


@pytest.mark.parametrize(
    ("method", "path", "kind"),
    [
        ("GET", "/fhir/Patient/1", "read"),
        ("GET", "/fhir/Observation?patient=Patient/1&_count=200", "search"),
        ("GET", "/fhir?_getpages=7", "search"),
        ("GET", "/fhir/metadata", "look"),
        ("POST", "/fhir", "write"),
    ],
)
def test_kinds_of_fhir(method: str, path: str, kind: str) -> None:
    assert kind_of_fhir(httpx.Request(method, f"http://h{path}")) == kind


@pytest.mark.parametrize(
    ("method", "path", "kind"),
    [
        ("GET", "/dicom-web/studies?StudyDate=20260101-20260102", "search"),
        ("GET", "/dicom-web/studies/1.2/series/1.3/instances", "search"),
        ("GET", "/dicom-web/studies/1.2/series/1.3", "retrieve"),
        ("GET", "/dicom-web/studies/1.2/series/1.3/instances/1.4/frames/1,2", "retrieve"),
        ("POST", "/dicom-web/studies", "store"),
    ],
)
def test_kinds_of_dicomweb(method: str, path: str, kind: str) -> None:
    assert kind_of_dicomweb(httpx.Request(method, f"http://h{path}")) == kind


# -- the bus -------------------------------------------------------------------------------------------------------------


def record(partition: int, offset: int, timestamp_ms: int | None = None) -> Record:
    return Record("t", partition, offset, None, None, timestamp_ms=timestamp_ms)


def test_lag_counts_from_the_first_record_that_is_not_handled() -> None:
    """Partition 0 was fetched to 50 and is handled to 40; 1 is done to its end; 2 has fetched nothing of 7; of 3 nothing is known."""
    reach = {("t", 0): Reach(50, 60), ("t", 1): Reach(9, 9), ("t", 2): Reach(0, 7)}
    assert lags(reach, {("t", 0): record(0, 40)}) == {("t", 0): 20, ("t", 1): 0, ("t", 2): 7}


def test_the_oldest_record_is_told_by_its_time_on_the_bus() -> None:
    waiting = {("t", 0): record(0, 1, 90_000), ("t", 1): record(1, 1, 30_000), ("t", 2): record(2, 1)}
    assert oldest_seconds(waiting, 100.0) == 70.0
    assert oldest_seconds({("t", 0): record(0, 1, 160_000)}, 100.0) == 0.0
    assert oldest_seconds({}, 100.0) == 0.0


def entry(
    announced_at: str | None, priority: Priority = "stat", critical: RaisedPriority | None = None
) -> CreateInboxEntry:
    event = StudyAvailable.model_construct(event_id="e", announced_at=announced_at)
    checked = ReadingChecked(reading="a" * 64, finding_count=1, dropped_count=0, critical=critical)
    return CreateInboxEntry.model_construct(event=event, priority=priority, checked=checked)


def test_only_an_entry_of_the_inbox_ends_the_wait_of_clinicians(worker: Meter) -> None:
    """An event without a time, with one that cannot be read, and an activity that is another one, are not counted."""
    now = datetime(2026, 11, 25, 3, 0, 30, tzinfo=UTC)
    for arguments in ([], ["another activity's"], [entry(None)], [entry("yesterday")], [entry("2026-11-25T03:00:00")]):
        record_done(arguments, now)
    assert value(worker, "longview_result_seconds_count", priority="stat") == 0
    record_done([entry("2026-11-25T03:00:00Z")], now)
    record_done([entry("2026-11-25T03:05:00Z")], now)  # the sender's clock goes ahead of ours
    assert value(worker, "longview_result_seconds_sum", priority="stat") == 30
    assert value(worker, "longview_result_seconds_count", priority="stat") == 2


def test_the_wait_for_what_a_finding_has_raised_counts_as_the_priority_that_counts(worker: Meter) -> None:
    critical = RaisedPriority(finding="pneumothorax", likelihood="probable", priority="stat", critical_list="x@v1")
    now = datetime(2026, 11, 25, 3, 0, 30, tzinfo=UTC)
    record_done([entry("2026-11-25T03:00:00Z", "routine", critical)], now)
    assert value(worker, "longview_result_seconds_count", priority="stat") == 1
    assert value(worker, "longview_result_seconds_count", priority="routine") == 0
