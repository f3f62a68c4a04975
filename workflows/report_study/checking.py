"""From a model's answer to a reading that may be written: every check, what text around the study tries to instruct, and the slices that show it."""

from __future__ import annotations

from schemas.imaging import StoredVolume
from schemas.inference import FindingsAnswer
from schemas.report import Reading
from schemas.timeline import Timeline
from schemas.volume import decode_volume
from workflows.ports import ObjectStore, TextInPixels
from workflows.reading.check import check_reading
from workflows.report_study.cautions import find_cautions
from workflows.report_study.evidence import render_evidence


def checked_reading(
    store: ObjectStore,
    reader: TextInPixels,
    timeline: Timeline,
    answer: FindingsAnswer,
    current: StoredVolume,
    prior: StoredVolume | None,
    not_compared_reason: str | None,
) -> Reading:
    """The reading of the images; the history is not in it yet."""
    volume = decode_volume(store.get(current.volume_digest))
    checked = check_reading(answer, current, volume, compared=prior is not None)
    read = [("", current)] + ([("prior ", prior)] if prior else [])
    shown = [(name, stored, decode_volume(store.get(stored.model_volume_digest))) for name, stored in read]
    cautions, search = find_cautions(timeline, shown, reader)
    return Reading(
        findings=checked.findings,
        dropped=checked.dropped,
        prior_study_instance_uid=prior.series.study_instance_uid if prior else None,
        not_compared_reason=not_compared_reason,
        evidence=render_evidence(store, checked.findings, current, prior),
        abstained=checked.abstained,
        cautions=cautions,
        text_search=search,
    )
