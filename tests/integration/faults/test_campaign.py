"""Nothing that comes on the bus stops what stands behind it: 2,000 records, a hundred of them poison, two gateways, one of them killed."""

from __future__ import annotations

import random

import pytest

from services.settings import Settings
from tests.integration.faults.campaign import Found, Sent, live_through, told_twice

pytestmark = [pytest.mark.integration, pytest.mark.long, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> tuple[Sent, Found]:
    settings = Settings(state_dir=str(tmp_path_factory.mktemp("campaign") / "state"))
    return live_through(settings, random.Random(2026))


def test_every_sound_record_reached_its_patient_once(campaign: tuple[Sent, Found]) -> None:
    sent, found = campaign
    assert sum(map(len, sent.sound.values())) == 1900
    assert {patient: sorted(told) for patient, told in found.observed.items()} == {
        patient: sorted(told) for patient, told in sent.sound.items()
    }


def test_every_other_record_is_one_dead_letter_with_its_reason(campaign: tuple[Sent, Found]) -> None:
    sent, found = campaign
    assert len(sent.poison) == 100
    without_key = [code for code in sent.poison.values() if code == "record-structure"]
    named = {key: [code] for key, code in sent.poison.items() if code != "record-structure"}
    assert found.letters == named | {b"": without_key}
    assert found.kept == len(sent.poison) + len(sent.bad_results)


def test_nothing_is_left_on_the_bus(campaign: tuple[Sent, Found]) -> None:
    assert campaign[1].unread == 0


def test_every_event_of_ours_was_sent_and_by_one_gateway(campaign: tuple[Sent, Found]) -> None:
    sent, found = campaign
    assert sorted(set(found.results)) == sorted(sent.results)
    assert told_twice(found) <= 1
    assert sorted(found.bad_results) == sorted(sent.bad_results)
