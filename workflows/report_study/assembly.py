"""What the steps have gathered, put together: as the context of a FHIR result, and as the inbox's entry. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo

from schemas.critical import NO_CRITICAL_LIST, CriticalList
from schemas.identifiers import Namespace, ni_from_hex, without_version
from schemas.imaging import SeriesSource
from schemas.inbox import InboxResult, InboxStudy
from schemas.inference import ModelRelease
from schemas.lifecycle import EscalationPolicy
from schemas.outcomes import SeriesOutcome
from schemas.report import Priority, Reading, above_order, resulting_priority
from schemas.runs import BuildResult, CreateInboxEntry, ReadingChecked, TellUnread
from schemas.timeline import Timeline, TimelineEntry
from workflows.reading.caution import without_instructions
from workflows.reading.prompt import PROMPT_TEMPLATE
from workflows.reading.release import release_id
from workflows.report import AddendumContext, ResultContext, addendum_conclusion, addendum_headline, critical_finding
from workflows.report.kept import kept_objects

HISTORY_SHOWN = 200
"""How many of the newest entries of the history the inbox shows."""

NO_ESCALATION = EscalationPolicy(name="none@v1", steps=[])


@dataclass(frozen=True)
class Site:
    """What is fixed for a deployment."""

    namespace: Namespace
    event_source: str
    organization: str
    review_role: str
    dicomweb_public_url: str
    conclusion_codes: bool
    escalation: Mapping[Priority, EscalationPolicy] = field(default_factory=dict)
    critical: CriticalList = NO_CRITICAL_LIST
    """Which findings raise a result above its order."""
    time_zone: tzinfo = UTC
    """Where dates of charts and images are that name no offset."""

    def policy(self, priority: Priority) -> EscalationPolicy:
        return self.escalation.get(priority, NO_ESCALATION)


def acknowledge_by(site: Site, priority: Priority, issued: str) -> str | None:
    """When the policy of this priority turns to its second step, or gives up; None where it tells nobody, and so has no clock."""
    steps = site.policy(priority).steps
    if not steps:
        return None
    return (datetime.fromisoformat(issued) + timedelta(minutes=steps[0].wait_minutes)).isoformat(
        timespec="milliseconds"
    )


def reading_checked(site: Site, model: ModelRelease, reading: Reading, digest: str) -> ReadingChecked:
    """What the checks left, by the digest under which it is kept, and what the site's critical list says of it."""
    return ReadingChecked(
        reading=digest,
        finding_count=len(reading.findings),
        dropped_count=len(reading.dropped),
        critical=critical_finding(reading, model.trained, site.critical),
    )


def result_context(
    site: Site,
    model: ModelRelease,
    timeline: Timeline,
    series: SeriesSource,
    reading: Reading,
    manifest: str,
    revision: int,
    args: BuildResult,
) -> ResultContext:
    """Everything that decides the bytes of the result's Bundle; `manifest` is the digest of its inputs."""
    release = release_id(model)
    priority = resulting_priority(args.priority, args.checked.critical)
    return ResultContext(
        namespace=site.namespace,
        thread_id=args.thread_id,
        result_id=site.namespace.result_id(args.thread_id, manifest, release, revision),
        manifest_ni=manifest,
        timeline=without_instructions(timeline),
        series=series,
        prior=args.prior.study,
        earlier=tuple(prior.study for prior in args.prior.earlier),
        reading=reading,
        model=model,
        release=release,
        prompt_template=PROMPT_TEMPLATE,
        rendered_prompt_ni=ni_from_hex(args.answered.request),
        started=args.answered.started,
        ended=args.answered.ended,
        issued=args.issued,
        organization=site.organization,
        review_role=site.review_role,
        priority=priority,
        acknowledge_by=acknowledge_by(site, priority, args.issued),
        dicomweb_public_url=site.dicomweb_public_url,
        conclusion_codes=site.conclusion_codes,
        escalation_policy=site.policy(priority).name,
        raised=above_order(args.priority, args.checked.critical),
        order_priority=args.priority,
        kept=kept_objects(args),
        time_zone=site.time_zone,
    )


def inbox_result(
    site: Site,
    model: ModelRelease,
    timeline: Timeline,
    series: SeriesSource,
    reading: Reading,
    conclusion: str,
    args: CreateInboxEntry,
) -> InboxResult:
    """Everything that the result's page shows; `conclusion` as it stands in FHIR."""
    raised = above_order(args.priority, args.checked.critical)
    priority = resulting_priority(args.priority, args.checked.critical)
    return InboxResult(
        result_id=args.built.result_id,
        thread_id=args.built.thread_id,
        study_key=args.study_key,
        workflow_id=args.workflow_id,
        release_id=release_id(model),
        release_name=model.name,
        trained=model.trained,
        priority=priority,
        report=args.written.report,
        task=args.written.task,
        issued=args.issued,
        acknowledge_by=acknowledge_by(site, priority, args.issued),
        conclusion=conclusion,
        patient=timeline.patient,
        study=_study(timeline, series.study_instance_uid, series.modality, series.description, args),
        reading=reading,
        history=timeline.entries[-HISTORY_SHOWN:],
        supersedes=args.built.supersedes,
        order_priority=args.priority if raised else None,
        raised=raised,
    )


def unread_result(
    model: ModelRelease | None,
    timeline: Timeline,
    account: list[SeriesOutcome],
    sentence: str,
    notice: str,
    task: str,
    args: TellUnread,
) -> InboxResult:
    """The inbox's entry of a study that could not be read; `task` is the notice's in FHIR, by its version.

    The modality shown is that of the first series refused.
    """
    refused = next((row.modality for row in account if row.outcome == "refused"), "")
    modality = refused or next((row.modality for row in account), "OT")
    nothing = Reading(
        kind="unread",
        findings=[],
        dropped=[],
        prior_study_instance_uid=None,
        not_compared_reason=None,
        evidence=[],
        series=account,
    )
    return InboxResult(
        result_id=notice,
        thread_id=args.thread_id,
        study_key=args.study_key,
        workflow_id="",
        release_id=release_id(model) if model else "",
        release_name=model.name if model else "",
        trained=model.trained if model else True,
        priority=args.priority,
        report=task,
        task=without_version(task),
        issued=args.issued,
        acknowledge_by=None,
        conclusion=sentence,
        patient=timeline.patient,
        study=_study(timeline, args.event.study_instance_uid, modality, f"{refused or 'Imaging'} study", args),
        reading=nothing,
        history=[],
        supersedes=None,
        headline=sentence,
    )


def addendum_result(
    old: InboxResult, context: AddendumContext, workflow_id: str, report: str, task: str, entries: list[TimelineEntry]
) -> InboxResult:
    """What the page of an addendum shows: patient and study of the result that it adds to, none of its findings, what became known."""
    nothing = old.reading.model_copy(update={"findings": [], "dropped": [], "evidence": []})
    return old.model_copy(
        update={
            "result_id": context.addendum_id,
            "workflow_id": workflow_id,
            "priority": context.priority,
            "order_priority": None,
            "raised": None,
            "report": report,
            "task": task,
            "issued": context.issued,
            "acknowledge_by": context.acknowledge_by,
            "conclusion": addendum_conclusion(context),
            "reading": nothing,
            "history": [*old.history, *entries][-HISTORY_SHOWN:],
            "supersedes": None,
            "adds_to": old.result_id,
            "headline": addendum_headline(context),
        }
    )


def _study(
    timeline: Timeline, uid: str, modality: str, described: str | None, args: CreateInboxEntry | TellUnread
) -> InboxStudy:
    """`described`: in words of its own, where neither FHIR's study nor the order says what it is."""
    study, order = timeline.study, timeline.order
    accession = order.accession.value if order and order.accession else args.event.accession
    words = (study.description if study else None) or (order.text if order else None) or described
    prior = args.prior.study if isinstance(args, CreateInboxEntry) else None
    return InboxStudy(
        study_instance_uid=uid,
        description=words or f"{modality} study",
        modality=modality,
        started=study.started if study else None,
        accession=accession,
        prior_started=prior.started if prior else None,
    )
