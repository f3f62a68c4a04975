"""The patient's entity for a worker that belongs to a deployment: it moves on to each new version, since it lives for years.

A class of its own, because Temporal refuses a workflow that states its versioning behaviour on a worker that has no deployment.
"""

from __future__ import annotations

from temporalio import workflow
from temporalio.common import VersioningBehavior

with workflow.unsafe.imports_passed_through():
    from schemas.facts import PatientInput
    from workflows.patient.workflow import PatientWorkflow


@workflow.defn(name="PatientWorkflow", versioning_behavior=VersioningBehavior.AUTO_UPGRADE)
class UpgradingPatientWorkflow(PatientWorkflow):
    """`PatientWorkflow` by name and in all it does."""

    @workflow.init
    def __init__(self, args: PatientInput) -> None:
        super().__init__(args)

    @workflow.run
    async def run(self, args: PatientInput) -> None:
        await super().run(args)
