"""Which finding raises a result above its order (contract 3).

The site's critical list is applied to what the checks left of the model's answer. It raises and never lowers; an untrained release raises nothing.
"""

from __future__ import annotations

from schemas.critical import BANDS, CriticalFinding, CriticalList
from schemas.report import URGENCY, Finding, RaisedPriority, Reading


def critical_finding(reading: Reading, trained: bool, critical_list: CriticalList) -> RaisedPriority | None:
    """The most urgent line of the list that a finding meets; of equally urgent ones the likeliest finding, then the list's order."""
    if not trained:
        return None
    met = [
        RaisedPriority(
            finding=finding.label,
            likelihood=finding.likelihood,
            priority=line.priority,
            critical_list=critical_list.name,
        )
        for line in critical_list.findings
        for finding in reading.findings
        if _meets(finding, line)
    ]
    return min(met, key=lambda told: (URGENCY[told.priority], -BANDS.index(told.likelihood)), default=None)


def _meets(finding: Finding, line: CriticalFinding) -> bool:
    """A negative or an open question meets no line, however it is worded."""
    sure = BANDS.index(finding.likelihood) >= BANDS.index(line.at_least)
    return finding.label == line.finding and finding.presence == "detected" and sure
