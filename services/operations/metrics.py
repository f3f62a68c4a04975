"""Every metric of ours, in one list: what may be recorded, by which process, and what it means. docs/metrics.md is made from it (`longview metrics`).

Values of a label are bounded, by name or by pattern, and none identifies a patient, a study or a person: a metric is readable by whoever may scrape.
"""

from __future__ import annotations

from typing import get_args

from schemas.errors import DeadLetterReason
from schemas.events import INBOUND_TOPICS, OUTBOUND_TOPICS
from schemas.report import Priority, ReviewOutcome
from services.operations.metric import OURS, SLOW, WHOLE, Label, Metric
from services.operations.metrics_of_others import OF_MODEL_SERVER, OF_TEMPORAL

PRIORITIES: tuple[str, ...] = get_args(Priority)

_CODE = Label("code", pattern=r"(?![0-9a-f-]{16,}$)[a-z][a-z0-9-]{0,63}")
"""Kebab-case, and never a digest or a UUID."""
_TOPIC = Label("topic", values=INBOUND_TOPICS)
_PARTITION = Label("partition", pattern=r"[0-9]{1,5}", most=1000)
_PRIORITY = Label("priority", values=PRIORITIES)
_MODALITY = Label("modality", pattern=r"[A-Z0-9]{2,16}|none")

_PROCESS = Label("process", values=OURS)

_OF_ALL = (
    Metric(
        "longview_build_info",
        "gauge",
        "yes or no",
        "Always 1: the version of Longview and the digest of the code that decides what a workflow does.",
        OURS,
        (
            _PROCESS,
            Label("version", pattern=r"[A-Za-z0-9.+-]{1,40}"),
            Label("build", pattern=r"[A-Za-z0-9._+-]{1,100}"),
        ),
    ),
    Metric("longview_ready", "gauge", "yes or no", "1 while /ready answers 200.", OURS, (_PROCESS,)),
    Metric(
        "longview_need_answers",
        "gauge",
        "yes or no",
        "1 for each part that the process needs and that has answered within the last 35 seconds.",
        OURS,
        (
            _PROCESS,
            Label("need", values=("bus", "database", "keys", "store", "temporal")),
        ),
    ),
    Metric(
        "longview_loop_age_seconds",
        "gauge",
        "seconds",
        "Since a loop of the process last came round; /health answers 503 beyond 60 (event-loop) or 180.",
        OURS,
        (
            _PROCESS,
            Label("loop", values=("event-loop", "consume", "publish", "feed")),
        ),
    ),
    Metric(
        "longview_state_read",
        "gauge",
        "yes or no",
        "1 when what this process tells of the database could be read at this scrape or in the 15 seconds before it; "
        "while it is 0 those metrics are absent.",
        ("gateway", "worker", "inbox"),
    ),
    Metric(
        "longview_database_connections",
        "gauge",
        "items",
        "Connections of the process's pool: in use (used), and open without being used (idle).",
        ("gateway", "worker", "inbox"),
        (Label("state", values=("used", "idle")),),
    ),
)

_GATEWAY = (
    Metric(
        "longview_gateway_records_total",
        "counter",
        "items",
        "Records of the bus by what became of them: accepted (Temporal has it), dead-letter, again (it will come again).",
        ("gateway",),
        (_TOPIC, Label("outcome", values=("accepted", "dead-letter", "again"))),
    ),
    Metric(
        "longview_gateway_dead_letters_total",
        "counter",
        "items",
        "Records that can never be handled, by reason; events of ours that can never be sent.",
        ("gateway",),
        (
            Label("topic", values=(*INBOUND_TOPICS, *OUTBOUND_TOPICS)),
            Label("reason", values=get_args(DeadLetterReason)),
        ),
    ),
    Metric(
        "longview_gateway_record_seconds",
        "histogram",
        "seconds",
        "From a record's turn to Temporal's (or the dead-letter topic's) word that it is kept.",
        ("gateway",),
    ),
    Metric(
        "longview_gateway_lag_records",
        "gauge",
        "items",
        "Records of a partition that are not handled yet, by the end of the partition as of the last fetch.",
        ("gateway",),
        (_TOPIC, _PARTITION),
    ),
    Metric(
        "longview_gateway_oldest_record_seconds",
        "gauge",
        "seconds",
        "Age of the oldest record that was fetched and is not handled, by its time on the bus; 0 without one.",
        ("gateway",),
    ),
    Metric(
        "longview_outbox_waiting_events",
        "gauge",
        "items",
        "Events of ours that the bus has not got yet (database).",
        ("gateway",),
    ),
    Metric(
        "longview_outbox_oldest_seconds",
        "gauge",
        "seconds",
        "Age of the oldest of them; 0 without one (database).",
        ("gateway",),
    ),
    Metric(
        "longview_outbox_sent_total",
        "counter",
        "items",
        "Events that the bus has taken from this gateway.",
        ("gateway",),
    ),
    Metric(
        "longview_outbox_sender",
        "gauge",
        "yes or no",
        "Whether this gateway is the one that sends our events; of several, one does.",
        ("gateway",),
    ),
    Metric(
        "longview_gateway_paused",
        "gauge",
        "yes or no",
        "Whether intake of a topic pauses because too many of its records are dead letters.",
        ("gateway",),
        (_TOPIC,),
    ),
    Metric(
        "longview_gateway_restarts_total",
        "counter",
        "items",
        "Loops that were begun anew: fault (an error ended it), stalled (it made no progress).",
        ("gateway",),
        (Label("loop", values=("consume", "publish")), Label("reason", values=("fault", "stalled"))),
    ),
    Metric(
        "longview_dead_letters_kept",
        "gauge",
        "items",
        "Dead letters that nobody has replayed (database).",
        ("gateway",),
    ),
)

_WORKER = (
    Metric(
        "longview_activities_total",
        "counter",
        "items",
        "Attempts of Temporal activities by outcome: done, again (it is tried again), failed (it is not), cancelled.",
        ("worker",),
        (
            Label("activity", pattern=r"[a-z][a-z_]{0,59}"),
            Label("outcome", values=("done", "again", "failed", "cancelled")),
            _CODE,
        ),
    ),
    Metric(
        "longview_activity_seconds",
        "histogram",
        "seconds",
        "How long an attempt of an activity took, however it ended.",
        ("worker",),
        (Label("activity", pattern=r"[a-z][a-z_]{0,59}"),),
        SLOW,
    ),
    Metric(
        "longview_studies_total",
        "counter",
        "items",
        "Studies by what came of them: read, abstained (an entry of the inbox that gives no reading, with its reason as code), "
        "failed or skipped (with the code that the run has). modality is none where it was not known.",
        ("worker",),
        (Label("outcome", values=("read", "abstained", "failed", "skipped")), _MODALITY, _CODE),
    ),
    Metric(
        "longview_runs_ended_total",
        "counter",
        "items",
        "Runs that have ended, by outcome alone, so that each stands at 0 from the start; closed: nothing new came of it "
        "(the same instances as before).",
        ("worker",),
        (Label("outcome", values=("read", "abstained", "failed", "skipped", "closed")),),
    ),
    Metric(
        "longview_result_seconds",
        "histogram",
        "seconds",
        "From the time of the event that announced the study to its entry in the inbox.",
        ("worker",),
        (_PRIORITY,),
        WHOLE,
    ),
    Metric(
        "longview_request_seconds",
        "histogram",
        "seconds",
        "Requests to other servers, to the end of a body or, where it is streamed, to its beginning. refused: a status from 400; "
        "broken: a status from 500 or 429; timeout; unreachable.",
        ("worker",),
        (
            Label("server", values=("fhir", "dicomweb", "model", "history-model", "shadow-model")),
            Label("kind", values=("read", "search", "write", "retrieve", "store", "ask", "look")),
            Label("outcome", values=("ok", "refused", "broken", "timeout", "unreachable")),
        ),
        SLOW,
    ),
    Metric(
        "longview_reconcile_ended_timestamp_seconds",
        "gauge",
        "unix time",
        "When the last pass of reconciliation ended; absent before the first (database).",
        ("worker",),
    ),
    Metric(
        "longview_reconcile_every_seconds",
        "gauge",
        "seconds",
        "Between two passes of reconciliation, as the settings say; 0: none begin by themselves.",
        ("worker",),
    ),
    Metric(
        "longview_reconcile_flagged_items",
        "gauge",
        "items",
        "What the last pass that has ended flagged for a person (database).",
        ("worker",),
    ),
    Metric(
        "longview_reconcile_left_items",
        "gauge",
        "items",
        "What that pass found beyond its cap and left for the next (database).",
        ("worker",),
    ),
    Metric(
        "longview_drift_alarms",
        "gauge",
        "items",
        "Rates of findings that have drifted, on the last day that was looked at (database).",
        ("worker",),
    ),
    Metric(
        "longview_payload_key_created_timestamp_seconds",
        "gauge",
        "unix time",
        "When the key that encrypts Temporal's payloads was made.",
        ("worker",),
    ),
    Metric(
        "longview_payload_keys",
        "gauge",
        "items",
        "Keys on the keyring.",
        ("worker",),
    ),
)

_INBOX = (
    Metric(
        "longview_inbox_open_results",
        "gauge",
        "items",
        "Results that nobody has decided about (database).",
        ("inbox",),
        (_PRIORITY,),
    ),
    Metric(
        "longview_inbox_oldest_unread_seconds",
        "gauge",
        "seconds",
        "Age of the oldest result that nobody has opened, by its time of issue; 0 without one (database).",
        ("inbox",),
        (_PRIORITY,),
    ),
    Metric(
        "longview_inbox_overdue_results",
        "gauge",
        "items",
        "Results past the time by which they were to be acknowledged, neither acknowledged nor decided about (database).",
        ("inbox",),
        (_PRIORITY,),
    ),
    Metric(
        "longview_inbox_unheard_results",
        "gauge",
        "items",
        "Of those, the ones whose last step of escalation is over: everybody on the list was told, nobody answered (database).",
        ("inbox",),
    ),
    Metric("longview_inbox_live_pages", "gauge", "items", "Open pages that follow the live list.", ("inbox",)),
    Metric(
        "longview_inbox_feed_up",
        "gauge",
        "yes or no",
        "1 while the live list follows the database; pages say that they may be stale while it is 0.",
        ("inbox",),
    ),
    Metric(
        "longview_inbox_decisions_total",
        "counter",
        "items",
        "Decisions and acknowledgements that a person has sent, by what became of them: recorded, by their outcome; stale "
        "(decided or replaced meanwhile); refused (by the FHIR server); unknown (no answer in time); away (a part of the system does not answer).",
        ("inbox",),
        (Label("outcome", values=(*get_args(ReviewOutcome), "acknowledged", "stale", "refused", "unknown", "away")),),
    ),
    Metric(
        "longview_inbox_decision_seconds",
        "histogram",
        "seconds",
        "From a decision sent to its answer.",
        ("inbox",),
        (),
        SLOW,
    ),
)

METRICS: tuple[Metric, ...] = (*_OF_ALL, *_GATEWAY, *_WORKER, *_INBOX, *OF_TEMPORAL, *OF_MODEL_SERVER)
BY_NAME = {metric.name: metric for metric in METRICS}
