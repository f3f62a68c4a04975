"""A JSON Schema of few keywords compiled into one predicate, for the path that every event takes.

It may say yes only where jsonschema says yes. Whatever it does not accept is put to jsonschema, which has the last word and the reason. A general
validator builds an object for each place of each event, which takes a fifth of what the gateway has for one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from jsonschema import FormatChecker

Schema = dict[str, Any]
Check = Callable[[Any], bool]

_TYPES: dict[str, type] = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool}
_FORMATS = FormatChecker()


def compile_check(schema: Schema) -> Check:
    """`ValueError` for a keyword that is not known here."""
    checks = [_MAKERS[keyword](schema[keyword], schema) for keyword in sorted(schema) if keyword not in _SILENT]
    return lambda value: all(check(value) for check in checks)


def _type(name: Any, schema: Schema) -> Check:
    if name not in _TYPES:
        raise ValueError("a type that is not compiled")
    kind = _TYPES[name]
    return lambda value: type(value) is kind  # a Boolean is no integer


def _const(wanted: Any, schema: Schema) -> Check:
    return lambda value: type(value) is type(wanted) and value == wanted


def _enum(choices: list[Any], schema: Schema) -> Check:
    if not all(isinstance(choice, str) for choice in choices):
        raise ValueError("an enumeration that is not of strings")
    known = frozenset(choices)
    return lambda value: isinstance(value, str) and value in known


def _pattern(pattern: str, schema: Schema) -> Check:
    search = re.compile(pattern).search
    return lambda value: isinstance(value, str) and search(value) is not None


def _min_length(least: int, schema: Schema) -> Check:
    return lambda value: isinstance(value, str) and len(value) >= least


def _max_length(most: int, schema: Schema) -> Check:
    return lambda value: isinstance(value, str) and len(value) <= most


def _minimum(least: int, schema: Schema) -> Check:
    return lambda value: type(value) is int and value >= least


def _maximum(most: int, schema: Schema) -> Check:
    return lambda value: type(value) is int and value <= most


def _format(name: str, schema: Schema) -> Check:
    return lambda value: isinstance(value, str) and _FORMATS.conforms(value, name)


def _required(names: list[str], schema: Schema) -> Check:
    return lambda value: isinstance(value, dict) and all(name in value for name in names)


def _properties(properties: dict[str, Schema], schema: Schema) -> Check:
    checks = {name: compile_check(rule) for name, rule in properties.items()}

    def holds(value: Any) -> bool:
        return isinstance(value, dict) and all(
            name not in value or check(value[name]) for name, check in checks.items()
        )

    return holds


def _additional_properties(allowed: Any, schema: Schema) -> Check:
    if allowed is not False:
        raise ValueError("additional properties that are described")
    known = frozenset(schema.get("properties", {}))
    return lambda value: isinstance(value, dict) and known.issuperset(value)


def _items(rule: Schema, schema: Schema) -> Check:
    check = compile_check(rule)
    return lambda value: isinstance(value, list) and all(map(check, value))


class _Makers(dict[str, Callable[[Any, Schema], Check]]):
    def __missing__(self, keyword: str) -> Callable[[Any, Schema], Check]:
        raise ValueError("a keyword that is not compiled")


_SILENT = frozenset({"title", "description", "$schema", "$id", "$defs", "$comment"})
_MAKERS = _Makers(
    {
        "type": _type,
        "const": _const,
        "enum": _enum,
        "pattern": _pattern,
        "minLength": _min_length,
        "maxLength": _max_length,
        "minimum": _minimum,
        "maximum": _maximum,
        "format": _format,
        "required": _required,
        "properties": _properties,
        "additionalProperties": _additional_properties,
        "items": _items,
    }
)
