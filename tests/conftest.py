"""Fixtures that every tier shares, and the one line about each tier that is skipped."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

TEST_DATA = Path(os.environ.get("LONGVIEW_TEST_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Real CT, MR and synthetic patients, which are never committed."""
    if not TEST_DATA.is_dir():
        pytest.skip("no test data: set LONGVIEW_TEST_DATA to a folder with ct/, mr/ and fhir/synthea")
    return TEST_DATA
