"""The Grafana dashboards of helm/longview/dashboards, written from what stands here: `python scripts/dashboards.py`. A test keeps both the same.

Every number is asked for by namespace, so that two installations never mix; what the database says is the same from every replica, hence `max`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

FOLDER = Path(__file__).parents[1] / "helm" / "longview" / "dashboards"
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
WIDTH, HEIGHT = 24, 8
HERE = 'namespace=~"$namespace"'

Kind = Literal["timeseries", "stat", "table"]


@dataclass(frozen=True)
class Panel:
    """`queries` are pairs of a legend and an expression in which HERE stands for the choice of namespace."""

    title: str
    unit: str
    queries: tuple[tuple[str, str], ...]
    meaning: str
    kind: Kind = "timeseries"
    width: int = 12
    red: float | None = None
    """From here on a single number is red."""


def per_second(metric: str, by: str, matchers: str = "") -> str:
    return f"sum by ({by}) (rate({metric}{{{_all(matchers)}}}[$__rate_interval]))"


def quantile(share: float, metric: str, by: str = "", matchers: str = "") -> str:
    names = f"le, {by}" if by else "le"
    return (
        f"histogram_quantile({share}, sum by ({names}) (rate({metric}_bucket{{{_all(matchers)}}}[$__rate_interval])))"
    )


def highest(metric: str, by: str = "", matchers: str = "") -> str:
    return f"max{f' by ({by}) ' if by else ''}({metric}{{{_all(matchers)}}})"


def _all(matchers: str) -> str:
    return f"{HERE},{matchers}" if matchers else HERE


STUDIES = (
    Panel(
        "Results of the last 24 hours",
        "short",
        (("", f'sum(increase(longview_studies_total{{{HERE},outcome=~"read|abstained"}}[24h]))'),),
        "Entries of the inbox, abstentions among them.",
        "stat",
        6,
    ),
    Panel(
        "Failed in the last 24 hours",
        "short",
        (("", f'sum(increase(longview_studies_total{{{HERE},outcome="failed"}}[24h]))'),),
        "Runs that stopped: `longview runs --failed` says where.",
        "stat",
        6,
        red=10,
    ),
    Panel(
        "Oldest event not handled",
        "s",
        (("", highest("longview_gateway_oldest_record_seconds")),),
        "Of those that the gateway has fetched.",
        "stat",
        6,
        red=300,
    ),
    Panel(
        "Parts that do not answer",
        "short",
        (("", f"count(longview_need_answers{{{HERE}}} == 0) or vector(0)"),),
        "Of all that some process needs.",
        "stat",
        6,
        red=1,
    ),
    Panel(
        "Studies by outcome",
        "cpm",
        (("{{outcome}}", f"60 * {per_second('longview_studies_total', 'outcome')}"),),
        "A minute.",
    ),
    Panel(
        "From the announcement to the inbox",
        "s",
        (
            ("half", quantile(0.5, "longview_result_seconds")),
            ("9 of 10", quantile(0.9, "longview_result_seconds")),
            ("9 of 10, above routine", quantile(0.9, "longview_result_seconds", matchers='priority!="routine"')),
        ),
        "What clinicians wait for.",
    ),
    Panel(
        "Why studies failed or were not read",
        "cpm",
        (
            (
                "{{outcome}} {{code}}",
                f"""60 * {per_second("longview_studies_total", "outcome, code", 'outcome!="read"')}""",
            ),
        ),
        "Codes are explained in docs/operations.md.",
    ),
    Panel(
        "Seconds by step",
        "s",
        (("{{activity}}", quantile(0.9, "longview_activity_seconds", "activity")),),
        "Nine of ten attempts of an activity are faster.",
    ),
    Panel(
        "Events by outcome",
        "cpm",
        (("{{topic}} {{outcome}}", f"60 * {per_second('longview_gateway_records_total', 'topic, outcome')}"),),
        "Records of the bus, a minute.",
    ),
    Panel(
        "Events not handled yet",
        "short",
        (("{{topic}}", f"sum by (topic) (longview_gateway_lag_records{{{HERE}}})"),),
        "To the end of each partition, as of the last fetch.",
    ),
    Panel(
        "Requests to other servers",
        "reqps",
        (("{{server}} {{outcome}}", per_second("longview_request_seconds_count", "server, outcome")),),
        "All kinds of request.",
    ),
    Panel(
        "Seconds of requests",
        "s",
        (("{{server}} {{kind}}", quantile(0.9, "longview_request_seconds", "server, kind")),),
        "Nine of ten are faster.",
    ),
    Panel(
        "Waiting for a worker",
        "s",
        (("{{task_queue}}", quantile(0.9, "temporal_activity_schedule_to_start_latency_seconds", "task_queue")),),
        "Nine of ten steps wait less.",
    ),
    Panel(
        "Events of ours that the bus has not got",
        "short",
        (
            ("events", highest("longview_outbox_waiting_events")),
            ("dead letters nobody has replayed", highest("longview_dead_letters_kept")),
        ),
        "The outbox, and what could not be read.",
    ),
    Panel(
        "Attempts that were made again or failed",
        "cpm",
        (
            (
                "{{activity}} {{code}}",
                f"""60 * {per_second("longview_activities_total", "activity, code", 'outcome=~"again|failed"')}""",
            ),
        ),
        "By step and code.",
    ),
    Panel(
        "What runs",
        "short",
        (
            (
                "{{process}} {{version}} {{build}}",
                f"count by (process, version, build) (longview_build_info{{{HERE}}})",
            ),
        ),
        "Processes by version and digest of the workflows' code.",
    ),
)

MODEL = (
    Panel(
        "Waiting",
        "short",
        (("", f"sum(vllm:num_requests_waiting{{{HERE}}})"),),
        "For a place on any server; what the number of servers follows.",
        "stat",
        6,
        red=10,
    ),
    Panel(
        "Computed together", "short", (("", f"sum(vllm:num_requests_running{{{HERE}}})"),), "On all servers.", "stat", 6
    ),
    Panel(
        "Answers cut off in 24 hours",
        "short",
        (("", f'sum(increase(vllm:request_success_total{{{HERE},finished_reason="length"}}[24h]))'),),
        "They end as `model-output-cut`.",
        "stat",
        6,
        red=1,
    ),
    Panel(
        "KV cache in use",
        "percentunit",
        (("", highest("vllm:kv_cache_usage_perc")),),
        "Of the fullest server.",
        "stat",
        6,
        red=0.95,
    ),
    Panel(
        "Requests",
        "short",
        (
            ("{{pod}} running", f"sum by (pod) (vllm:num_requests_running{{{HERE}}})"),
            ("{{pod}} waiting", f"sum by (pod) (vllm:num_requests_waiting{{{HERE}}})"),
        ),
        "By server.",
    ),
    Panel(
        "Seconds of a request",
        "s",
        (
            ("waits for a place, 9 of 10", quantile(0.9, "vllm:request_queue_time_seconds")),
            ("to the first token, 9 of 10", quantile(0.9, "vllm:time_to_first_token_seconds")),
            ("whole, half", quantile(0.5, "vllm:e2e_request_latency_seconds")),
            ("whole, 9 of 10", quantile(0.9, "vllm:e2e_request_latency_seconds")),
        ),
        "As the server measures them.",
    ),
    Panel(
        "Tokens",
        "short",
        (
            ("prompt", f"sum(rate(vllm:prompt_tokens_total{{{HERE}}}[$__rate_interval]))"),
            ("answer", f"sum(rate(vllm:generation_tokens_total{{{HERE}}}[$__rate_interval]))"),
        ),
        "A second.",
    ),
    Panel(
        "Found in the prefix cache",
        "percentunit",
        (
            (
                "{{pod}}",
                f"sum by (pod) (rate(vllm:prefix_cache_hits_total{{{HERE}}}[$__rate_interval]))"
                f" / sum by (pod) (rate(vllm:prefix_cache_queries_total{{{HERE}}}[$__rate_interval]))",
            ),
        ),
        "Share of the tokens that were looked for.",
    ),
    Panel(
        "Volumes and series of pictures",
        "cpm",
        (
            ("{{result}}", f"60 * {per_second('longview_encoder_items_total', 'result')}"),
            ("file {{result}}", f"60 * {per_second('longview_media_files_total', 'result')}"),
        ),
        "Whether the image encoder had to run, and whether a container's file had to be read; a minute.",
    ),
    Panel(
        "Images through the encoder",
        "short",
        (("images", f"sum(rate(longview_encoder_images_total{{{HERE}}}[$__rate_interval]))"),),
        "A second.",
    ),
    Panel(
        "Lost their place in the KV cache",
        "cpm",
        (("{{pod}}", f"60 * {per_second('vllm:num_preemptions_total', 'pod')}"),),
        "Requests that are computed again; a minute.",
    ),
    Panel(
        "As the workers see it",
        "s",
        (
            (
                "{{server}}, 9 of 10",
                quantile(0.9, "longview_request_seconds", "server", 'kind="ask"'),
            ),
        ),
        "With the network and the body in between.",
    ),
)

INBOX = (
    Panel(
        "Everybody told, nobody answered",
        "short",
        (("", highest("longview_inbox_unheard_results")),),
        "Results whose last step of escalation is over.",
        "stat",
        6,
        red=1,
    ),
    Panel(
        "Overdue",
        "short",
        (("", f"sum(max by (priority) (longview_inbox_overdue_results{{{HERE}}}))"),),
        "Past the time by which they were to be acknowledged.",
        "stat",
        6,
        red=1,
    ),
    Panel(
        "Oldest unread above routine",
        "s",
        (("", highest("longview_inbox_oldest_unread_seconds", matchers='priority!="routine"')),),
        "By its time of issue.",
        "stat",
        6,
        red=900,
    ),
    Panel(
        "Open pages", "short", (("", f"sum(longview_inbox_live_pages{{{HERE}}})"),), "That follow the list.", "stat", 6
    ),
    Panel(
        "Results that wait",
        "short",
        (("{{priority}}", highest("longview_inbox_open_results", "priority")),),
        "Nobody has decided about them.",
    ),
    Panel(
        "Oldest unread",
        "s",
        (("{{priority}}", highest("longview_inbox_oldest_unread_seconds", "priority")),),
        "By its time of issue.",
    ),
    Panel(
        "Decisions",
        "cpm",
        (("{{outcome}}", f"60 * {per_second('longview_inbox_decisions_total', 'outcome')}"),),
        "A minute; `stale` was decided or replaced meanwhile.",
    ),
    Panel(
        "Seconds of a decision",
        "s",
        (
            ("half", quantile(0.5, "longview_inbox_decision_seconds")),
            ("9 of 10", quantile(0.9, "longview_inbox_decision_seconds")),
        ),
        "Until FHIR has it and the reviewer is told so.",
    ),
    Panel(
        "Reconciliation",
        "short",
        (
            ("flagged for a person", highest("longview_reconcile_flagged_items")),
            ("left for the next pass", highest("longview_reconcile_left_items")),
        ),
        "Of the last pass that has ended.",
    ),
    Panel(
        "Since the last pass of reconciliation",
        "s",
        (("age", f"time() - {highest('longview_reconcile_ended_timestamp_seconds')}"),),
        "One is due every hour, as the settings are by default.",
    ),
    Panel(
        "Rates that have drifted",
        "short",
        (("alarms", highest("longview_drift_alarms")),),
        "On the last day that was looked at: `longview report drift`.",
    ),
    Panel(
        "Pages live",
        "bool_yes_no",
        (("{{pod}}", f"min by (pod) (longview_inbox_feed_up{{{HERE}}})"),),
        "Whether the list follows the database.",
    ),
)

DASHBOARDS = {
    "studies.json": ("longview-studies", "Longview: a day of studies", STUDIES),
    "model-server.json": ("longview-model", "Longview: model server", MODEL),
    "inbox.json": ("longview-inbox", "Longview: inbox and escalation", INBOX),
}


def dashboard(uid: str, title: str, panels: tuple[Panel, ...]) -> dict[str, Any]:
    """As Grafana imports it; the data source and the namespaces are chosen on the page."""
    return {
        "uid": uid,
        "title": title,
        "tags": ["longview"],
        "schemaVersion": 39,
        "editable": False,
        "timezone": "browser",
        "refresh": "30s",
        "time": {"from": "now-24h", "to": "now"},
        "templating": {"list": [_datasource(), _namespace()]},
        "panels": _placed(panels),
    }


def _datasource() -> dict[str, Any]:
    return {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}


def _namespace() -> dict[str, Any]:
    query = "label_values(longview_build_info, namespace)"
    more = {"includeAll": True, "allValue": ".*", "multi": True, "refresh": 2, "sort": 1}
    chosen = {"current": {"text": "All", "value": "$__all"}}
    return (
        {"name": "namespace", "label": "Namespace", "type": "query", "datasource": SOURCE, "query": query}
        | more
        | chosen
    )


def _placed(panels: tuple[Panel, ...]) -> list[dict[str, Any]]:
    """From left to right, row by row; a row is as high as its panels, which are alike."""
    placed, x, y, row = [], 0, 0, 0
    for number, panel in enumerate(panels, 1):
        height = HEIGHT // 2 if panel.kind == "stat" else HEIGHT
        if x + panel.width > WIDTH or (x and height != row):
            x, y = 0, y + row
        placed.append(_panel(number, panel, {"x": x, "y": y, "w": panel.width, "h": height}))
        x, row = x + panel.width, height
    return placed


def _panel(number: int, panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.red is not None:
        steps.append({"color": "red", "value": panel.red})
    targets = [
        {"refId": chr(ord("A") + index), "datasource": SOURCE, "expr": expression, "legendFormat": legend or "__auto"}
        for index, (legend, expression) in enumerate(panel.queries)
    ]
    return {
        "id": number,
        "title": panel.title,
        "description": panel.meaning,
        "type": panel.kind,
        "datasource": SOURCE,
        "gridPos": place,
        "fieldConfig": {
            "defaults": {"unit": panel.unit, "thresholds": {"mode": "absolute", "steps": steps}},
            "overrides": [],
        },
        "targets": targets,
    }


def files() -> dict[str, str]:
    """Name and content of each file."""
    return {name: json.dumps(dashboard(*what), indent=1) + "\n" for name, what in DASHBOARDS.items()}


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, content in files().items():
        (FOLDER / name).write_text(content)
