"""JSON Schemas out of an API server's OpenAPI: as strict as kubeconform's own, and no stricter."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema_rs import Draft202012Validator

from scripts.cluster.schemas import kinds

SPEC = {
    "description": "what a person reads",
    "type": "object",
    "required": ["image"],
    "properties": {
        "image": {"type": "string", "default": ""},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "description": {"type": "string"},
        "anything": {"type": "object", "properties": {"known": {}}, "x-kubernetes-preserve-unknown-fields": True},
    },
}
DOCUMENT = {
    "components": {
        "schemas": {
            "v1.Spec": SPEC,
            "v1.Thing": {
                "type": "object",
                "properties": {
                    "apiVersion": {"type": "string"},
                    "kind": {"type": "string"},
                    "spec": {"allOf": [{"$ref": "#/components/schemas/v1.Spec"}], "default": {}},
                },
                "x-kubernetes-group-version-kind": [{"group": "example.org", "kind": "Thing", "version": "v1"}],
            },
            "v1.DeleteOptions": {
                "type": "object",
                "x-kubernetes-group-version-kind": [
                    {"group": "", "kind": "DeleteOptions", "version": "v1"},
                    {"group": "apps", "kind": "DeleteOptions", "version": "v1"},
                ],
            },
        }
    }
}


def _valid(spec: dict[str, Any]) -> bool:
    ((_, schema),) = kinds(DOCUMENT)
    return bool(Draft202012Validator(schema).is_valid({"apiVersion": "example.org/v1", "kind": "Thing", "spec": spec}))


def test_each_kind_is_a_file_where_kubeconform_looks_for_it() -> None:
    assert [name for name, _ in kinds(DOCUMENT)] == ["example.org/thing_v1.json"]


@pytest.mark.parametrize(
    "spec",
    [
        {"image": "a", "labels": {"any": "name"}},
        {"image": "a", "description": "a field of this name is no prose"},
        {"image": "a", "anything": {"known": 1, "unknown": 2}},
    ],
)
def test_what_the_server_takes_is_valid(spec: dict[str, Any]) -> None:
    assert _valid(spec)


@pytest.mark.parametrize(
    "spec",
    [{}, {"image": 1}, {"image": "a", "imagee": "b"}, {"image": "a", "labels": {"any": 1}}],
    ids=["missing", "type", "slip of the pen", "type of a value"],
)
def test_what_it_would_refuse_is_not(spec: dict[str, Any]) -> None:
    assert not _valid(spec)
