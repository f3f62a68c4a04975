"""Which JSON Schemas an answer may be asked in: those that guidance can follow to an end, made of the keywords that the worker's are made of. Pure.

A schema that refers to itself without an end, or that counts to a billion, is accepted by vLLM and fails at the first token (500).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

NAMES = frozenset({"properties"})
LISTS = frozenset({"anyOf", "prefixItems"})
ONES = frozenset({"items", "additionalProperties"})
COUNTS = frozenset({"minItems", "maxItems", "minLength", "maxLength"})
NUMBERS = frozenset({"minimum", "maximum"})
PLAIN = frozenset({"type", "required", "enum", "const", "pattern", "format", "title", "description"})
KEYWORDS = NAMES | LISTS | ONES | COUNTS | NUMBERS | PLAIN
TYPES = frozenset({"object", "array", "string", "integer", "number", "boolean", "null"})
MOST_COUNTED = 4096
MOST_NUMBER = 2**53
MOST_DEPTH = 64
MOST_SCHEMAS = 50_000
MOST_PATTERN = 1000


def problem(schema: Any) -> str | None:
    """What is wrong with a schema, in words that repeat nothing of it; None if nothing is."""
    level, depth, count = [schema], 0, 0
    while level:
        depth, count = depth + 1, count + len(level)
        if depth > MOST_DEPTH or count > MOST_SCHEMAS:
            return "is too deep or too large"
        for each in level:
            if not isinstance(each, dict):
                return "holds something in the place of a schema"
            if not set(each) <= KEYWORDS:
                return f"is made of other keywords than {', '.join(sorted(KEYWORDS))}"
            if not all(_right(name, value) for name, value in each.items()):
                return "holds a keyword with a value that it cannot have"
        level = [child for each in level for child in _children(each)]
    return None


def _children(schema: dict[str, Any]) -> Iterator[Any]:
    for name in NAMES & schema.keys():
        yield from schema[name].values()
    for name in LISTS & schema.keys():
        yield from schema[name]
    for name in ONES & schema.keys():
        if not isinstance(schema[name], bool):
            yield schema[name]


def _right(name: str, value: Any) -> bool:
    if name in NAMES:
        return isinstance(value, dict)
    if name in LISTS:
        return isinstance(value, list) and bool(value)
    if name in COUNTS:
        return type(value) is int and 0 <= value <= MOST_COUNTED
    if name in NUMBERS:
        return type(value) in (int, float) and abs(value) <= MOST_NUMBER
    if name == "type":
        return all(isinstance(each, str) and each in TYPES for each in (value if isinstance(value, list) else [value]))
    if name == "enum":
        return isinstance(value, list) and bool(value)
    if name == "required":
        return isinstance(value, list) and all(isinstance(each, str) for each in value)
    if name in ("pattern", "format", "title", "description"):
        return isinstance(value, str) and len(value) <= MOST_PATTERN
    return True
