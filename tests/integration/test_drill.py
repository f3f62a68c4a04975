"""The disaster drill in short: four disasters one after the other, six studies before each."""

from __future__ import annotations

import pytest

from services.drill.command import SCENARIOS, run_drill

pytestmark = [pytest.mark.integration, pytest.mark.long]


def test_nothing_is_lost_that_the_backup_or_fhir_has_and_nothing_is_doubled() -> None:
    findings = run_drill(6, SCENARIOS, lambda said: None)
    assert [finding.scenario for finding in findings] == list(SCENARIOS)
    assert {finding.scenario: finding.breaches for finding in findings} == {scenario: [] for scenario in SCENARIOS}
    by_name = {finding.scenario: finding for finding in findings}
    assert by_name["temporal"].healed > 0, "without a pass nobody could decide: the disaster was one"
    assert by_name["database"].healed > 0
    assert by_name["temporal"].flagged == 0
