"""A shown and a shadow reading of the same stack, question by question: rows of codes and areas, without places. Pure."""

from __future__ import annotations

from schemas.oversight import BoxPair, ShadowFinding
from schemas.report import Finding, ImageRegion, Reading
from workflows.reading.places import Places


def compare_readings(shown: Reading, shadow: Reading, places: Places) -> list[ShadowFinding]:
    """One row for each label that either was asked, in the order of their names."""
    of_shown, of_shadow = ({f.label: f for f in reading.findings} for reading in (shown, shadow))
    lost_shown, lost_shadow = ({d.label: d.code for d in reading.dropped} for reading in (shown, shadow))
    labels = sorted({*of_shown, *of_shadow, *lost_shown, *lost_shadow})
    return [
        _row(label, of_shown.get(label), of_shadow.get(label), lost_shown.get(label), lost_shadow.get(label), places)
        for label in labels
    ]


def _row(
    label: str,
    shown: Finding | None,
    shadow: Finding | None,
    shown_dropped: str | None,
    shadow_dropped: str | None,
    places: Places,
) -> ShadowFinding:
    return ShadowFinding(
        label=label,
        shown_presence=shown.presence if shown else None,
        shown_likelihood=shown.likelihood if shown else None,
        shown_dropped=shown_dropped,
        shadow_presence=shadow.presence if shadow else None,
        shadow_likelihood=shadow.likelihood if shadow else None,
        shadow_dropped=shadow_dropped,
        boxes=_boxes(shown.region if shown else None, shadow.region if shadow else None, places),
    )


def _boxes(shown: ImageRegion | None, shadow: ImageRegion | None, places: Places) -> BoxPair | None:
    """None unless both lie on one stack of this study."""
    if shown is None or shadow is None:
        return None
    one, other = places.find(shown), places.find(shadow)
    if one is None or other is None or one.stack != other.stack:
        return None
    apart = abs(one.index - other.index)
    return BoxPair(
        area_shown=area(shown),
        area_shadow=area(shadow),
        intersection=intersection(shown, shadow) if apart == 0 else 0.0,
        slices_apart=apart,
    )


def area(region: ImageRegion) -> float:
    return (region.x1 - region.x0) * (region.y1 - region.y0)


def intersection(a: ImageRegion, b: ImageRegion) -> float:
    """Square pixels that both boxes cover."""
    width = min(a.x1, b.x1) - max(a.x0, b.x0)
    height = min(a.y1, b.y1) - max(a.y0, b.y0)
    return max(width, 0.0) * max(height, 0.0)
