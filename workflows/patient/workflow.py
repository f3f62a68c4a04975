"""One entity per patient: every event of the bus about this patient passes through it, in order, and goes to the studies that it concerns.

    study, order or report --> the study's workflow, started if it does not run
    observations           --> one update for a burst of them, to every study that is still followed
    merge, un-merge        --> the other patient's entity, and the studies of both

A redelivered event is dropped by its id; what the entity knows is carried across continue-as-new.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from functools import partial
from typing import Any

from temporalio import workflow
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import ApplicationError, WorkflowAlreadyStartedError

with workflow.unsafe.imports_passed_through():
    from schemas.facts import (
        HandedOver,
        HistoryChanged,
        KnownStudy,
        ObservationAvailable,
        PatientChanged,
        PatientEvent,
        PatientInput,
        PatientMerged,
        ReportStudyInput,
        StudyEvent,
    )
    from schemas.identifiers import patient_workflow_id, study_workflow_id
    from schemas.telemetry.fields import fields
    from workflows.patient import policies
    from workflows.patient.memory import Delivery, PatientMemory
    from workflows.report_study.workflow import ReportStudyWorkflow
    from workflows.tracing import following


@workflow.defn
class PatientWorkflow:
    """Orders, remembers and fans out one patient's events."""

    @workflow.init
    def __init__(self, args: PatientInput) -> None:
        self._args = args
        self._memory = PatientMemory(args)
        self._pending = deque(args.pending)
        self._handed_over: deque[HandedOver] = deque(args.handed_over)

    @workflow.run
    async def run(self, args: PatientInput) -> None:
        if workflow.patched("fan-out"):
            while not workflow.info().is_continue_as_new_suggested():
                await workflow.wait_condition(lambda: bool(self._pending) or bool(self._handed_over))
                await self._take_next()
        else:
            await workflow.wait_condition(lambda: workflow.info().is_continue_as_new_suggested())
        await workflow.wait_condition(workflow.all_handlers_finished)
        workflow.continue_as_new(self._memory.as_input(args.patient_key, self._pending, self._handed_over))

    @workflow.signal
    def event_available(self, event: PatientEvent) -> None:
        """Takes an event of the bus once; one that comes back along a ring of merges too, since nobody else takes it."""
        if self._memory.is_new(event.event.event_id) or self._comes_back(event):
            if isinstance(event.event, ObservationAvailable):
                self._memory.observe([event.event])
            self._pending.append(event)
        else:
            workflow.metric_meter().create_counter("longview_duplicate_events").add(1)

    @workflow.signal
    def observation_available(self, event: ObservationAvailable) -> None:
        """As gateways before 0.2 tell it."""
        self.event_available(PatientEvent(event=event))

    @workflow.signal
    def handed_over(self, other: HandedOver) -> None:
        """From another patient's entity: its studies after a merge, or where this patient's events belong from now on."""
        if self._memory.is_new(f"{other.event_id}|{other.change}|{bool(other.studies)}|{other.patient_key}"):
            self._handed_over.append(other)

    @workflow.query
    def observations(self) -> list[ObservationAvailable]:
        """What was announced, oldest first."""
        return list(self._memory.observations.values())

    @workflow.query
    def studies(self) -> list[KnownStudy]:
        """The studies that the entity knows, oldest first."""
        return list(self._memory.studies.values())

    async def _take_next(self) -> None:
        if self._handed_over:
            other = self._handed_over.popleft()
            with following(other.event_id, "patient-event"):
                await self._take_handed_over(other)
            return
        with following(self._pending[0].event.event_id, "patient-event"):
            await self._take_pending()

    async def _take_pending(self) -> None:
        event = self._pending[0].event
        if self._comes_back(self._pending[0]):
            workflow.logger.warning("merge-ring", extra=fields(event_id=event.event_id))
            self._memory.merged_into = None
        if self._memory.merged_into is not None and not isinstance(event, PatientMerged):
            await self._forward(self._pending.popleft(), self._memory.merged_into)
        elif isinstance(event, ObservationAvailable):
            await self._take_burst()
        elif isinstance(event, PatientMerged):
            await self._take_merge(event)
            self._pending.popleft()
        else:
            for delivery in self._memory.place(self._pending.popleft(), workflow.now().isoformat()):
                with following(delivery.event.event_id, "tell-study"):  # one that waited has a trace of its own
                    await self._tell(delivery)

    def _comes_back(self, event: PatientEvent) -> bool:
        """Whether it was passed on by this patient before: the hospital has merged A into B, B into C and C into A."""
        return self._args.patient_key in event.through

    # -- observations ----------------------------------------------------------------------------------------------------

    async def _take_burst(self) -> None:
        """One update for all observations that stand in a row; wait for more only while nothing else waits behind them."""
        if workflow.patched("one-window"):
            burst = await self._window()
        else:
            burst = await self._a_window_each()
        first = burst[0]
        references = dict.fromkeys(event.observation for event in burst)
        update = HistoryChanged(event_id=first.event_id, patient=first.patient, observations=list(references))
        await self._tell_all(self._memory.followed(workflow.now()), update)

    async def _window(self) -> list[ObservationAvailable]:
        """One timer for one burst, begun with its first observation, whatever follows and when.

        A worker that dies between two signals leaves a history whose signals Temporal hands over one by one now, and together when it is
        replayed: what a workflow starts must not depend on which of the two it was.
        """
        with suppress(TimeoutError):
            await workflow.wait_condition(self._window_is_over, timeout=policies.BURST_WINDOW)
        burst: list[ObservationAvailable] = []
        while self._pending and len(burst) < policies.BURST_LIMIT:
            event = self._pending[0].event
            if not isinstance(event, ObservationAvailable):
                break
            burst.append(event)
            self._pending.popleft()
        return burst

    def _window_is_over(self) -> bool:
        return not self._all_observations() or len(self._pending) >= policies.BURST_LIMIT

    async def _a_window_each(self) -> list[ObservationAvailable]:
        """A timer for each observation, for histories that began so."""
        while self._all_observations() and len(self._pending) < policies.BURST_LIMIT:
            more = partial(self._more_than, len(self._pending))
            try:
                await workflow.wait_condition(more, timeout=policies.BURST_WINDOW)
            except TimeoutError:
                break
        burst = []
        while self._pending and isinstance(self._pending[0].event, ObservationAvailable):
            burst.append(self._pending.popleft().event)
        return [event for event in burst if isinstance(event, ObservationAvailable)]

    def _more_than(self, size: int) -> bool:
        return len(self._pending) > size

    def _all_observations(self) -> bool:
        return all(isinstance(event.event, ObservationAvailable) for event in self._pending)

    # -- merge and un-merge ----------------------------------------------------------------------------------------------

    async def _take_merge(self, merge: PatientMerged) -> None:
        """Another patient is merged into this one; if this one was merged into that one before, the two are parted again."""
        into = self._memory.merged_into
        if into is not None and into.patient_key == merge.retired_key:
            self._memory.merged_into = None
            await self._tell_entity(merge.retired_key, self._own(merge, "unmerged"))
            await self._tell_all(list(self._memory.studies.values()), _changed(merge, "unmerged"))
            return
        await self._tell_entity(merge.retired_key, self._own(merge, "merged", with_lists=False))
        await self._tell_all(self._memory.followed(workflow.now()), _changed(merge, "merged"))

    async def _take_handed_over(self, other: HandedOver) -> None:
        own = HandedOver(
            event_id=other.event_id,
            change="merged",
            patient=other.patient,
            patient_key=self._args.patient_key,
            studies=list(self._memory.studies.values()),
            observations=list(self._memory.observations.values()),
        )
        if other.change == "unmerged":
            self._memory.give_back(other)
        elif other.studies or other.observations:
            self._memory.take_over(other)
            if self._memory.merged_into is not None:  # retired itself: the studies belong to whoever is not
                await self._tell_entity(self._memory.merged_into.patient_key, other)
            changed = PatientChanged(
                event_id=f"{other.event_id}|handed-over",
                change="merged",
                patient=other.patient,
                patient_key=self._args.patient_key,
            )
            await self._tell_all(other.studies, changed)
        else:
            self._memory.merged_into = other
            if own.studies or own.observations:
                await self._tell_entity(other.patient_key, own)
            for event in self._memory.give_up_unplaced():
                await self._forward(event, other)

    def _own(self, merge: PatientMerged, change: Any, *, with_lists: bool = True) -> HandedOver:
        return HandedOver(
            event_id=merge.event_id,
            change=change,
            patient=merge.survivor,
            patient_key=self._args.patient_key,
            studies=list(self._memory.studies.values()) if with_lists else [],
            observations=list(self._memory.observations.values()) if with_lists else [],
        )

    async def _forward(self, event: PatientEvent, survivor: HandedOver) -> None:
        """A late event under the retired patient's name belongs to the survivor."""
        renamed = event.event.model_copy(update={"patient": survivor.patient})
        told = event.model_copy(update={"event": renamed, "through": [*event.through, self._args.patient_key]})
        key = survivor.patient_key
        await self._reach(key, "event_available", told, PatientInput(patient_key=key, pending=[told]))

    async def _tell_entity(self, patient_key: str, told: HandedOver) -> None:
        """An entity that does not exist begins with what it is told: as a retired one, or with the studies that it takes over."""
        if told.change == "unmerged":
            start = None
        elif told.studies or told.observations:
            start = PatientInput(patient_key=patient_key, handed_over=[told])
        else:
            start = PatientInput(patient_key=patient_key, merged_into=told)
        await self._reach(patient_key, "handed_over", told, start)

    async def _reach(self, patient_key: str, signal: str, told: Any, start: PatientInput | None) -> None:
        """Signal another patient's entity; one that does not run, or was ended by hand, begins with `start`."""
        workflow_id = patient_workflow_id(patient_key)
        handle = workflow.get_external_workflow_handle(workflow_id)
        try:
            await handle.signal(signal, told)
        except ApplicationError:
            if start is None:
                return
            try:
                await _start(PatientWorkflow.run, start, workflow_id)
            except WorkflowAlreadyStartedError:  # another was faster
                await handle.signal(signal, told)

    # -- studies ---------------------------------------------------------------------------------------------------------

    async def _tell_all(self, studies: list[KnownStudy], event: StudyEvent) -> None:
        await asyncio.gather(*(self._tell(Delivery(study, _with_announcement(study, event))) for study in studies))

    async def _tell(self, delivery: Delivery) -> None:
        """Signal the study's workflow; where none runs, one begins with what stands about the study, then with this event."""
        study, event = delivery
        handle = workflow.get_external_workflow_handle(study_workflow_id(study.study_key))
        try:
            await handle.signal("study_event", event)
        except ApplicationError:
            standing: list[StudyEvent] = [fact for fact in study.standing if fact != event]
            start = ReportStudyInput(
                study_key=study.study_key,
                patient_key=self._args.patient_key,
                thread_id=study.thread_id,
                study_instance_uid=study.study_instance_uid,
                pending=[*standing, event],
            )
            try:
                await _start(ReportStudyWorkflow.run, start, study_workflow_id(study.study_key))
            except WorkflowAlreadyStartedError:  # a gateway of an earlier version was faster
                await handle.signal("study_event", event)


def _with_announcement(study: KnownStudy, event: StudyEvent) -> StudyEvent:
    """After a merge: what could not be read under the retired record can be read under the survivor."""
    if not isinstance(event, PatientChanged) or event.change != "merged" or study.announced is None:
        return event
    announced = study.announced.model_copy(update={"patient": event.patient})
    return event.model_copy(update={"announced": announced})


def _changed(merge: PatientMerged, change: Any) -> PatientChanged:
    return PatientChanged(
        event_id=merge.event_id, change=change, patient=merge.survivor, patient_key=merge.survivor_key
    )


async def _start(run: Any, argument: Any, workflow_id: str) -> None:
    """Begin a workflow that lives on by itself: what becomes of it is told by its own run, not here."""
    child = await workflow.start_child_workflow(
        run,
        argument,
        id=workflow_id,
        id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        parent_close_policy=workflow.ParentClosePolicy.ABANDON,
    )
    child.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
