"""A hundred attacks burnt into slices, each through the real steps and the real OCR: half a minute, so the unit tests run the first eight alone."""

from __future__ import annotations

import pytest

from tests.unit.injection.burnt import IN_ALL, burnt, calm_outcome, flagged

pytestmark = [pytest.mark.integration, pytest.mark.long]


def test_a_hundred_attacks_in_the_pixels() -> None:
    found, instructions = flagged(burnt(IN_ALL), calm_outcome())
    print(f"burnt-in attacks flagged: {found} of {IN_ALL}, as instructions: {instructions}")
    assert found >= 98
    assert instructions >= 50
