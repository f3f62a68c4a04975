"""What `longview reproduce` says of a result: each ingredient then and now, and a verdict. Digests, versions and counts; nothing of a patient."""

from __future__ import annotations

from typing import Literal

from schemas.model import Record

IngredientKind = Literal["input", "release", "answer"]
IngredientState = Literal["same", "changed", "gone", "not-recorded"]
Verdict = Literal["same", "answer-differs", "inputs-changed", "cannot-be-reproduced"]


class Ingredient(Record):
    """One thing that the result rests on; `was` and `now` are digests, versions or counts."""

    name: str
    kind: IngredientKind
    state: IngredientState
    was: str | None = None
    now: str | None = None
    note: str = ""


class Reproduction(Record):
    """The whole answer. `gone` names the ingredients without which the result cannot be reproduced."""

    result_id: str
    verdict: Verdict
    gone: list[str]
    asked: bool
    """Whether the model was asked again."""
    ingredients: list[Ingredient]

    def sentence(self) -> str:
        """The verdict as it is shown to a person."""
        if self.verdict == "cannot-be-reproduced":
            return f"cannot-be-reproduced (gone: {', '.join(self.gone)})"
        if self.verdict == "same" and not self.asked:
            return "same (the model was not asked again)"
        return self.verdict
