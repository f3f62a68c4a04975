"""What the second pass may say, joined to the findings of the first. It can relate and cite; it cannot add a finding or change one."""

from __future__ import annotations

from dataclasses import dataclass

import orjson
from pydantic import ValidationError

from schemas.errors import PermanentFailure
from schemas.inference import ModelAnswer, WeighedAnswer, WeighedFinding
from schemas.report import DroppedFinding, Finding
from schemas.timeline import TimelineEntry

CITATION_UNKNOWN = "citation-unknown"
RELATION_UNCITED = "relation-uncited"


@dataclass(frozen=True)
class Weighed:
    """The same findings in the same order, each with its relation to the history, and what was dropped of the answer."""

    findings: list[Finding]
    dropped: list[DroppedFinding]


def read_weighed(answer: ModelAnswer, labels: list[str]) -> WeighedAnswer:
    """The answer as a record; `PermanentFailure` (`model-output-cut`, `model-output-invalid`) unless it speaks of exactly `labels` in our words.

    The ids that it cites are not looked at here: one that does not exist costs the citation, not the answer.
    """
    if answer.finish_reason != "stop":
        raise PermanentFailure("model-output-cut", "the answer ended before it was complete")
    try:
        parsed = WeighedAnswer.model_validate(orjson.loads(answer.text), strict=False)
    except (orjson.JSONDecodeError, ValidationError) as error:
        raise PermanentFailure("model-output-invalid", "the answer is not the JSON that was asked for") from error
    if set(parsed.findings) != set(labels):
        raise PermanentFailure("model-output-invalid", "the answer speaks of other findings than it was asked about")
    return parsed


def weigh(findings: list[Finding], answer: WeighedAnswer, entries: dict[str, TimelineEntry]) -> Weighed:
    """Relations and citations onto `findings`; everything else of a finding stays what the images said."""
    dropped: list[DroppedFinding] = []
    weighed = [_related(finding, answer.findings[finding.label], entries, dropped) for finding in findings]
    return Weighed(weighed, dropped)


def _related(
    finding: Finding, said: WeighedFinding, entries: dict[str, TimelineEntry], dropped: list[DroppedFinding]
) -> Finding:
    named = list(dict.fromkeys(said.cites))
    known = [entries[name] for name in named if name in entries]
    if len(known) < len(named):
        dropped.append(DroppedFinding(label=finding.label, code=CITATION_UNKNOWN))
    if said.chart == "unrelated":
        return finding.model_copy(update={"chart": "unrelated"})
    if not known:
        dropped.append(DroppedFinding(label=finding.label, code=RELATION_UNCITED))
        return finding
    return finding.model_copy(update={"chart": said.chart, "cites": known})
