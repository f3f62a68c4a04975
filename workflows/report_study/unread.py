"""What is told of a study that could not be read, and how a person answers it: in FHIR first, then in the inbox."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from temporalio import activity, workflow

with workflow.unsafe.imports_passed_through():
    from schemas.codes import Canonical
    from schemas.errors import LongviewError, StaleWrite, TransientFailure
    from schemas.identifiers import canonical_json
    from schemas.inbox import NoticeClosed
    from schemas.inference import ModelRelease
    from schemas.runs import AttendStudy, TellUnread
    from schemas.timeline import Timeline
    from workflows.ports import FhirServer, Inbox, Model, ObjectStore
    from workflows.reading.caution import without_instructions
    from workflows.report.unread import answered_task, unread_sentence, unread_task
    from workflows.report_study import policies
    from workflows.report_study.assembly import Site, unread_result
    from workflows.report_study.imaging import load_account


class UnreadActivities:
    """Holds the ports; one method per step."""

    def __init__(self, site: Site, *, fhir: FhirServer, inbox: Inbox, store: ObjectStore, model: Model) -> None:
        self._site = site
        self._canonical = Canonical(site.namespace.base)
        self._fhir = fhir
        self._inbox = inbox
        self._store = store
        self._model = model

    def all(self) -> list[Callable[..., Any]]:
        """Every activity, for the worker to register."""
        return [self.tell_unread, self.attend_study]

    @activity.defn
    def tell_unread(self, args: TellUnread) -> str:
        """The Task and the inbox's entry of the notice, whose id is returned; older notices of the study are closed."""
        timeline = without_instructions(Timeline.model_validate_json(self._store.get(args.timeline)))
        notice = self._site.namespace.key("unread", args.thread_id, args.event.inventory_digest, args.code)
        account = load_account(self._store, args.account)
        sentence = unread_sentence(args.hint if account else "")  # else it is for operators: no image was at fault
        bundle = unread_task(
            self._canonical,
            notice,
            timeline,
            args.event.study_instance_uid,
            sentence,
            account,
            role=self._site.review_role,
            priority=args.priority,
            at=args.issued,
        )
        [task] = self._fhir.transaction(canonical_json(bundle))
        close_notices(self._fhir, self._inbox, self._canonical, args.thread_id, notice, args.issued)
        result = unread_result(self._release(), timeline, account, sentence, notice, task, args)
        self._inbox.add_notice(args.run_id, result)
        return notice

    def _release(self) -> ModelRelease | None:
        """Of the model that would have read the study, as far as it can be asked: it may be what failed."""
        try:
            return self._model.release()
        except LongviewError:
            return None

    @activity.defn
    def attend_study(self, args: AttendStudy) -> None:
        """Somebody has looked at the study: the Task is completed, the entry leaves the list."""
        _close_task(self._fhir, self._canonical, args.task, "completed", args.by, args.at)
        closed = NoticeClosed(result_id=args.result_id, status="attended", act_id=args.act_id, by=args.by, at=args.at)
        self._inbox.close_notice(closed)


def close_notices(
    fhir: FhirServer, inbox: Inbox, canonical: Canonical, thread_id: str, successor: str, at: str
) -> None:
    """A reading of the study, or a newer notice, has taken the place of those that nobody has answered."""
    for notice in inbox.open_notices(thread_id):
        if notice.result_id != successor:
            _close_task(fhir, canonical, notice.task, "cancelled", None, at)
            closed = NoticeClosed(result_id=notice.result_id, status="superseded", act_id=successor, by=None, at=at)
            inbox.close_notice(closed)


def _close_task(fhir: FhirServer, canonical: Canonical, reference: str, status: str, by: str | None, at: str) -> None:
    bundle = answered_task(canonical, fhir.read(reference), status, by, at)
    if bundle is None:
        return
    try:
        fhir.transaction(canonical_json(bundle))
    except StaleWrite as stale:
        raise TransientFailure("task-stale", "the Task has changed meanwhile: it is read again") from stale


@workflow.defn
class AttendStudyWorkflow:
    """A person's word that they have looked at a study which could not be read; its id is the notice's, so it is taken once."""

    @workflow.run
    async def run(self, args: AttendStudy) -> None:
        policy = policies.STEPS["attend_study"]
        await workflow.execute_activity_method(
            UnreadActivities.attend_study,
            args,
            start_to_close_timeout=policy.attempt,
            schedule_to_close_timeout=policy.total,
            heartbeat_timeout=policies.HEARTBEAT,
            retry_policy=policies.RETRY,
        )
