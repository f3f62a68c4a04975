"""One entity per patient: remembers which observations were announced, so that a study read later knows them.

Takes events in order, drops redelivered ones by id, and carries its memory across continue-as-new. What an observation means for a
result that stands already is not decided here yet.
"""

from __future__ import annotations

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from schemas.runs import ObservationAvailable, PatientInput
    from workflows.patient import policies


@workflow.defn
class PatientWorkflow:
    """The memory of one patient's events."""

    @workflow.init
    def __init__(self, args: PatientInput) -> None:
        self._args = args
        self._observations = {observation.observation: observation for observation in args.observations}
        self._seen = dict.fromkeys(args.seen_event_ids)

    @workflow.run
    async def run(self, args: PatientInput) -> None:
        await workflow.wait_condition(lambda: workflow.info().is_continue_as_new_suggested())
        await workflow.wait_condition(workflow.all_handlers_finished)
        workflow.continue_as_new(
            PatientInput(
                patient_key=args.patient_key,
                observations=list(self._observations.values()),
                seen_event_ids=list(self._seen),
            )
        )

    @workflow.signal
    def observation_available(self, event: ObservationAvailable) -> None:
        """Takes an event once; the newest events are kept, the oldest forgotten."""
        if event.event_id in self._seen:
            return
        self._seen[event.event_id] = None
        self._observations.pop(event.observation, None)
        self._observations[event.observation] = event
        while len(self._seen) > policies.REMEMBERED_EVENTS:
            self._seen.pop(next(iter(self._seen)))
        while len(self._observations) > policies.REMEMBERED_OBSERVATIONS:
            self._observations.pop(next(iter(self._observations)))

    @workflow.query
    def observations(self) -> list[ObservationAvailable]:
        """What was announced, oldest first."""
        return list(self._observations.values())
