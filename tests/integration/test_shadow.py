"""A second release reads along, and nobody sees it."""

from __future__ import annotations

from typing import Any

import pytest
from temporalio import workflow
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner, Worker

from schemas.errors import PermanentFailure
from schemas.identifiers import background_queue, canonical_json
from schemas.inference import ModelRequest, VolumeItem
from schemas.oversight import KeptBuild, ShadowRead
from schemas.runs import BuildResult
from services.clients.temporal import data_converter
from tests.contract.temporal_server import KEY
from tests.contract.written_bundles import (
    CANONICAL,
    context,
)
from tests.integration.oversight_house import SHADOW, House, ScriptedModel, _name
from tests.integration.oversight_house import archive_url as archive_url
from tests.integration.oversight_house import fhir_url as fhir_url
from tests.integration.oversight_house import house as house
from tests.integration.scripted import DIGEST, QUEUE
from workflows.reading.prompt import build_request
from workflows.reading.release import release_id
from workflows.shadow.workflow import ShadowReadWorkflow, shadow_workflow_id, start_shadow

pytestmark = pytest.mark.integration


ANSWER = {
    "pulmonary-nodule": {
        "presence": "detected",
        "likelihood": "possible",
        "side": "left",
        "change": "not-compared",
        "location": {"slice": 3, "box_2d": [360, 590, 420, 650], "long_axis_mm": 14},
    },
    "pleural-effusion": {
        "presence": "detected",
        "likelihood": "possible",
        "side": "not-applicable",
        "change": "not-compared",
        "location": {"slice": 1, "box_2d": [0, 0, 10, 10], "long_axis_mm": 2},
    },
}


@workflow.defn
class ParentWorkflow:
    """Stands for the study's workflow after its result was posted."""

    @workflow.run
    async def run(self, result: BuildResult) -> str:
        await start_shadow("study-k", "result-1", result)
        return "the result stands"


def shown_result(house: House) -> BuildResult:
    request = build_request(
        "CT",
        [("pulmonary-nodule", "Pulmonary nodule"), ("pleural-effusion", "Pleural effusion")],
        [VolumeItem(digest=DIGEST, slices=4, role="current")],
        "stat",
    )
    made = context()
    house.keep_build(made)
    kept = KeptBuild.model_validate_json(house.store.get(house.records.build_of(made.result_id) or ""))
    asked = kept.build.answered.model_copy(
        update={"request": house.store.put(canonical_json(request.model_dump(mode="json")))}
    )
    return kept.build.model_copy(update={"answered": asked})


async def shadow_outcome(house: House) -> Any:
    id = shadow_workflow_id("study-k", release_id(SHADOW))
    handle = house.client.get_workflow_handle_for(ShadowReadWorkflow.run, id)
    outcome = await handle.result()
    replayer = Replayer(workflows=[ShadowReadWorkflow], data_converter=data_converter(KEY))
    await replayer.replay_workflow(await handle.fetch_history())
    return outcome


async def test_a_second_release_reads_along_and_nobody_sees_it(house: House) -> None:
    house.shadow = ScriptedModel(SHADOW, ANSWER)
    shown = shown_result(house)
    before = len(house.fhir.find_tagged("DiagnosticReport", CANONICAL.sid("ai-result"), "result-1"))
    async with house.working(ParentWorkflow):
        for n in range(2):  # the second time it was asked already
            told = await house.client.execute_workflow(ParentWorkflow.run, shown, id=f"parent-{n}", task_queue=QUEUE)
            assert told == "the result stands"
            assert (await shadow_outcome(house)).state == "read"
    [asked] = house.shadow.asked
    original = ModelRequest.model_validate_json(house.store.get(shown.answered.request))
    assert asked.model_copy(update={"priority": 0}) == original  # STAT has 0 in vLLM
    assert asked.priority == 1000
    with house.database.reading() as session:
        from sqlalchemy import select

        from services.db.oversight_models import ShadowReading

        rows = {r.label: r for r in session.scalars(select(ShadowReading))}
    nodule = rows["pulmonary-nodule"]
    assert (nodule.shown_presence, nodule.shadow_presence, nodule.slices_apart) == ("detected", "detected", 0)
    assert 0 < nodule.intersection <= min(nodule.area_shown, nodule.area_shadow)
    effusion = rows["pleural-effusion"]
    assert (effusion.shown_presence, effusion.shadow_presence) == ("not-detected", "detected")
    assert (rows["consolidation"].shown_dropped, rows["consolidation"].shadow_presence) == ("laterality-conflict", None)
    assert len(house.fhir.find_tagged("DiagnosticReport", CANONICAL.sid("ai-result"), "result-1")) == before
    assert not house.entered


async def test_a_shadow_that_fails_is_a_row_and_touches_nothing(house: House) -> None:
    house.shadow.failure = PermanentFailure("model-refused")
    async with house.working(ParentWorkflow):
        told = await house.client.execute_workflow(
            ParentWorkflow.run, shown_result(house), id="parent", task_queue=QUEUE
        )
        assert told == "the result stands"
        assert (await shadow_outcome(house)).code == "model-refused"
    assert house.shadows.was_read("result-1", release_id(SHADOW))


async def test_another_release_than_planned_is_not_asked(house: House) -> None:
    planned = ShadowRead(
        study_key="k", result_id="r", release_id="phantom-9-x", request=DIGEST, volume=DIGEST, shown=DIGEST
    )
    async with house.working():
        outcome = await house.client.execute_workflow(
            ShadowReadWorkflow.run, planned, id="shadow-k", task_queue=background_queue(QUEUE)
        )
    assert (outcome.state, outcome.code) == ("failed", "shadow-release-changed")
    assert not house.shadow.asked


async def test_a_worker_that_knows_no_shadow_costs_the_result_nothing(house: House) -> None:
    shown = shown_result(house)
    async with Worker(
        house.client, task_queue=QUEUE, workflows=[ParentWorkflow], workflow_runner=UnsandboxedWorkflowRunner(),
        activities=[next(s for s in house.script.activities() if _name(s) == "close_run")],
    ):  # fmt: skip
        told = await house.client.execute_workflow(ParentWorkflow.run, shown, id="alone", task_queue=QUEUE)
    assert told == "the result stands"
