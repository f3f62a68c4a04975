"""Then and now, ingredient by ingredient, and the verdict."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Any

import orjson

from schemas.identifiers import canonical_json, sha256_hex
from schemas.inference import ModelAnswer
from schemas.reproduction import Ingredient, IngredientKind, Reproduction
from schemas.timeline import Timeline

ANSWER = "model answer"


def compare_value(name: str, kind: IngredientKind, was: str | None, now: str | None, note: str = "") -> Ingredient:
    """Two digests or versions; what was not written down cannot be compared."""
    if was is None:
        return Ingredient(name=name, kind=kind, state="not-recorded", now=now, note=note)
    if now is None:
        return Ingredient(name=name, kind=kind, state="gone", was=was, note=note)
    return Ingredient(name=name, kind=kind, state="same" if was == now else "changed", was=was, now=now, note=note)


def compare_instances(name: str, read: list[str], held: set[str] | None) -> Ingredient:
    """The instances that were read against those that the archive holds now; more of them do not touch this result."""
    was = f"{len(read)} instances"
    if held is None:
        return Ingredient(name=name, kind="input", state="gone", was=was, note="the archive has no such study")
    missing, more = len(set(read) - held), len(held - set(read))
    note = f"the archive holds {more} more that were not read" if more else ""
    if missing:
        return Ingredient(name=name, kind="input", state="gone", was=was, now=f"{missing} missing", note=note)
    return Ingredient(name=name, kind="input", state="same", was=was, now=was, note=note)


def compare_chart(recorded: Timeline, rebuilt: Timeline) -> Ingredient:
    """What the cited versions say now, read by today's code, against what they said then.

    Only entries that cite FHIR are compared; numbers count by value, since some servers write 7.1 for 7.10.
    """
    then, now = _by_resource(recorded), _by_resource(rebuilt)
    differing = sum(1 for reference, entry in then.items() if not _alike(entry, now.get(reference)))
    same = _digest({reference: then[reference] for reference in sorted(then)})
    note = f"{differing} of {len(then)} say something else: a version's content, or the code that reads it, has changed"
    if differing:
        changed = _digest({reference: now.get(reference) for reference in sorted(then)})
        return Ingredient(name="chart", kind="input", state="changed", was=same, now=changed, note=note)
    return Ingredient(name="chart", kind="input", state="same", was=same, now=same)


def _by_resource(timeline: Timeline) -> dict[str, Any]:
    """Patient, order and entries as JSON by the version they cite."""
    cited = {f"entry {e.resource}": e for e in timeline.entries if not e.resource.startswith("urn:")}
    found: dict[str, Any] = {name: entry.model_dump(mode="json") for name, entry in cited.items()}
    found["patient"] = timeline.patient.model_dump(mode="json")
    if timeline.order is not None:
        found["order"] = timeline.order.model_dump(mode="json")
    return found


def _alike(one: Any, other: Any) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_alike(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_alike, one, other))
    return bool(one == other) or _equal_numbers(one, other)


def _equal_numbers(one: Any, other: Any) -> bool:
    if not isinstance(one, str) or not isinstance(other, str):
        return False
    try:
        return Decimal(one) == Decimal(other)
    except InvalidOperation:
        return False


def compare_answer(name: str, was: str | None, recorded: ModelAnswer | None, now: ModelAnswer) -> Ingredient:
    """The answer then (its digest, and itself if it is still kept) and now: the same if every character is."""
    again = _digest(now.model_dump(mode="json"))
    if was is None:
        return Ingredient(
            name=name, kind="answer", state="gone", now=again, note="the run kept no digest of its answer"
        )
    if recorded is None:
        note = "the recorded answer is no longer kept: compared by digest"
        return compare_value(name, "answer", was, again, note)
    if (recorded.text, recorded.finish_reason) == (now.text, now.finish_reason):
        return Ingredient(name=name, kind="answer", state="same", was=was, now=again)
    return Ingredient(
        name=name, kind="answer", state="changed", was=was, now=again, note=_alike_findings(recorded.text, now.text)
    )


def _alike_findings(was: str, now: str) -> str:
    """How many findings, or lines of a document, were answered alike; codes and counts only."""
    try:
        asked = orjson.loads(was)
        what = "lines" if "lines" in asked else "findings"
        then, again = asked[what], orjson.loads(now)[what]
        alike = sum(1 for label in then if then[label] == again.get(label))
        return f"{alike} of {len(then)} {what} answered alike"
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        return "one of the answers is not the JSON that was asked for"


def conclude(result_id: str, ingredients: list[Ingredient], *, asked: bool) -> Reproduction:
    """The verdict: what is gone first, then inputs that are not what they were, then the answer.

    A release that changed does not matter to the verdict while the model gives the same answer; where it was not asked, it does.
    """
    gone = [i.name for i in ingredients if i.state == "gone" and i.kind != "release"]
    changed = {i.kind for i in ingredients if i.state == "changed"}
    changed |= {i.kind for i in ingredients if i.kind == "release" and i.state == "gone"}
    if gone:
        verdict = "cannot-be-reproduced"
    elif "input" in changed or (not asked and changed):
        verdict = "inputs-changed"
    else:
        verdict = "answer-differs" if "answer" in changed else "same"
    return Reproduction.model_validate(
        {"result_id": result_id, "verdict": verdict, "gone": gone, "asked": asked, "ingredients": ingredients}
    )


def _digest(value: Any) -> str:
    return sha256_hex(canonical_json(value))
