"""Which other studies a study is compared with: same modality, same region, earlier, recent. The reason for each choice is kept."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from schemas.timeline import PriorChoice, PriorReason, Span, StudyEntry
from workflows.timeline.dates import DAY, NEVER, before, span_of

_TAKEN: tuple[PriorReason, ...] = ("same-region-same-modality", "same-examination", "region-unknown")


@dataclass(frozen=True)
class PriorPolicy:
    """`limit` priors at most, none that began more than `max_age_days` before the study."""

    limit: int = 3
    max_age_days: int = 3653


@dataclass(frozen=True)
class Subject:
    """The study to find priors for, by whoever knows it best: DICOM where the pixels are there, else FHIR."""

    study_instance_uid: str
    span: Span | None
    modalities: frozenset[str]
    region: str | None
    side: str | None = None
    examination: frozenset[str] = frozenset()
    """Codes and description of the procedure, as `examination_of` gives them."""


def choose_priors(
    candidates: Iterable[StudyEntry], subject: Subject, policy: PriorPolicy | None = None
) -> list[PriorChoice]:
    """A choice for each other study, the newest first; those taken stand in the order in which they are tried: known region before unknown."""
    policy = policy or PriorPolicy()
    dated = [s if s.span else s.model_copy(update={"span": span_of(s.started or "")}) for s in candidates]
    others = {s.study_instance_uid: s for s in sorted(dated, key=lambda s: s.resource, reverse=True)}
    others.pop(subject.study_instance_uid, None)
    ordered = sorted(others.values(), key=_newest_first)
    reasons = {study.study_instance_uid: _reason(study, subject, policy) for study in ordered}
    wanted = sorted((s for s in ordered if reasons[s.study_instance_uid] in _TAKEN), key=lambda s: _rank(s, reasons))
    for study in wanted[policy.limit :]:
        reasons[study.study_instance_uid] = "beyond-limit"
    taken = wanted[: policy.limit]
    return [_choice(s, reasons) for s in (*taken, *(s for s in ordered if s not in taken))]


def _newest_first(study: StudyEntry) -> tuple[int, int, str]:
    start, end = study.span or NEVER
    return (-start, -end, study.study_instance_uid) if study.span else (start, end, study.study_instance_uid)


def _rank(study: StudyEntry, reasons: dict[str, PriorReason]) -> bool:
    return reasons[study.study_instance_uid] == "region-unknown"


def _choice(study: StudyEntry, reasons: dict[str, PriorReason]) -> PriorChoice:
    reason = reasons[study.study_instance_uid]
    return PriorChoice(
        resource=study.resource,
        study_instance_uid=study.study_instance_uid,
        taken=reason in _TAKEN,
        reason=reason,
    )


def _reason(study: StudyEntry, subject: Subject, policy: PriorPolicy) -> PriorReason:
    if study.span is None:
        return "date-unclear"
    if subject.span is not None:
        earlier = before(study.span, subject.span)
        if not earlier:
            return "date-unclear" if earlier is None else "not-earlier"
    if subject.modalities and study.modalities and not subject.modalities & set(study.modalities):
        return "other-modality"
    place = _place(study, subject)
    if place not in _TAKEN:
        return place
    if subject.span is not None and study.span[1] < subject.span[0] - policy.max_age_days * DAY:
        return "too-old"
    return place


def _place(study: StudyEntry, subject: Subject) -> PriorReason:
    if study.side and subject.side and study.side != subject.side:
        return "other-side"
    if study.region is None or subject.region is None:
        same = subject.examination & examination_of(study)
        return "same-examination" if same else "region-unknown"
    return "same-region-same-modality" if study.region == subject.region else "other-region"


def examination_of(study: StudyEntry) -> frozenset[str]:
    """What names an examination where its region is not known: the procedure's codes, and its description letter for letter."""
    named = [f"{coding.system}|{coding.code}" for coding in study.codings]
    return frozenset([*named, *([study.description.casefold()] if study.description else [])])


def subject_of_study(study: StudyEntry) -> Subject:
    """A study by what FHIR says of it."""
    return Subject(
        study_instance_uid=study.study_instance_uid,
        span=study.span,
        modalities=frozenset(study.modalities),
        region=study.region,
        side=study.side,
        examination=examination_of(study),
    )


def taken(choices: Sequence[PriorChoice]) -> list[str]:
    """StudyInstanceUIDs in the order in which they are tried."""
    return [choice.study_instance_uid for choice in choices if choice.taken]
