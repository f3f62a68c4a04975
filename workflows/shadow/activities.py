"""The steps of a shadow reading: ask the second release the very same question, check its answer, keep both beside each other.

Nothing goes to FHIR, to the inbox or to the bus.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from temporalio import activity

from schemas.errors import PartUnavailable, PermanentFailure
from schemas.identifiers import canonical_json
from schemas.imaging import StoredStack
from schemas.inference import ModelAnswer, ModelRequest
from schemas.oversight import (
    CheckShadow,
    PlanShadow,
    ShadowAnswered,
    ShadowFailed,
    ShadowKept,
    ShadowPlan,
    ShadowRead,
)
from schemas.report import Reading
from workflows.ports import Model, ObjectStore, ShadowRecords
from workflows.reading.check import check_findings, read_answer
from workflows.reading.release import release_id
from workflows.shadow import policies
from workflows.shadow.compare import compare_readings
from workflows.stacks import kind_named


class ShadowActivities:
    """Holds the ports; `model` is None where no shadow release is configured."""

    def __init__(self, *, model: Model | None, store: ObjectStore, records: ShadowRecords) -> None:
        self._model = model
        self._store = store
        self._records = records

    def all(self) -> list[Callable[..., Any]]:
        """Every activity, for the worker to register."""
        return [self.plan_shadow, self.ask_shadow, self.keep_shadow, self.fail_shadow]

    @activity.defn
    def plan_shadow(self, args: PlanShadow) -> ShadowPlan:
        """The release to ask about this result; none where none is configured, or it was asked already."""
        if self._model is None:
            return ShadowPlan(release_id=None)
        release = release_id(self._model.release())
        asked = self._records.was_read(args.result_id, release)
        return ShadowPlan(release_id=None if asked else release)

    @activity.defn
    def ask_shadow(self, args: ShadowRead) -> ShadowAnswered:
        """The stored request and the stored volumes, unchanged but for the priority: a shadow waits for everybody else.

        `PermanentFailure` (`shadow-release-changed`, `shadow-stack-too-deep`) where the release served now cannot stand for the one that was planned;
        `shadow-document` for values.
        """
        model = self._served(args.release_id)
        if StoredStack.model_validate_json(self._store.get(args.volume)).kind == "document":
            raise PermanentFailure("shadow-document", "values of documents are not compared with a shadow's")
        request = ModelRequest.model_validate_json(self._store.get(args.request))
        if any(v.kind == "volume" and v.slices > model.release().max_slices for v in request.volumes):
            raise PermanentFailure("shadow-stack-too-deep", "the shadow release takes fewer slices than were shown")
        began = time.monotonic()
        answer = model.ask(request.model_copy(update={"priority": policies.VLLM_PRIORITY}))
        return ShadowAnswered(
            answer=self._store.put(canonical_json(answer.model_dump(mode="json"))),
            milliseconds=round(1000 * (time.monotonic() - began)),
        )

    def _served(self, planned: str) -> Model:
        if self._model is None:
            raise PartUnavailable("shadow-model", "no shadow release is configured: see LONGVIEW_SHADOW_MODEL_URL.")
        if release_id(self._model.release()) != planned:
            raise PermanentFailure("shadow-release-changed", "another shadow release is configured than was planned")
        return self._model

    @activity.defn
    def keep_shadow(self, args: CheckShadow) -> None:
        """The answer under the same checks as every answer, then a row for each question."""
        read = args.read
        request = ModelRequest.model_validate_json(self._store.get(read.request))
        stacks = [StoredStack.model_validate_json(self._store.get(digest)) for digest in (read.volume, *read.more)]
        places = kind_named(stacks[0].kind).places(stacks, None)
        shown = Reading.model_validate_json(self._store.get(read.shown))
        answer = ModelAnswer.model_validate_json(self._store.get(args.answered.answer))
        checked = check_findings(read_answer(answer, request), places)
        shadow = Reading(
            findings=checked.findings,
            dropped=checked.dropped,
            prior_study_instance_uid=shown.prior_study_instance_uid,
            not_compared_reason=shown.not_compared_reason,
            evidence=[],
        )
        self._records.keep_shadow(
            ShadowKept(
                study_key=read.study_key,
                result_id=read.result_id,
                release_id=read.release_id,
                reading=self._store.put(canonical_json(shadow.model_dump(mode="json"))),
                milliseconds=args.answered.milliseconds,
                code=None,
                findings=compare_readings(shown, shadow, places),
            )
        )

    @activity.defn
    def fail_shadow(self, args: ShadowFailed) -> None:
        """A failed shadow reading is a row with a code, so that a release that fails often is seen to."""
        read = args.read
        self._records.keep_shadow(
            ShadowKept(
                study_key=read.study_key,
                result_id=read.result_id,
                release_id=read.release_id,
                reading=None,
                milliseconds=None,
                code=args.code,
                findings=[],
            )
        )
