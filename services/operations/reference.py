"""docs/metrics.md, made from the list of metrics: `longview metrics > docs/metrics.md`."""

from __future__ import annotations

from collections.abc import Iterable

from services.operations.metric import OURS, Label, Metric
from services.operations.metrics import METRICS
from services.operations.metrics_of_others import OF_MODEL_SERVER, OF_TEMPORAL

_HEAD = """# Metrics

This page is made from the list in `services/operations/metrics.py` (what the software around us records: `metrics_of_others.py`) by
`longview metrics`; a test keeps both the same.

Where `LONGVIEW_OPERATIONS_PORT` is set, gateway, worker, inbox and codec server answer there on `/metrics` in Prometheus' text format (0.0.4), beside
`/health` and `/ready`. The model server has the same three on its own port. All of them may be scraped without a token, because no label and no value
identifies a patient, a study, a report or a person, and the number of series is bounded: a label's values are those that are named here, or follow a
pattern and are at most 100 (partitions: 1000); what goes beyond is `other`.

```yaml
scrape_configs:
  - job_name: longview
    scrape_interval: 15s
    static_configs:
      - targets: ["gateway:9090", "worker:9090", "inbox:9090", "model:8000"]
```

What is marked (database) is read when somebody scrapes, at most every 15 seconds, and is absent while the database is away. Every replica of a
process tells the same about the database: take `max`, not `sum`. Counters whose labels are all named stand at 0 from the start, so that the first
event counts.

Alerts on these metrics are in `helm/longview/alerts/longview.yaml`, each with a runbook in `docs/runbooks/`; dashboards are in
`helm/longview/dashboards/`.
"""


def reference() -> str:
    """The page, in Markdown."""
    whole = (*OF_TEMPORAL, *OF_MODEL_SERVER)
    parts = [_HEAD, _section("Every process", _of(OURS, whole, many=True))]
    parts += [_section(f"The {process}", _of((process,), whole)) for process in ("gateway", "worker", "inbox")]
    parts.append(_section("Temporal's SDK (gateway, worker and inbox, as each uses it)", OF_TEMPORAL))
    parts.append(_section("The model server", OF_MODEL_SERVER))
    return "\n".join(parts)


def _of(processes: Iterable[str], apart: tuple[Metric, ...], *, many: bool = False) -> list[Metric]:
    wanted = set(processes)
    return [m for m in METRICS if m not in apart and set(m.processes) <= wanted and (len(m.processes) > 1) is many]


def _section(title: str, metrics: Iterable[Metric]) -> str:
    rows = "\n".join(_row(metric) for metric in metrics)
    return f"## {title}\n\n| metric | type | unit | labels | meaning |\n|---|---|---|---|---|\n{rows}\n"


def _row(metric: Metric) -> str:
    labels = "; ".join(_label(label) for label in metric.labels)
    only = f" Of: {', '.join(metric.processes)}." if 1 < len(metric.processes) < len(OURS) else ""
    return f"| `{metric.name}` | {metric.kind} | {metric.unit} | {labels} | {metric.meaning}{only} |"


def _label(label: Label) -> str:
    values = ", ".join(label.values) if label.values else f"`{label.pattern}`".replace("|", "\\|")
    return f"{label.name}: {values}"
