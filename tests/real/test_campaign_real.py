"""The campaign of tests/integration/faults/test_campaign.py on Apache Kafka."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from services.settings import Settings
from tests.integration.faults.campaign import Found, Sent, live_through
from tests.integration.faults.test_campaign import (  # noqa: F401 (the tests)
    test_every_event_of_ours_was_sent_and_by_one_gateway,
    test_every_other_record_is_one_dead_letter_with_its_reason,
    test_every_sound_record_reached_its_patient_once,
    test_nothing_is_left_on_the_bus,
)
from tests.real import parts

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> tuple[Sent, Found]:
    folder: Path = tmp_path_factory.mktemp("campaign")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(parts.KAFKA, raising=False)
        with parts.kafka(folder) as bootstrap:
            settings = Settings(state_dir=str(folder / "state"), kafka_bootstrap=bootstrap)
            return live_through(settings, random.Random(2026))
