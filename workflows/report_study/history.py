"""The second pass: the history weighed against the findings of the images. Whatever goes wrong with it, the reading of the images stays."""

from __future__ import annotations

from collections.abc import Callable

from schemas.errors import PermanentFailure, TransientFailure
from schemas.model import Record
from schemas.report import HistoryWeighed, Priority, Reading
from schemas.timeline import Timeline
from workflows.ports import Model
from workflows.reading.excerpt import Excerpt, excerpt_of
from workflows.reading.history_prompt import history_request
from workflows.reading.prompt import VLLM_PRIORITY
from workflows.reading.weigh import read_weighed, weigh

Keep = Callable[[Record], str]
"""Stores a record and gives its address."""
Put = Callable[[bytes], str]
"""Stores bytes and gives their address."""


def integrate(
    model: Model, keep: Keep, put: Put, timeline: Timeline, reading: Reading, priority: Priority, *, late: bool
) -> Reading:
    """The reading with relations and citations, or with the reason why the history was not weighed.

    `TransientFailure` while the model is away, as long as it is not too `late` to wait for it.
    """
    if reading.kind == "values":
        return reading
    suspicious = {caution.where for caution in reading.cautions if caution.route == "chart"}
    excerpt = excerpt_of(timeline, suspicious)
    reason = _nothing_to_weigh(reading, excerpt)
    if reason is not None:
        return reading.model_copy(update={"history": _told(excerpt, reason)})
    request = history_request(reading.findings, excerpt.entries, VLLM_PRIORITY[priority])
    kept = put(request.as_asked())
    try:
        answer = model.ask(request)
        kept_answer = keep(answer)
        said = read_weighed(answer, [finding.label for finding in reading.findings])
    except TransientFailure as failure:
        if not late:
            raise
        return reading.model_copy(update={"history": _told(excerpt, failure.code, request=kept)})
    except PermanentFailure as failure:
        return reading.model_copy(update={"history": _told(excerpt, failure.code, request=kept)})
    weighed = weigh(reading.findings, said, excerpt.entries)
    history = _told(excerpt, None, request=kept, answer=kept_answer)
    dropped = [*reading.dropped, *weighed.dropped]
    return reading.model_copy(update={"findings": weighed.findings, "dropped": dropped, "history": history})


def _nothing_to_weigh(reading: Reading, excerpt: Excerpt) -> str | None:
    if not reading.findings:
        return "no-findings"
    if not excerpt.entries:
        return "history-withheld" if excerpt.withheld else "no-history"
    return None


def _told(
    excerpt: Excerpt, reason: str | None, *, request: str | None = None, answer: str | None = None
) -> HistoryWeighed:
    return HistoryWeighed(
        weighed=reason is None,
        reason=reason,
        given=[entry.resource for entry in excerpt.entries.values()] if request else [],
        withheld=excerpt.withheld,
        left_out=excerpt.left_out,
        request=request,
        answer=answer,
    )
