"""Metrics of the software around us that dashboards and alerts are built on: part of the list in `services.operations.metrics`."""

from __future__ import annotations

from services.operations.metric import SLOW, Label, Metric, Process

_QUEUE = Label("task_queue", pattern=r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_WORKFLOW = Label("workflow_type", pattern=r"[A-Za-z]{1,60}")
_CLIENTS: tuple[Process, ...] = ("gateway", "worker", "inbox")

OF_TEMPORAL = (
    Metric(
        "longview_duplicate_events_total",
        "counter",
        "items",
        "Events that came a second time and were dropped by the patient's entity, by their id.",
        ("worker",),
    ),
    Metric(
        "temporal_request_total",
        "counter",
        "items",
        "Calls of the Temporal SDK to the server, by the server's operation.",
        _CLIENTS,
        (Label("operation", pattern=r"[A-Za-z]{1,60}"),),
    ),
    Metric(
        "temporal_request_failure_total",
        "counter",
        "items",
        "Those that failed, long polls not counted.",
        _CLIENTS,
        (Label("operation", pattern=r"[A-Za-z]{1,60}"), Label("status_code", pattern=r"[A-Z_]{2,30}")),
    ),
    Metric(
        "temporal_request_latency_seconds",
        "histogram",
        "seconds",
        "How long such a call took.",
        _CLIENTS,
        (Label("operation", pattern=r"[A-Za-z]{1,60}"),),
    ),
    Metric(
        "temporal_activity_schedule_to_start_latency_seconds",
        "histogram",
        "seconds",
        "How long an activity waited for a worker.",
        ("worker",),
        (_QUEUE,),
        SLOW,
    ),
    Metric(
        "temporal_workflow_task_schedule_to_start_latency_seconds",
        "histogram",
        "seconds",
        "How long a workflow task waited for a worker.",
        ("worker",),
        (_QUEUE,),
        SLOW,
    ),
    Metric(
        "temporal_workflow_task_execution_failed_total",
        "counter",
        "items",
        "Workflow tasks that failed: a defect of ours, or history that this version cannot replay (NonDeterminismError).",
        ("worker",),
        (_WORKFLOW, Label("failure_reason", pattern=r"[A-Za-z]{1,60}")),
    ),
    Metric(
        "temporal_workflow_failed_total",
        "counter",
        "items",
        "Workflows that ended in a failure.",
        ("worker",),
        (_WORKFLOW,),
    ),
    Metric(
        "temporal_worker_task_slots_used",
        "gauge",
        "items",
        "Places for tasks in use; worker_type is ActivityWorker or WorkflowWorker.",
        ("worker",),
        (_QUEUE, Label("worker_type", pattern=r"[A-Za-z]{1,40}")),
    ),
    Metric(
        "temporal_worker_task_slots_available",
        "gauge",
        "items",
        "Places for tasks that are free.",
        ("worker",),
        (_QUEUE, Label("worker_type", pattern=r"[A-Za-z]{1,40}")),
    ),
    Metric(
        "temporal_num_pollers",
        "gauge",
        "items",
        "Polls under way: 0 means that this worker takes no work.",
        ("worker",),
        (_QUEUE, Label("poller_type", pattern=r"[a-z_]{1,40}")),
    ),
)
"""Recorded by Temporal's SDK, which also counts what workflows count; these of its metrics are kept, the others are dropped."""

_REQUESTS = Label("model_name", pattern=r"\S{1,200}")
_ENGINE = Label("engine", pattern=r"[0-9]{1,3}")
_MODEL: tuple[Process, ...] = ("model",)

OF_MODEL_SERVER = (
    Metric(
        "longview_encoder_items_total",
        "counter",
        "items",
        "Volumes and series of pictures, by whether the image encoder had to run (encoded) or not (cached).",
        _MODEL,
        (Label("result", values=("encoded", "cached")),),
    ),
    Metric(
        "longview_encoder_images_total",
        "counter",
        "items",
        "Slices and pictures that went through the image encoder.",
        _MODEL,
    ),
    Metric(
        "longview_media_files_total",
        "counter",
        "items",
        "Containers named by a file: URL, by whether the file was read or known from before.",
        _MODEL,
        (Label("result", values=("read", "known")),),
    ),
    Metric(
        "vllm:num_requests_running",
        "gauge",
        "items",
        "Requests that are computed together now.",
        _MODEL,
        (_REQUESTS, _ENGINE),
    ),
    Metric(
        "vllm:num_requests_waiting",
        "gauge",
        "items",
        "Requests that wait for a place: what the model server is scaled by. Our front checks a request and hands it on at once, it keeps none back.",
        _MODEL,
        (_REQUESTS, _ENGINE),
    ),
    Metric(
        "vllm:kv_cache_usage_perc",
        "gauge",
        "items",
        "Share of the KV cache in use, from 0 to 1.",
        _MODEL,
        (_REQUESTS, _ENGINE),
    ),
    Metric(
        "vllm:num_preemptions_total",
        "counter",
        "items",
        "Requests that lost their place in the KV cache to another and are computed again.",
        _MODEL,
        (_REQUESTS, _ENGINE),
    ),
    Metric(
        "vllm:prompt_tokens_total",
        "counter",
        "items",
        "Tokens of prompts that were computed or found.",
        _MODEL,
        (_REQUESTS, _ENGINE),
    ),
    Metric(
        "vllm:generation_tokens_total",
        "counter",
        "items",
        "Tokens of answers.",
        _MODEL,
        (_REQUESTS, _ENGINE),
    ),
    Metric(
        "vllm:prefix_cache_queries_total",
        "counter",
        "items",
        "Tokens that were looked for in the prefix cache.",
        _MODEL,
        (_REQUESTS, _ENGINE),
    ),
    Metric(
        "vllm:prefix_cache_hits_total",
        "counter",
        "items",
        "Those of them that were found.",
        _MODEL,
        (_REQUESTS, _ENGINE),
    ),
    Metric(
        "vllm:e2e_request_latency_seconds",
        "histogram",
        "seconds",
        "From a request's arrival to its last token.",
        _MODEL,
        (_REQUESTS, _ENGINE),
    ),
    Metric(
        "vllm:time_to_first_token_seconds",
        "histogram",
        "seconds",
        "From a request's arrival to its first token.",
        _MODEL,
        (_REQUESTS, _ENGINE),
    ),
    Metric(
        "vllm:request_queue_time_seconds",
        "histogram",
        "seconds",
        "How long a request waited for a place.",
        _MODEL,
        (_REQUESTS, _ENGINE),
    ),
    Metric(
        "vllm:request_success_total",
        "counter",
        "items",
        "Answers by why they ended: stop, length (cut off), abort, error, repetition.",
        _MODEL,
        (_REQUESTS, _ENGINE, Label("finished_reason", values=("stop", "length", "abort", "error", "repetition"))),
    ),
)
"""Given by the model server on its own port: three counters of `model_runtime`, and those of vLLM's own that dashboards and alerts are built on. vLLM
has more."""
