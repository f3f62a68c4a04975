"""Contradictions within an answer: of one finding with itself, and of two findings with each other. Pure tables and rules."""

from __future__ import annotations

from schemas.inference import NOT_COMPARED, AnsweredFinding, Change, LikelihoodBand, Presence
from schemas.report import Finding, ImageRegion

LIKELIHOODS: dict[Presence, frozenset[LikelihoodBand]] = {
    "detected": frozenset({"possible", "probable", "definite"}),
    "not-detected": frozenset({"absent", "improbable"}),
    "indeterminate": frozenset({"possible"}),
}
CHANGES: dict[Presence, frozenset[Change]] = {
    "detected": frozenset({"new", "worse", "stable", "better", "indeterminate", NOT_COMPARED}),
    "not-detected": frozenset({"stable", "resolved", "indeterminate", NOT_COMPARED}),
    "indeterminate": frozenset({"indeterminate", NOT_COMPARED}),
}
EXCLUSIVE = frozenset(
    {
        frozenset({"pulmonary-nodule", "consolidation"}),
        frozenset({"pneumothorax", "pulmonary-nodule"}),
        frozenset({"pneumothorax", "consolidation"}),
        frozenset({"intracranial-haemorrhage", "brain-lesion"}),
        frozenset({"liver-lesion", "free-fluid"}),
    }
)
"""Labels that cannot both be true of one and the same place: one of the two answers is wrong, and nobody knows which."""
SAME_PLACE = 0.5
"""Share of overlap (intersection over union) from which two boxes on one frame are one place."""


def contradicts_itself(answered: AnsweredFinding) -> str | None:
    """The name of the contradiction; the schema forbids most of them while decoding, but not every server enforces it."""
    if answered.likelihood not in LIKELIHOODS[answered.presence]:
        return "likelihood-conflict"
    if answered.change not in CHANGES[answered.presence]:
        return "change-conflict"
    if (answered.location is not None) != (answered.presence == "detected"):
        return "location-conflict"
    return None


def exclude_each_other(findings: list[Finding]) -> set[str]:
    """Labels of detected findings that claim one place and cannot both be there."""
    placed = [f for f in findings if f.presence == "detected" and f.region is not None]
    found: set[str] = set()
    for number, one in enumerate(placed):
        for other in placed[number + 1 :]:
            pair = frozenset({one.label, other.label})
            if pair in EXCLUSIVE and one.region and other.region and overlap(one.region, other.region) >= SAME_PLACE:
                found |= pair
    return found


def overlap(one: ImageRegion, other: ImageRegion) -> float:
    """Intersection over union of two boxes; 0 on different frames."""
    if (one.sop_instance_uid, one.frame) != (other.sop_instance_uid, other.frame):
        return 0.0
    width = min(one.x1, other.x1) - max(one.x0, other.x0)
    height = min(one.y1, other.y1) - max(one.y0, other.y0)
    if width <= 0 or height <= 0:
        return 0.0
    areas = sum((box.x1 - box.x0) * (box.y1 - box.y0) for box in (one, other))
    return width * height / (areas - width * height)
