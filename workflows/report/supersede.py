"""A new result takes the place of an older one of the same study (contract 1.5): in the same transaction if nobody has read the old one."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

from schemas.codes import OBSERVATION_REPLACES, TASK_REPLACES, Canonical, Json
from workflows.report.posted import (
    SUPERSEDED_BY_NEW_INPUTS,
    PostedResult,
    closed_task,
    revision_entity,
    update,
    with_reason,
)

CODE = SUPERSEDED_BY_NEW_INPUTS
REASON = "Images or history arrived after this reading; see the later result"
AFTER_REVIEW = "Images arrived after review: an earlier AI result of this study has been reviewed already."


def supersede(
    canonical: Canonical, bundle: Json, old: PostedResult, issued: str, addenda: Sequence[PostedResult] = ()
) -> Json:
    """The Bundle with what it does to `old`: cancelled if unread, untouched if a human has acted; linked by Provenance either way.

    With an unread `old` go its unread `addenda`: the new reading knew what they tell.
    """
    new = deepcopy(bundle)
    by_type: dict[str, list[Json]] = {}
    for entry in new["entry"]:
        by_type.setdefault(entry["resource"]["resourceType"], []).append(entry["resource"])
    by_type["Provenance"][0]["entity"].append(revision_entity(canonical, old.report))
    if not old.unread:
        by_type["Task"][0]["note"] = [{"text": AFTER_REVIEW}]
        return new
    _link(by_type.get("Observation", []), by_type["Task"][0], old)
    for gone in [old, *addenda]:
        for resource in [gone.report, *gone.observations]:
            new["entry"].append(update(with_reason(canonical, resource, "cancelled", CODE, REASON)))
        new["entry"].append(update(closed_task(canonical, gone.task, CODE, issued)))
    return new


def _link(observations: list[Json], task: Json, old: PostedResult) -> None:
    """Each new answer replaces the old answer to the same question."""
    before = {_question(o): f"Observation/{o['id']}" for o in old.observations}
    for observation in observations:
        if _question(observation) in before:
            reference = {"reference": before[_question(observation)]}
            replaces = {"url": OBSERVATION_REPLACES, "valueReference": reference}
            observation["extension"] = [*observation.get("extension", []), replaces]
    task["extension"] = [{"url": TASK_REPLACES, "valueReference": {"reference": f"Task/{old.task['id']}"}}]


def _question(observation: Json) -> str:
    return str(observation["code"].get("text", ""))
