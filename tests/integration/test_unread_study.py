"""A study that could not be read does not vanish: people find it in the inbox and as a Task, say that they have looked, or it is read after all."""

from __future__ import annotations

import uuid

import pytest
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import ApplicationError

from services.operate import list_runs
from services.settings import Settings
from tests.inbox_house import Browserless, House, hidden_fields
from tests.inbox_house import house as house
from tests.inbox_house import visitor as visitor
from tests.integration.scripted import DIGEST, Script, announce, replayed, until, waits_for_review, working

pytestmark = pytest.mark.integration
REFUSED = ApplicationError("x", "a slice is missing", 1, DIGEST, type="geometry-gap", non_retryable=True)
SENTENCE = "The AI could not read this study: a slice is missing. Look at it yourself."


# -- the workflow ------------------------------------------------------------------------------------------------------


async def test_a_study_that_cannot_be_read_is_told_to_people_with_what_became_of_its_series() -> None:
    script = Script()
    script.fails["fetch_study"] = [REFUSED]
    async with working(script) as client:
        handle = await announce(client, "one")
        with pytest.raises(WorkflowFailureError):
            await handle.result()
        [notice] = script.calls["tell_unread"]
        assert (notice.code, notice.hint, notice.account) == ("geometry-gap", "a slice is missing", DIGEST)
        [failure] = script.calls["record_failure"]
        assert failure.account == DIGEST
        await replayed(handle)


@pytest.mark.parametrize(
    ("step", "code"),
    [
        ("gather_timeline", "patient-not-found"),
        ("take_inventory", "patient-mismatch"),
        ("fetch_study", "no-readable-series"),
    ],
)
async def test_nobody_is_told_of_a_study_that_may_be_anothers_or_is_of_a_kind_that_is_not_read(
    step: str, code: str
) -> None:
    script = Script()
    script.fails[step] = [ApplicationError("x", "", 1, type=code, non_retryable=True)]
    async with working(script) as client:
        handle = await announce(client, "one")
        with pytest.raises(WorkflowFailureError):
            await handle.result()
        assert not script.calls["tell_unread"]
        assert len(script.calls["record_failure"]) == 1


async def test_a_result_that_stands_needs_no_notice() -> None:
    script = Script()
    async with working(script) as client:
        handle = await announce(client, "one")
        await until(handle, waits_for_review)
        script.fails["fetch_study"] = [REFUSED]
        await announce(client, "two")
        await until(handle, lambda p: p.failure_code == "geometry-gap")
        assert not script.calls["tell_unread"]


# -- the inbox ---------------------------------------------------------------------------------------------------------


def test_the_notice_stands_in_the_list_and_says_what_to_do(house: House, visitor: Browserless) -> None:
    told = house.tell_unread(SENTENCE)
    assert "Look at it yourself" in visitor.page("/")
    page = visitor.page(f"/results/{told.result_id}")
    for shown in (
        SENTENCE,
        "slice 11 of 23 (instance 11)",
        "could not be read",
        "a localizer, made to plan the others",
    ):
        assert shown in page
    for wrong in ("UNTRAINED", ">Accept<", "The system abstained", "Not detected"):
        assert wrong not in page
    listed = visitor.http.get(f"/api/results/{told.result_id}").json()
    assert [(row["number"], row["outcome"], row["code"]) for row in listed["series"]] == [
        (2, "refused", "geometry-gap"),
        (1, "left-out", "localizer"),
    ]


def test_a_reader_says_that_they_have_looked_and_the_notice_leaves_the_list(house: House, visitor: Browserless) -> None:
    told = house.tell_unread(SENTENCE)
    assert visitor.acknowledge(told.result_id, reviewer="Dr. Ada Osei").status_code == 200
    assert "Looked at</b> by Dr. Ada Osei" in visitor.page(f"/results/{told.result_id}")
    assert "Look at it yourself" not in visitor.page("/")
    assert not house.inbox.open_notices(told.thread_id)


def test_there_is_nothing_to_accept(house: House, visitor: Browserless) -> None:
    told = house.tell_unread(SENTENCE)
    fields = hidden_fields(visitor.page(f"/results/{told.result_id}"))
    sent = fields | {
        "act_id": str(uuid.uuid4()),
        "outcome": "accepted",
        "reviewer": "Dr. Ada Osei",
        "report_version": told.report,
    }
    answer = visitor.http.post(f"/results/{told.result_id}/review", data=sent)
    assert answer.status_code == 409
    assert "nothing to accept or reject" in answer.text


def test_an_operator_finds_the_study_by_its_accession_number(house: House) -> None:
    told = house.tell_unread(SENTENCE)
    settings = Settings(database_url=house.database.engine.url.render_as_string(hide_password=False))
    [row] = list_runs(settings, failed=True, study=told.study.accession or "")
    assert (row["code"], [each["outcome"] for each in row["series"]]) == ("geometry-gap", ["refused", "left-out"])
    assert list_runs(settings, failed=True, study="another") == []
