"""How a study's trace goes through Temporal: in a header of every start, signal, update and activity, never in an argument.

A patient's entity lives for years and takes the events of many traces, and a study's workflow takes more than one. So the trace of each event is
remembered by the event's id until the event is taken up; `following` makes it the current one then, and what is ordered inside the block carries it.
Headers are no part of what a replay compares, ids of spans are derived instead of drawn, and a replayed step records nothing: histories with and
without traces replay alike. An older worker ignores the header (a field in an argument would make it drop the signal).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NoReturn

from temporalio import activity, client, worker, workflow
from temporalio.api.common.v1 import Payload
from temporalio.converter import PayloadConverter

with workflow.unsafe.imports_passed_through():
    from schemas.facts import PatientEvent, PatientInput, ReportStudyInput
    from schemas.telemetry import traces
    from schemas.telemetry.fields import Fields, allowed
    from schemas.telemetry.traces import FinishedSpan, Name, TraceContext
    from workflows.report_study import policies

HEADER = "longview-trace"
WAITING = "waiting"
"""Traces of the events that an argument carries, in their order: across continue-as-new."""
REMEMBERED = 200
"""Traces of events that wait; the oldest are forgotten, and their events go on under the trace of what took them up."""
_RECORD = "longview_record_span"
Headers = Mapping[str, Payload]
_converter = PayloadConverter.default


class Remembered:
    """Which trace an event of this workflow belongs to."""

    def __init__(self) -> None:
        self._traces: dict[str, TraceContext] = {}
        self.taken = 0

    def add(self, event_id: str, context: TraceContext) -> None:
        self._traces[event_id] = context
        while len(self._traces) > REMEMBERED:
            self._traces.pop(next(iter(self._traces)))

    def of(self, event_id: str) -> TraceContext | None:
        return self._traces.get(event_id)


_remembered: ContextVar[Remembered | None] = ContextVar("longview_remembered_traces", default=None)


@contextmanager
def following(event_id: str, name: Name) -> Iterator[None]:
    """In a workflow: what is done inside the block is done for this event, and is one span of its trace. Without a trace nothing happens."""
    remembered, outer = _remembered.get(), traces.current()
    known = remembered.of(event_id) if remembered is not None else None
    parent = outer if outer is not None and (known is None or known.trace_id == outer.trace_id) else known
    extern = workflow.extern_functions().get(_RECORD)
    if remembered is None or parent is None or extern is None:
        with traces.within(parent):
            yield
        return
    remembered.taken += 1
    info = workflow.info()
    context = parent.child(traces.derived_span_id(info.run_id, str(remembered.taken), str(parent)))
    start, failed = workflow.time_ns(), None
    try:
        with traces.within(context):
            yield
    except Exception as error:
        failed = traces.failure(error)
        _finish(extern, name, context, parent, start, failed)
        raise
    # not in a `finally`: a workflow that is put out of memory has not ended its span
    _finish(extern, name, context, parent, start, failed)


def _finish(
    extern: Callable[[FinishedSpan], None],
    name: Name,
    context: TraceContext,
    parent: TraceContext,
    start: int,
    failed: str | None,
) -> None:
    if workflow.unsafe.is_replaying():
        return
    info = workflow.info()
    given = allowed(
        {"workflow": info.workflow_type, "workflow_id": info.workflow_id, "study_key": _study_key(info.workflow_id)}
    )
    extern(FinishedSpan(name, "internal", context, parent, start, workflow.time_ns(), given, failed))


def _study_key(workflow_id: str) -> str | None:
    return workflow_id.removeprefix("study-") if workflow_id.startswith("study-") else None


class Tracing(client.Interceptor, worker.Interceptor):
    """Given to the client, it serves the workers of that client as well."""

    def intercept_client(self, next: client.OutboundInterceptor) -> client.OutboundInterceptor:
        return _FromClient(next)

    def intercept_activity(self, next: worker.ActivityInboundInterceptor) -> worker.ActivityInboundInterceptor:
        return _IntoActivity(next)

    def workflow_interceptor_class(
        self, input: worker.WorkflowInterceptorClassInput
    ) -> type[worker.WorkflowInboundInterceptor] | None:
        if traces.is_recording():
            input.unsafe_extern_functions[_RECORD] = traces.record
        return _IntoWorkflow


# -- headers -----------------------------------------------------------------------------------------------------------


def _written(headers: Headers, waiting: list[str] | None = None) -> Headers:
    """With the current trace, and those of the events that wait."""
    said: dict[str, Any] = {}
    if (current := traces.traceparent()) is not None:
        said[traces.TRACEPARENT] = current
    if waiting and any(waiting):
        said[WAITING] = waiting
    return {**headers, HEADER: _converter.to_payload(said)} if said else headers


def _said(headers: Headers) -> dict[str, Any]:
    payload = headers.get(HEADER)
    said = _converter.from_payload(payload) if payload is not None else None
    return said if isinstance(said, dict) else {}


def _read(headers: Headers) -> TraceContext | None:
    return traces.parse(_said(headers).get(traces.TRACEPARENT))


def events_of(argument: object) -> list[str]:
    """Ids of the events that an argument brings along, in their order."""
    if isinstance(argument, PatientEvent):
        return [argument.event.event_id]
    if isinstance(argument, PatientInput):
        events = [event.event.event_id for event in (*argument.pending, *argument.unplaced)]
        return events + [other.event_id for other in argument.handed_over]
    if isinstance(argument, ReportStudyInput):
        return [event.event_id for event in argument.pending]
    event_id = getattr(argument, "event_id", None)
    return [event_id] if isinstance(event_id, str) else []


# -- the client --------------------------------------------------------------------------------------------------------


class _FromClient(client.OutboundInterceptor):
    async def start_workflow(self, input: client.StartWorkflowInput) -> client.WorkflowHandle[Any, Any]:
        input.headers = _written(input.headers)
        return await super().start_workflow(input)

    async def signal_workflow(self, input: client.SignalWorkflowInput) -> None:
        input.headers = _written(input.headers)
        await super().signal_workflow(input)

    async def start_workflow_update(self, input: client.StartWorkflowUpdateInput) -> client.WorkflowUpdateHandle[Any]:
        input.headers = _written(input.headers)
        return await super().start_workflow_update(input)


# -- activities --------------------------------------------------------------------------------------------------------


class _IntoActivity(worker.ActivityInboundInterceptor):
    """One span for each attempt."""

    async def execute_activity(self, input: worker.ExecuteActivityInput) -> Any:
        info = activity.info()
        argument = input.args[0] if input.args else None
        with (
            traces.within(_read(input.headers)),
            traces.span("activity", **_attempt(info, argument)) as span,
        ):
            result = await super().execute_activity(input)
            span.note(**_keys_of(result))
            return result


def _attempt(info: activity.Info, argument: object) -> Fields:
    policy, keys = policies.STEPS.get(info.activity_type), _keys_of(argument)
    told = Fields(activity=info.activity_type, attempt=info.attempt)
    if policy is not None:
        told["stage"] = policy.stage
    if info.workflow_id:
        told["workflow_id"] = info.workflow_id
        if (study_key := _study_key(info.workflow_id)) is not None:
            told["study_key"] = study_key
    return {**told, **keys}


def _keys_of(record: object) -> Fields:
    """The keys that a record of ours names."""
    found = Fields()
    if isinstance(study_key := getattr(record, "study_key", None), str):
        found["study_key"] = study_key
    if isinstance(run_id := getattr(record, "run_id", None), str):
        found["run_id"] = run_id
    if isinstance(result_id := getattr(record, "result_id", None), str):
        found["result_id"] = result_id
    return found


# -- workflows ---------------------------------------------------------------------------------------------------------


class _IntoWorkflow(worker.WorkflowInboundInterceptor):
    def __init__(self, next: worker.WorkflowInboundInterceptor) -> None:
        super().__init__(next)
        self._remembered = Remembered()

    def init(self, outbound: worker.WorkflowOutboundInterceptor) -> None:
        super().init(_OutOfWorkflow(outbound, self._remembered))

    async def execute_workflow(self, input: worker.ExecuteWorkflowInput) -> Any:
        """An event that comes with the start has the start's trace, unless the header names its own."""
        said = _said(input.headers)
        started = traces.parse(said.get(traces.TRACEPARENT))
        events = events_of(input.args[0]) if input.args else []
        own = said.get(WAITING)
        own = own if isinstance(own, list) and len(own) == len(events) else [None] * len(events)
        for event_id, waiting in zip(events, own, strict=True):
            context = traces.parse(waiting) or started
            if context is not None:
                self._remembered.add(event_id, context)
        _remembered.set(self._remembered)
        # A study's own start is its event's; an entity goes on after it, so that nothing but its events has a trace.
        with traces.within(None if events or _is_entity(input) else started):
            return await super().execute_workflow(input)

    async def handle_signal(self, input: worker.HandleSignalInput) -> None:
        context = _read(input.headers)
        if context is not None:
            for event_id in [event_id for argument in input.args for event_id in events_of(argument)]:
                self._remembered.add(event_id, context)
        _remembered.set(self._remembered)
        with traces.within(context):
            await super().handle_signal(input)

    async def handle_update_handler(self, input: worker.HandleUpdateInput) -> Any:
        _remembered.set(self._remembered)
        with traces.within(_read(input.headers)):
            return await super().handle_update_handler(input)


def _is_entity(input: worker.ExecuteWorkflowInput) -> bool:
    return bool(input.args) and isinstance(input.args[0], PatientInput | ReportStudyInput)


class _OutOfWorkflow(worker.WorkflowOutboundInterceptor):
    def __init__(self, next: worker.WorkflowOutboundInterceptor, remembered: Remembered) -> None:
        super().__init__(next)
        self._remembered = remembered

    def start_activity(self, input: worker.StartActivityInput) -> workflow.ActivityHandle[Any]:
        input.headers = _written(input.headers)
        return super().start_activity(input)

    async def start_child_workflow(
        self, input: worker.StartChildWorkflowInput
    ) -> workflow.ChildWorkflowHandle[Any, Any]:
        input.headers = _written(input.headers, self._waiting(input.args))
        return await super().start_child_workflow(input)

    async def signal_external_workflow(self, input: worker.SignalExternalWorkflowInput) -> None:
        input.headers = _written(input.headers)
        await super().signal_external_workflow(input)

    def continue_as_new(self, input: worker.ContinueAsNewInput) -> NoReturn:
        input.headers = _written(input.headers, self._waiting(input.args))
        super().continue_as_new(input)

    def _waiting(self, arguments: Any) -> list[str]:
        """Without the events' ids, which are the hospital's own words: by their order in the argument."""
        events = events_of(arguments[0]) if arguments else []
        return [str(self._trace_of(event_id) or "") for event_id in events]

    def _trace_of(self, event_id: str) -> TraceContext | None:
        known, current = self._remembered.of(event_id), traces.current()
        return current if known and current and known.trace_id == current.trace_id else known
