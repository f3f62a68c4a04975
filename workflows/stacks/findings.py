"""Asking for findings and reading them: what volumes, pictures and slides have in common."""

from __future__ import annotations

from typing import Literal

from schemas.codes import LABEL_BY_CODE, FindingLabel, body_region, labels_for
from schemas.imaging import StoredStack
from schemas.inference import ModelAnswer, ModelRequest, VolumeItem
from schemas.outcomes import Unanswered
from schemas.pictures import Pictures, decode_container
from schemas.report import EvidenceImage, Finding, Priority, Reading
from schemas.timeline import Timeline
from schemas.volume import Volume
from workflows.ports import ObjectStore
from workflows.reading.caution import without_instructions
from workflows.reading.check import check_reading, read_answer, without_denials
from workflows.reading.prompt import build_request, headings
from workflows.stacks.cautions import find_cautions
from workflows.stacks.kind import Kind, Picture, ReadOnce, Shown, Sources
from workflows.timeline.regions import SIDED, is_elsewhere, region_of, side_of


def ask_findings(timeline: Timeline, shown: Shown, priority: Priority) -> ModelRequest:
    """One question about the current study, beside its priors: every label of its region."""
    return build_request(
        shown.series.modality,
        [(label.code, label.text) for label in labels_of(timeline, shown)],
        items_of(shown, headings([len(stacks) for stacks in [*shown.priors, shown.current]])),
        priority,
    )


def labels_of(timeline: Timeline, shown: Shown) -> list[FindingLabel]:
    order = without_instructions(timeline).order
    series = shown.series
    return labels_for(series.modality, series.body_part, series.description, order.codings if order else [])


def items_of(shown: Shown, told: list[list[str]]) -> list[VolumeItem]:
    """Oldest study first, the current one last; each stack under its heading, which `told` has for each study's stacks."""
    studies = [*shown.priors, shown.current]
    return [
        VolumeItem(
            digest=stack.model_volume_digest,
            slices=len(stack.model_slices),
            role="current" if stacks is shown.current else "prior",
            kind="volume" if stack.kind == "volume" else "picture",
            heading=heading,
        )
        for stacks, names in zip(studies, told, strict=True)
        for stack, heading in zip(stacks, names, strict=True)
    ]


def read_findings(
    kind: Kind, sources: Sources, timeline: Timeline, shown: Shown, request: ModelRequest, answer: ModelAnswer
) -> Reading:
    """Every check, what text around the study tries to instruct, and the pictures that show what was found."""
    said = read_answer(answer, request)
    store = ReadOnce(sources.store)
    checked = check_reading(said, kind.places(shown.current, store), compared=bool(shown.priors))
    checked = without_denials(checked, _unanswered(timeline, shown))
    cautions, search = find_cautions(timeline, _searched(store, shown), sources.text_in_pixels)
    return Reading(
        findings=checked.findings,
        dropped=checked.dropped,
        prior_study_instance_uid=shown.priors[-1][0].series.study_instance_uid if shown.priors else None,
        not_compared_reason=shown.not_compared_reason,
        evidence=_evidence(kind, store, shown, checked.findings),
        abstained=checked.abstained,
        cautions=cautions,
        text_search=search,
    )


def _unanswered(timeline: Timeline, shown: Shown) -> list[Unanswered]:
    """What the stacks do not deny; and nothing at all where they show another region than the one that is asked about."""
    found = [each for stack in shown.current for each in stack.unanswered]
    order = without_instructions(timeline).order
    series = shown.series
    asked = body_region(series.body_part, series.description, order.codings if order else [])
    seen = body_region(series.body_part, series.description, [])
    parts = [region_of([], [one.series.body_part, one.series.description]) for one in shown.current]
    if ("other" not in (asked, seen) and asked != seen) or (
        order and all(is_elsewhere(order.region, p) for p in parts)
    ):
        found.append(Unanswered(code="region-not-read"))
    elif order and order.side and order.region in SIDED:
        sides = {_side_seen(timeline, stack) for stack in shown.current}
        if sides == {"left" if order.side == "right" else "right"}:
            found.append(Unanswered(code="side-not-read"))
    return found


def _side_seen(timeline: Timeline, stack: StoredStack) -> Literal["left", "right"] | None:
    """By the image's tags, its series' words, and what is known of the whole study."""
    series, study = stack.series, timeline.study
    return series.side or side_of([], [series.description]) or (study.side if study else None)


def _searched(store: ObjectStore, shown: Shown) -> list[tuple[str, StoredStack, Volume | Pictures]]:
    """Every stack that the model saw, under the name by which a caution refers to it."""
    named = [("", stack) for stack in shown.current]
    for age, stacks in enumerate(reversed(shown.priors)):
        named += [("prior " if age == 0 else f"prior {age + 1} ", stack) for stack in stacks]
    return [(name, stack, decode_container(store.get(stack.model_volume_digest))) for name, stack in named]


def _evidence(kind: Kind, store: ObjectStore, shown: Shown, findings: list[Finding]) -> list[EvidenceImage]:
    """One picture for each located finding, in order; one of the study where nothing is located."""
    located = [finding for finding in findings if finding.region is not None]
    if not located:
        return [evidence_image(store, kind, kind.picture(store, shown, None), None)]
    return [evidence_image(store, kind, kind.picture(store, shown, finding.region), finding) for finding in located]


def evidence_image(store: ObjectStore, kind: Kind, picture: Picture, finding: Finding | None) -> EvidenceImage:
    what = LABEL_BY_CODE[finding.label].code if finding else "No located finding"
    where = f"{kind.unit()} {picture.number} of {picture.count}"
    return EvidenceImage(
        png_digest=store.put(picture.png),
        width=picture.width,
        height=picture.height,
        slice_number=picture.number,
        slice_count=picture.count,
        region=finding.region if finding else None,
        caption=picture.caption or f"{what}: {where}",
        prior_png_digest=store.put(picture.prior_png) if picture.prior_png is not None else None,
        unit=kind.unit(),
        left=picture.left,
        top=picture.top,
        scale=picture.scale,
    )
