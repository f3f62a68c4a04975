"""The second pass: the history weighed against the findings of the images. Whatever goes wrong with it, the reading of the images stays."""

from __future__ import annotations

from collections.abc import Callable

from schemas.errors import PartUnavailable, PermanentFailure, TransientFailure
from schemas.families import ModelFamily, family_of
from schemas.inference import ModelRequest
from schemas.model import Record
from schemas.report import HistoryWeighed, Priority, Reading
from schemas.timeline import Timeline
from workflows.ports import Model
from workflows.reading.excerpt import Excerpt, excerpt_of
from workflows.reading.fits import require_askable
from workflows.reading.history_prompt import fitting_excerpt, history_request
from workflows.reading.prompt import VLLM_PRIORITY
from workflows.reading.release import release_id
from workflows.reading.weigh import read_weighed, weigh

Keep = Callable[[Record], str]
"""Stores a record and gives its address."""
Put = Callable[[bytes], str]
"""Stores bytes and gives their address."""


def integrate(
    model: Model, keep: Keep, put: Put, timeline: Timeline, reading: Reading, priority: Priority, *, late: bool
) -> Reading:
    """The reading with relations and citations, or with the reason why the history was not weighed.

    `TransientFailure` or `PartUnavailable` while the model or its release is away, as long as it is not too `late` to wait for it.
    """
    if reading.kind == "values":
        return reading
    suspicious = {caution.where for caution in reading.cautions if caution.route == "chart"}
    try:
        release = model.release()
    except PartUnavailable as failure:
        if not late:
            raise
        return reading.model_copy(update={"history": _told(timeline, excerpt_of(timeline, suspicious), failure.code)})
    family = family_of(release.family)
    excerpt = fitting_excerpt(family, reading.findings, timeline, suspicious)
    request = history_request(reading.findings, excerpt.entries, VLLM_PRIORITY[priority])
    reason = _nothing_to_weigh(reading, excerpt, len(timeline.entries)) or _cannot(family, request)
    if reason is not None:
        return reading.model_copy(update={"history": _told(timeline, excerpt, reason)})
    kept = put(request.as_asked())
    asked = {"request": kept, "release": release_id(release), "weights": release.weights_sha256}
    try:
        answer = model.ask(request)
        kept_answer = keep(answer)
        said = read_weighed(answer, [finding.label for finding in reading.findings])
    except TransientFailure as failure:
        if not late:
            raise
        return reading.model_copy(update={"history": _told(timeline, excerpt, failure.code, **asked)})
    except PermanentFailure as failure:
        return reading.model_copy(update={"history": _told(timeline, excerpt, failure.code, **asked)})
    weighed = weigh(reading.findings, said, excerpt.entries)
    history = _told(timeline, excerpt, None, answer=kept_answer, **asked)
    dropped = [*reading.dropped, *weighed.dropped]
    return reading.model_copy(update={"findings": weighed.findings, "dropped": dropped, "history": history})


def _nothing_to_weigh(reading: Reading, excerpt: Excerpt, held: int) -> str | None:
    """`held` is how many entries the timeline has; some that are sound and still not in the excerpt did not fit."""
    if not reading.findings:
        return "no-findings"
    if excerpt.entries:
        return None
    if held > excerpt.withheld:
        return "history-no-room"
    return "history-withheld" if excerpt.withheld else "no-history"


def _cannot(family: ModelFamily, request: ModelRequest) -> str | None:
    """Why this family cannot be asked, as a code; then nothing is sent."""
    try:
        require_askable(family, request)
    except PermanentFailure as failure:
        return failure.code
    return None


def _told(timeline: Timeline, excerpt: Excerpt, reason: str | None, **asked: str) -> HistoryWeighed:
    return HistoryWeighed(
        weighed=reason is None,
        reason=reason,
        given=[entry.resource for entry in excerpt.entries.values()] if asked else [],
        withheld=excerpt.withheld,
        left_out=excerpt.left_out,
        incomplete=timeline.incomplete,
        **asked,
    )
