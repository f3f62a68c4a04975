"""The question about a document: its lines as quoted data, and for each line that may hold a result a closed choice of what stands in it. Pure.

The schema offers for every line only texts that the line holds, so that under constrained decoding nothing can be said that does not stand there,
and no line can be passed over: each is a result, or is said to be none. The checks do not rely on it.
"""

from __future__ import annotations

from typing import Any

from schemas.documents import DocumentLine
from schemas.errors import PermanentFailure
from schemas.inference import ModelRequest, VolumeItem
from schemas.report import Priority
from workflows.documents.rows import Rows
from workflows.documents.units import unitless
from workflows.reading.document_prompt import DOCUMENT_INSTRUCTION, DOCUMENT_QUERY, LINES_BEGIN, LINES_END
from workflows.reading.history_prompt import quoted
from workflows.reading.prompt import VLLM_PRIORITY

MOST_ASKED = 240
"""Lines that may hold a result; a report of more is cut by who sends it."""
TOKENS_A_LINE = 48
"""Keys and marks of one answer."""
LEAST_CONFIDENCE = 0.8
"""Of the OCR engine; what it is less sure of is not asked about and not believed."""


def document_request(rows: Rows, items: list[VolumeItem], priority: Priority) -> ModelRequest:
    """`items` hold the pictures of scanned pages. `PermanentFailure` (`document-too-long`) for more lines than can be asked about."""
    asked = asked_lines(rows)
    if len(asked) > MOST_ASKED:
        raise PermanentFailure(
            "document-too-long", f"more than {MOST_ASKED} lines may hold results: split the document"
        )
    shapes = {name: shape_of(rows, name) for name in asked}
    told = [line_json(line) for name, line in rows.lines.items() if name not in rows.instructing]
    query = DOCUMENT_QUERY.format(lines=", ".join(asked) or "none")
    return ModelRequest(
        instruction=DOCUMENT_INSTRUCTION,
        volumes=items,
        query="\n".join([LINES_BEGIN, *told, LINES_END, query]),
        answer_schema=_closed(
            {"lines": _closed({name: {"anyOf": [shape, {"type": "null"}]} for name, shape in shapes.items()})}
        ),
        max_tokens=64 + sum(TOKENS_A_LINE + _longest(shape) for shape in shapes.values()),
        priority=VLLM_PRIORITY[priority],
    )


def asked_lines(rows: Rows) -> list[str]:
    """Lines with a name, a number that can be the result, and a unit or what might be one: read surely, and not reading like an instruction."""
    return [name for name in rows.lines if may_hold_result(rows, name) and believable(rows, name)]


def believable(rows: Rows, name: str) -> bool:
    return sure(rows.lines[name]) and name not in rows.instructing


def sure(line: DocumentLine) -> bool:
    return line.confidence is None or line.confidence >= LEAST_CONFIDENCE


def may_hold_result(rows: Rows, name: str) -> bool:
    found, names = rows.candidates[name], rows.names(name)
    counted = bool(found.units or found.unknown_units) or any(unitless(text) for text, _ in names)
    return bool(names and rows.results(name) and counted)


def shape_of(rows: Rows, name: str) -> dict[str, Any]:
    """What may be answered about the line: texts that it holds."""
    found, unit = rows.candidates[name], rows.unit(name)
    units = [unit.text] if unit else [span.text for span in found.unknown_units]
    names = [text for text, _ in rows.names(name)]
    bare = not units or any(unitless(text) for text in names)
    return _closed(
        {
            "name": _enum(names),
            "value": _enum([span.text for span in rows.results(name)]),
            "unit": _enum([*units, None] if bare else units),
            "range": _enum([*(span.text for span in found.ranges), None]),
            "flag": _enum([*(span.text for span in found.flags), None]),
            "collected": _enum([*rows.contexts[name].collected, None]),
        }
    )


def line_json(line: DocumentLine) -> str:
    return f'{{"id":{quoted(line.id)},"text":{quoted(line.text)}}}'


def _enum(texts: list[Any]) -> dict[str, Any]:
    return {"enum": list(dict.fromkeys(texts))}


def _longest(shape: dict[str, Any]) -> int:
    """Characters of the longest answer: no tokenizer makes more tokens of them, but for letters outside ASCII."""
    return sum(max(len((text or "null").encode()) for text in field["enum"]) for field in shape["properties"].values())


def _closed(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
