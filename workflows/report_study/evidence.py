"""The slices that show what was found, rendered once for the reviewer: no box is burnt in, the page draws it."""

from __future__ import annotations

from schemas.imaging import StoredVolume
from schemas.report import EvidenceImage, Finding
from schemas.volume import Volume, decode_volume
from workflows.ports import ObjectStore
from workflows.series import nearest_slice, render_slice


def render_evidence(
    store: ObjectStore, findings: list[Finding], current: StoredVolume, prior: StoredVolume | None
) -> list[EvidenceImage]:
    """One image for each located finding, in order; the middle slice where nothing is located."""
    volume = decode_volume(store.get(current.volume_digest))
    before = decode_volume(store.get(prior.volume_digest)) if prior else None
    located = [finding for finding in findings if finding.region is not None]
    if not located:
        return [_image(store, None, len(current.series.frames) // 2, current, volume, prior, before)]
    return [_image(store, f, _slice_of(f, current), current, volume, prior, before) for f in located]


def _slice_of(finding: Finding, current: StoredVolume) -> int:
    region = finding.region
    places = [(frame.sop_instance_uid, frame.frame) for frame in current.series.frames]
    return places.index((region.sop_instance_uid, region.frame)) if region else 0


def _image(
    store: ObjectStore,
    finding: Finding | None,
    k: int,
    current: StoredVolume,
    volume: Volume,
    prior: StoredVolume | None,
    before: Volume | None,
) -> EvidenceImage:
    beside = None
    if prior is not None and before is not None:
        beside = store.put(render_slice(before, prior.series, nearest_slice(current.series, k, prior.series)))
    count, series = len(current.series.frames), current.series
    return EvidenceImage(
        png_digest=store.put(render_slice(volume, series, k)),
        width=series.columns,
        height=series.rows,
        slice_number=k + 1,
        slice_count=count,
        region=finding.region if finding else None,
        caption=f"{finding.label}: slice {k + 1} of {count}"
        if finding
        else f"No located finding: slice {k + 1} of {count}",
        prior_png_digest=beside,
    )
