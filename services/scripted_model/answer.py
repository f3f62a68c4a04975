"""An answer made of a request's JSON Schema and the digest of the request alone: the same question always has the same answer. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

Schema = dict[str, Any]

BOX = "box_2d"
BOX_SIDE = 400
"""Thousandths: wide enough for `long_axis_mm` to fit on any grid, so that the checks leave most findings."""
FEW = 4
"""Numbers are chosen among the few smallest that are allowed."""


class ScriptedAnswer:
    """Walks a schema and chooses by the bytes of SHA-256(question | counter)."""

    def __init__(self, question: bytes) -> None:
        self._question = question
        self._count = 0

    def of(self, schema: Schema, name: str = "") -> Any:
        """A value that is valid under `schema` (object, array, enum, const, anyOf, number, string, null); `ValueError` for any other kind."""
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return self._one_of(schema["enum"])
        for choice in ("anyOf", "oneOf"):
            if choice in schema:
                return self.of(self._one_of(schema[choice]), name)
        kind = schema.get("type")
        kind = self._one_of(kind) if isinstance(kind, list) else kind
        makers: dict[Any, Callable[[Schema, str], Any]] = {
            "object": self._object,
            "array": self._array,
            "integer": self._integer,
            "number": self._integer,
            "string": lambda schema, name: "x" * int(schema.get("minLength", 1)),
            "boolean": lambda schema, name: self._one_of([False, True]),
            "null": lambda schema, name: None,
        }
        if kind not in makers:
            raise ValueError("the schema is of a kind that is not answered")
        return makers[kind](schema, name)

    def _object(self, schema: Schema, name: str) -> dict[str, Any]:
        return {key: self.of(schema["properties"][key], key) for key in schema.get("required", [])}

    def _array(self, schema: Schema, name: str) -> list[Any]:
        count = int(schema.get("minItems", 0))
        if name == BOX and count == 4:
            y, x = self._below(1000 - BOX_SIDE), self._below(1000 - BOX_SIDE)
            return [y, x, y + BOX_SIDE, x + BOX_SIDE]
        return [self.of(schema["items"], name) for _ in range(count)]

    def _integer(self, schema: Schema, name: str) -> int:
        least = int(schema.get("minimum", 0))
        most = min(int(schema.get("maximum", least + FEW)), least + FEW)
        return least + self._below(most - least + 1)

    def _one_of(self, choices: list[Any]) -> Any:
        return choices[self._below(len(choices))]

    def _below(self, limit: int) -> int:
        self._count += 1
        digest = hashlib.sha256(self._question + self._count.to_bytes(4, "big")).digest()
        return int.from_bytes(digest[:8], "big") % limit
