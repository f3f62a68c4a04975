"""JSON Schemas, for kubeconform, of every kind that an API server serves, from its own OpenAPI v3 documents.

The schemas that kubeconform would fetch are generated from the same documents, are strict in the same way (no unknown field), and know nothing of
custom resources; these do, and need no network.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scripts.cluster.plane import kubectl

LOCATION = "{{ .Group }}/{{ .ResourceKind }}_{{ .ResourceAPIVersion }}.json"
"""kubeconform's template for the files that are written here; the group of the core kinds is their version."""
_REFERENCE = "#/components/schemas/"
_KINDS = "x-kubernetes-group-version-kind"
_OPEN = "x-kubernetes-preserve-unknown-fields"
_TALK = ("description", "default", "example")


def write_schemas(state: Path, folder: Path) -> int:
    """Write a file for each kind that the cluster in `state` serves; returns how many."""
    index = json.loads(kubectl(state, "get", "--raw", "/openapi/v3"))["paths"]
    count = 0
    for path, entry in index.items():
        if path.startswith(("api/", "apis/")):
            document = json.loads(kubectl(state, "get", "--raw", entry["serverRelativeURL"]))
            for name, schema in kinds(document):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_text(json.dumps(schema))
                count += 1
    return count


def kinds(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(file, JSON Schema) of each kind of one group and version; the schemas that it refers to stand beside it in `definitions`."""
    schemas = document.get("components", {}).get("schemas", {})
    definitions = {name: strict(schema) for name, schema in schemas.items()}
    for name, schema in schemas.items():
        if (
            len(found := schema.get(_KINDS, [])) == 1
        ):  # those of many groups (DeleteOptions) are no objects of their own
            group, version, kind = (found[0][key] for key in ("group", "version", "kind"))
            yield (
                f"{group or version}/{kind.lower()}_{version}.json",
                {"$ref": f"#/definitions/{name}", "definitions": definitions},
            )


def strict(schema: Any) -> Any:
    """The same schema without prose, its references made local; an object may hold none but its named properties unless it says otherwise."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "properties":
            made[key] = {name: strict(each) for name, each in value.items()}
        elif key == "$ref":
            made[key] = value.replace(_REFERENCE, "#/definitions/")
        elif key not in _TALK and (not key.startswith("x-") or key == _OPEN):
            made[key] = strict(value)
    if "properties" in made and not made.pop(_OPEN, False):
        made.setdefault("additionalProperties", False)
    return made
