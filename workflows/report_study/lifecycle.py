"""The steps of a result's life after it was posted: closing, escalation, addenda. FHIR first, then inbox and outbox.

Every step may run more than once, and may meet a human's decision half-way: it looks whether its effect stands, plans from what FHIR holds
now, writes on condition of those versions, and plans again when they have changed. A human's decision always wins.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from temporalio import activity

from schemas.codes import Canonical, Json
from schemas.errors import PermanentFailure, StaleWrite, TransientFailure
from schemas.identifiers import canonical_json
from schemas.inbox import EntryAcknowledged, EntryClosed, EntryEscalated
from schemas.lifecycle import (
    AddendumWritten,
    AssessHistory,
    CloseResult,
    EscalationExhausted,
    HistoryAssessed,
    NotifyStep,
    RecordAcknowledgement,
    Reprioritise,
    ResultClosed,
    StandingQuery,
    StandingResult,
    StepNotified,
    TaskChanged,
    WriteAddendum,
)
from workflows.ports import FhirServer, Inbox, ObjectStore
from workflows.report import (
    AddendumContext,
    PostedResult,
    addendum_id,
    build_addendum,
    build_closing,
    check_final_report,
    closing_effect,
    stands,
)
from workflows.report.escalation import (
    acknowledged,
    acknowledgement_step,
    build_acknowledgement,
    build_exhaustion,
    build_notification,
    build_priority,
    exhausted,
    exhaustion_step,
    notification_step,
)
from workflows.report.raised_task import raise_on
from workflows.report_study import events
from workflows.report_study.assembly import Site, acknowledge_by, addendum_result
from workflows.report_study.fhir_results import (
    addenda_to,
    as_written,
    find_closing,
    find_communication,
    find_result,
    one,
    patients_of,
    read_posted,
    standing_state,
)
from workflows.report_study.later_observations import assess, later_entries
from workflows.timeline.fields import unversioned, versioned

PLANS = 4
"""How often a step plans anew within one attempt when others write at the same time."""

Effect = TypeVar("Effect")


class LifecycleActivities:
    """Holds the ports; one method per step."""

    def __init__(self, site: Site, *, fhir: FhirServer, store: ObjectStore, inbox: Inbox) -> None:
        self._site = site
        self._ns = site.namespace
        self._canonical = Canonical(site.namespace.base)
        self._fhir = fhir
        self._store = store
        self._inbox = inbox

    def all(self) -> list[Callable[..., Any]]:
        """Every activity, for the worker to register."""
        return [
            self.standing_result,
            self.close_result,
            self.notify_step,
            self.record_acknowledgement,
            self.exhaust_escalation,
            self.reprioritise,
            self.assess_history,
            self.write_addendum,
        ]

    @activity.defn
    def standing_result(self, args: StandingQuery) -> StandingResult:
        """Which result of a study stands, from FHIR alone."""
        posted, state = standing_state(self._fhir, self._canonical, args.thread_id)
        if posted is None:
            return StandingResult(written=None, state=state)
        written = as_written(self._fhir, self._canonical, args.thread_id, posted)
        raised = raise_on(self._canonical, posted.task) if state == "awaiting-review" else None
        return StandingResult(written=written, state=state, raised=raised)

    # -- closing ---------------------------------------------------------------------------------------------------------

    @activity.defn
    def close_result(self, args: CloseResult) -> ResultClosed:
        """Close a result and the unread addenda to it; `PermanentFailure` `final-report-*` if the report named may not do so."""
        base = self._posted(args.result_id)
        final = self._final_report(args, base)
        closed = self._close(args, final)
        for addendum in addenda_to(self._fhir, self._canonical, args.thread_id, base.report):
            self._close(self._closing_of_addendum(args, addendum), final)
        return closed

    def _final_report(self, args: CloseResult, posted: PostedResult) -> Json | None:
        if args.reason != "superseded-by-final-report":
            return None
        if args.final_report is None:
            raise PermanentFailure("final-report-missing", "nothing says which report is the radiologist's final one")
        final = self._fhir.read(unversioned(args.final_report))
        return check_final_report(self._canonical, posted, final, patients_of(self._fhir, posted.report))

    def _closing_of_addendum(self, args: CloseResult, addendum: PostedResult) -> CloseResult:
        result_id = addendum.result_id(self._canonical)
        act_id = self._ns.key("close", args.act_id, result_id)
        return args.model_copy(update={"act_id": act_id, "result_id": result_id})

    def _close(self, args: CloseResult, final: Json | None) -> ResultClosed:
        """One result. What was hidden, decided or closed already is left alone, and nobody is told of it."""

        def look() -> ResultClosed | None:
            return find_closing(self._fhir, self._canonical, args.act_id, args.result_id)

        def plan(posted: PostedResult) -> Json | None:
            if closing_effect(self._canonical, posted, args.reason) == "none":
                return None
            return build_closing(self._ns, posted, args, final)

        closed, posted = self._settle(args.result_id, look, plan)
        if closed is None:
            return ResultClosed(result_id=args.result_id, changed=False, report=versioned(posted.report), provenance="")
        entry = EntryClosed(
            result_id=args.result_id,
            act_id=args.act_id,
            reason=args.reason,
            changed=closed.changed,
            report=closed.report,
            at=args.at,
        )
        named = versioned(final) if final else None
        self._inbox.close(entry, events.result_closed(self._ns, self._site.event_source, args, closed, named))
        return closed

    # -- escalation ------------------------------------------------------------------------------------------------------

    @activity.defn
    def notify_step(self, args: NotifyStep) -> StepNotified:
        """Tell the recipient of a step, unless the result was decided, closed, acknowledged or given up meanwhile."""
        look = self._communication(args.result_id, notification_step(args.step.number))

        def plan(posted: PostedResult) -> Json | None:
            return build_notification(self._ns, posted, args) if self._waits(posted) else None

        told, posted = self._settle(args.result_id, look, plan)
        if told is None:
            return StepNotified(communication="", task=versioned(posted.task), written=False)
        notified = StepNotified(communication=versioned(told), task=versioned(posted.task))
        event = events.result_escalated(self._ns, self._site.event_source, args, notified.communication, notified.task)
        step = EntryEscalated(result_id=args.result_id, step=args.step.number)
        self._inbox.record_escalation(step, event if args.step.number > 1 else None)
        return notified

    def _waits(self, posted: PostedResult) -> bool:
        """Nobody has decided about it, answered, or been given up on."""
        return posted.unread and not acknowledged(self._canonical, posted.task) and not exhausted(posted.task)

    @activity.defn
    def record_acknowledgement(self, args: RecordAcknowledgement) -> StepNotified:
        """A human says that the result reached them; the first one counts, and none once the result is decided or closed."""
        act = args.act
        look = self._communication(act.result_id, acknowledgement_step(args.step))

        def plan(posted: PostedResult) -> Json | None:
            if not posted.unread or acknowledged(self._canonical, posted.task):
                return None
            told = self._communication(act.result_id, notification_step(args.step))()
            return build_acknowledgement(self._ns, posted, args, told)

        answer, posted = self._settle(act.result_id, look, plan)
        if answer is None:
            return StepNotified(communication="", task=versioned(posted.task), written=False)
        recorded = StepNotified(communication=versioned(answer), task=versioned(posted.task))
        event = events.escalation_acknowledged(
            self._ns, self._site.event_source, args, recorded.communication, recorded.task
        )
        entry = EntryAcknowledged(result_id=act.result_id, by=act.by, at=answer["sent"])
        self._inbox.record_acknowledgement(entry, event if args.step > 1 else None)
        return recorded

    @activity.defn
    def exhaust_escalation(self, args: EscalationExhausted) -> TaskChanged:
        """Nobody acknowledged in any step: said once, unless somebody did or decided meanwhile. The result stays open to a decision."""
        look = self._communication(args.result_id, exhaustion_step(args.step))

        def plan(posted: PostedResult) -> Json | None:
            return build_exhaustion(self._ns, posted, args) if self._waits(posted) else None

        told, posted = self._settle(args.result_id, look, plan)
        if told is None:
            return TaskChanged(task=versioned(posted.task), changed=False)
        event = events.escalation_exhausted(
            self._ns, self._site.event_source, args, versioned(told), versioned(posted.task)
        )
        self._inbox.record_escalation(EntryEscalated(result_id=args.result_id, step=args.step, exhausted=True), event)
        return TaskChanged(task=versioned(posted.task))

    @activity.defn
    def reprioritise(self, args: Reprioritise) -> TaskChanged:
        """An unread result follows its order upwards, never downwards, nor below what a critical finding has raised it to."""

        def plan(posted: PostedResult) -> Json | None:
            return build_priority(self._canonical, posted, args.priority, args.at) if posted.unread else None

        _, posted = self._settle(args.result_id, lambda: None, plan)
        if posted.unread:
            self._inbox.raise_priority(args.result_id, args.priority)
        raised = posted.unread and posted.task.get("priority") == args.priority
        return TaskChanged(task=versioned(posted.task), changed=raised)

    # -- addenda ---------------------------------------------------------------------------------------------------------

    @activity.defn
    def assess_history(self, args: AssessHistory) -> HistoryAssessed:
        """Which of the observations the table of rules names, and the result did not know."""
        base = self._posted(args.result_id)
        addenda = addenda_to(self._fhir, self._canonical, args.thread_id, base.report)
        return assess(self._fhir, self._store, self._canonical, base, addenda, args)

    @activity.defn
    def write_addendum(self, args: WriteAddendum) -> AddendumWritten:
        """A new result beside the old one, with its own task and inbox entry; nothing where the old one stands no longer."""
        key = addendum_id(self._ns, args.result_id, args.assessed)
        standing = find_result(self._fhir, self._canonical, args.thread_id, key)
        base = self._posted(args.result_id)
        if standing is None and not stands(self._canonical, base):
            return AddendumWritten(addendum_id=key, report="", task="", written=False)
        context = AddendumContext(
            namespace=self._ns,
            thread_id=args.thread_id,
            base=base,
            assessed=args.assessed,
            issued=args.issued,
            priority=args.priority,
            review_role=self._site.review_role,
            organization=self._site.organization,
            acknowledge_by=acknowledge_by(self._site, args.priority, args.issued),
            escalation_policy=self._site.policy(args.priority).name,
        )
        if standing is None:
            self._post(build_addendum(context))
            standing = find_result(self._fhir, self._canonical, args.thread_id, key)
        if standing is None:
            raise TransientFailure("fhir-unavailable", "the addendum is not to be seen in FHIR yet")
        self._show_addendum(args, context, standing.report, standing.task)
        return AddendumWritten(addendum_id=key, report=standing.report, task=standing.task)

    def _post(self, bundle: Json) -> None:
        try:
            self._fhir.transaction(canonical_json(bundle))
        except StaleWrite as stale:
            raise TransientFailure("fhir-race", "another write came first; the addendum is posted again") from stale

    def _show_addendum(self, args: WriteAddendum, context: AddendumContext, report: str, task: str) -> None:
        old = self._inbox.find(args.result_id)
        if old is None:
            raise PermanentFailure("inbox-entry-missing", "the result that is added to is not in the inbox")
        entries = later_entries(self._fhir, patients_of(self._fhir, context.base.report), context.observations)
        shown = addendum_result(old, context, args.workflow_id, report, task, entries)
        event = events.result_available(self._ns, self._site.event_source, args.event_id, shown)
        self._inbox.add_addendum(shown, event)

    # -- how every step writes -------------------------------------------------------------------------------------------

    def _settle(
        self, result_id: str, look: Callable[[], Effect | None], plan: Callable[[PostedResult], Json | None]
    ) -> tuple[Effect | None, PostedResult]:
        """The effect, and the result as it stands with it; None where there is nothing (any more) to be done.

        `look` finds the effect if it stands already, `plan` makes the Bundle for the result as it was just read.
        """
        for _ in range(PLANS):
            done = look()
            posted = self._posted(result_id)
            if done is not None:
                return done, posted
            bundle = plan(posted)
            if bundle is None:
                return look(), posted
            try:
                self._fhir.transaction(canonical_json(bundle))
            except StaleWrite:
                continue
        raise TransientFailure("fhir-race", "others write to the same result: the step is tried again")

    def _posted(self, result_id: str) -> PostedResult:
        report = one(self._fhir.find("DiagnosticReport", self._canonical.sid("ai-result"), result_id), "result-doubled")
        if report is None:
            raise PermanentFailure("result-unknown", "FHIR does not hold the result")
        return read_posted(self._fhir, self._canonical, report)

    def _communication(self, result_id: str, step: str) -> Callable[[], Json | None]:
        return lambda: find_communication(self._fhir, self._ns, result_id, step)
