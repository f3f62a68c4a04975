"""What the steps have gathered, put together: as the context of a FHIR result, and as the inbox's entry. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from schemas.identifiers import Namespace, ni_from_hex
from schemas.imaging import SeriesVolume
from schemas.inbox import InboxResult, InboxStudy
from schemas.inference import ModelRelease
from schemas.report import Reading
from schemas.runs import BuildResult, CreateInboxEntry
from schemas.timeline import Timeline
from workflows.reading.caution import without_instructions
from workflows.reading.prompt import PROMPT_TEMPLATE
from workflows.reading.release import release_id
from workflows.report import ResultContext

HISTORY_SHOWN = 200
"""How many of the newest entries of the history the inbox shows."""


@dataclass(frozen=True)
class Site:
    """What is fixed for a deployment."""

    namespace: Namespace
    event_source: str
    organization: str
    review_role: str
    acknowledge_within: timedelta
    dicomweb_public_url: str
    conclusion_codes: bool


def acknowledge_by(site: Site, issued: str) -> str:
    return (datetime.fromisoformat(issued) + site.acknowledge_within).isoformat(timespec="milliseconds")


def result_context(
    site: Site,
    model: ModelRelease,
    timeline: Timeline,
    series: SeriesVolume,
    reading: Reading,
    manifest: str,
    args: BuildResult,
) -> ResultContext:
    """Everything that decides the bytes of the result's Bundle; `manifest` is the digest of its inputs."""
    release = release_id(model)
    return ResultContext(
        namespace=site.namespace,
        thread_id=args.thread_id,
        result_id=site.namespace.result_id(args.thread_id, manifest, release),
        manifest_ni=manifest,
        timeline=without_instructions(timeline),
        series=series,
        prior=args.prior.study,
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
        priority=args.priority,
        acknowledge_by=acknowledge_by(site, args.issued),
        dicomweb_public_url=site.dicomweb_public_url,
        conclusion_codes=site.conclusion_codes,
    )


def inbox_result(
    site: Site,
    model: ModelRelease,
    timeline: Timeline,
    series: SeriesVolume,
    reading: Reading,
    conclusion: str,
    args: CreateInboxEntry,
) -> InboxResult:
    """Everything that the result's page shows; `conclusion` as it stands in FHIR."""
    return InboxResult(
        result_id=args.built.result_id,
        thread_id=args.built.thread_id,
        study_key=args.study_key,
        workflow_id=args.workflow_id,
        release_id=release_id(model),
        release_name=model.name,
        trained=model.trained,
        priority=args.priority,
        report=args.written.report,
        task=args.written.task,
        issued=args.issued,
        acknowledge_by=acknowledge_by(site, args.issued),
        conclusion=conclusion,
        patient=timeline.patient,
        study=_study(timeline, series, args),
        reading=reading,
        history=timeline.entries[-HISTORY_SHOWN:],
        supersedes=args.built.supersedes,
    )


def _study(timeline: Timeline, series: SeriesVolume, args: CreateInboxEntry) -> InboxStudy:
    study, order = timeline.study, timeline.order
    accession = order.accession.value if order and order.accession else args.event.accession
    described = (study.description if study else None) or (order.text if order else None) or series.description
    return InboxStudy(
        study_instance_uid=series.study_instance_uid,
        description=described or f"{series.modality} study",
        modality=series.modality,
        started=study.started if study else None,
        accession=accession,
        prior_started=args.prior.study.started if args.prior.study else None,
    )
