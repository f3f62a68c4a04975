"""The wire between the worker and the model: what is asked, what may be answered, which release answered.

The model answers questions: for every label asked, whether it is there, how likely, where, and what changed. There is no free text in an answer, so
nothing that a chart or an image says can travel through it into a report.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import orjson
from pydantic import Field

from schemas.model import Record

Presence = Literal["detected", "not-detected", "indeterminate"]
LikelihoodBand = Literal["absent", "improbable", "possible", "probable", "definite"]
Side = Literal["left", "right", "midline", "bilateral", "not-applicable"]
Change = Literal["new", "worse", "stable", "better", "resolved", "indeterminate", "not-compared"]
ChartRelation = Literal["supports", "contradicts", "explains", "unrelated"]
"""What the history says about a finding of the images; it never says whether the finding is there."""

NOT_COMPARED: Change = "not-compared"
BOX_SCALE = 1000
"""`box_2d` is [y0, x0, y1, x1] in thousandths of the slice's height and width (MedGemma's convention)."""
MAX_LONG_AXIS_MM = 300
MAX_CITES = 3
"""The most entries of the history that one finding may cite."""


class Location(Record):
    """Where a finding is: `slice` counts from 1 in the stack that was shown (a picture, a patch); `box_2d` is [y0, x0, y1, x1], 0..1000."""

    series: int = Field(default=1, ge=1)
    """Which stack of the current study, where it has several; counts from 1."""
    slice: int = Field(ge=1)
    box_2d: tuple[int, int, int, int]
    long_axis_mm: int | None = Field(default=None, ge=1, le=MAX_LONG_AXIS_MM)
    """None where it is not asked for."""


class AnsweredFinding(Record):
    """The model's answer to one question."""

    presence: Presence
    likelihood: LikelihoodBand
    side: Side
    change: Change
    location: Location | None


class FindingsAnswer(Record):
    """The model's whole answer: one entry for each label asked."""

    findings: dict[str, AnsweredFinding]


class WeighedFinding(Record):
    """The second pass's answer about one finding: how the history relates to it, and the entries (`E1`, ...) that say so."""

    chart: ChartRelation
    cites: list[str] = Field(max_length=MAX_CITES)


class WeighedAnswer(Record):
    """The whole answer of the second pass. There is no field in it that could add a finding or change one."""

    findings: dict[str, WeighedFinding]


def history_schema(labels: list[str], entries: list[str]) -> dict[str, Any]:
    """JSON Schema (2020-12) of the second pass: exactly `labels`; a relation cites one to three of `entries`, `unrelated` cites none."""
    related = [relation for relation in get_args(ChartRelation) if relation != "unrelated"]
    cites = {"type": "array", "items": {"enum": entries}, "minItems": 1, "maxItems": MAX_CITES}
    none = {"type": "array", "items": {"enum": entries}, "maxItems": 0}
    shapes = [
        _closed({"chart": {"enum": related}, "cites": cites}),
        _closed({"chart": {"enum": ["unrelated"]}, "cites": none}),
    ]
    return _closed({"findings": _closed({label: {"anyOf": shapes} for label in labels})})


def answer_schema(
    labels: list[str],
    slices: list[int],
    *,
    compared: bool,
    measured: bool = True,
    sides: tuple[Side, ...] = get_args(Side),
) -> dict[str, Any]:
    """JSON Schema (2020-12) that constrains decoding: exactly `labels`; of each stack of the current study so many `slices`; without a prior only
    `not-compared`. A place names its stack (`series`) where the study has several, and a length where it is `measured`.

    Presence decides the shape, so an answer cannot contradict itself: what is detected has a place and is at least possible, what is not has none.
    """
    box = {
        "type": "array",
        "items": {"type": "integer", "minimum": 0, "maximum": BOX_SCALE},
        "minItems": 4,
        "maxItems": 4,
    }
    axis = {"type": "integer", "minimum": 1, "maximum": MAX_LONG_AXIS_MM}
    places = [
        _closed(
            ({"series": {"const": number}} if len(slices) > 1 else {})
            | {"slice": {"type": "integer", "minimum": 1, "maximum": count}, "box_2d": box}
            | ({"long_axis_mm": axis} if measured else {})
        )
        for number, count in enumerate(slices, start=1)
    ]
    location = places[0] if len(places) == 1 else {"anyOf": places}
    shapes = {
        "detected": (
            ("possible", "probable", "definite"),
            ("new", "worse", "stable", "better", "indeterminate"),
            location,
        ),
        "not-detected": (("absent", "improbable"), ("stable", "resolved", "indeterminate"), {"type": "null"}),
        "indeterminate": (("possible",), ("indeterminate",), {"type": "null"}),
    }
    finding = {
        "anyOf": [_shape(presence, *shape, compared=compared, sides=sides) for presence, shape in shapes.items()]
    }
    return _closed({"findings": _closed(dict.fromkeys(labels, finding))})


def _shape(
    presence: str,
    likelihoods: tuple[str, ...],
    changes: tuple[str, ...],
    location: dict[str, Any],
    *,
    compared: bool,
    sides: tuple[Side, ...],
) -> dict[str, Any]:
    return _closed(
        {
            "presence": {"enum": [presence]},
            "likelihood": {"enum": list(likelihoods)},
            "side": {"enum": list(sides)},
            "change": {"enum": list(changes) if compared else [NOT_COMPARED]},
            "location": location,
        }
    )


def _closed(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


class ModelRelease(Record):
    """One release of the model as the runtime publishes it (`release.json` beside the checkpoint).

    `name` is what people read (`untrained` until a trained checkpoint exists); `served_model_name` is what vLLM's `/v1/models` must answer, so that a
    worker never credits one model with another's answer.
    """

    name: str
    served_model_name: str
    trained: bool
    model_number: str
    manufacturer: str
    architecture: str
    weights_sha256: str
    runtime: str
    max_slices: int
    model_card: str
    family: str = "medgemma-1.5-4b"
    """A name of `schemas.families`: what may be asked, and how."""
    source_sha256: str | None = None
    """Of the publisher's weights, where these were converted from them."""
    quantization: Literal["w8a8", "w4a16"] | None = None
    """How the weights were rounded, where they were."""
    parent_sha256: str | None = None
    """`weights_sha256` of what was quantized."""


class VolumeItem(Record):
    """A stack as a request refers to it, a volume or pictures: the SHA-256 of its container, and its role for the reader."""

    digest: str
    slices: int
    """Of a volume its slices, of pictures their number."""
    role: Literal["prior", "current"]
    kind: Literal["volume", "picture"] = "volume"
    heading: str | None = None
    """The text before it; None in requests of earlier versions, which name the role; empty: none."""


class ModelRequest(Record):
    """One question to the model. Order on the wire: instruction, stacks (oldest study first), query last (see docs/adr); what is empty is left out.
    The second pass has no stacks."""

    instruction: str
    volumes: list[VolumeItem]
    query: str
    answer_schema: dict[str, Any]
    max_tokens: int
    priority: int
    """vLLM's scheduling priority: lower runs first. Only the worker sets it."""

    def as_asked(self) -> bytes:
        """JSON with its keys in the order they were asked in: the answer is written in the order of the schema's properties, so another order is
        another question. It is kept in this form, never sorted, so that it can be asked again."""
        return orjson.dumps(self.model_dump(mode="json"))


class ModelAnswer(Record):
    """The raw text of the answer and what it took."""

    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    served_model_name: str
