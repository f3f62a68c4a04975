"""Loads our own definitions into a FHIR server (contract 0.4 and 1.5: conditional creates, never a blind or conditional update).

What is there is found by canonical URL and version, whoever has loaded it. What is not is created on condition of a tag that is derived from
both, as Provenance is: `url` is no search parameter on every server, and none of a NamingSystem in R4. A version that the server holds with
other content is never written over: results may have been validated against it.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from schemas.codes import Canonical, Json, coding
from schemas.conformance import Definition, definitions
from schemas.errors import PermanentFailure, StaleWrite
from schemas.identifiers import canonical_json
from workflows.report.context import create
from workflows.timeline.fields import unversioned

ATTEMPTS = 3
"""How often a write is sent again that has lost a race against another publisher."""

State = Literal["new", "there", "differs"]


class DefinitionServer(Protocol):
    """What is needed of a FHIR server."""

    def find_definitions(self, resource_type: str, url: str) -> list[Json]: ...
    def read(self, reference: str) -> Json: ...
    def transaction(self, bundle: bytes) -> list[str]: ...


@dataclass(frozen=True)
class PublishedDefinition:
    """`new`: it was not there (and now is, except in a dry run); `there`: with the same content; `differs`: with other content."""

    definition: Definition
    state: State

    @property
    def row(self) -> dict[str, Any]:
        one = self.definition
        return {"state": self.state, "type": one.type, "version": one.version, "url": one.url}

    @property
    def mend(self) -> str:
        """What to do about a definition that differs; empty for the others."""
        if self.state != "differs":
            return ""
        name = self.definition.file_name.removesuffix(".json")
        if self.definition.type == "NamingSystem":
            return f"The FHIR server holds another {name}: remove it there, or give it back its content; nothing was written."
        return (
            f"The FHIR server holds version {self.definition.version} of {name} with other content: raise the version in "
            "schemas/terms.py, or remove the server's copy; nothing was written."
        )


def publish(server: DefinitionServer, canonical: Canonical, *, dry_run: bool = False) -> list[PublishedDefinition]:
    """Every definition and what was found. Nothing is written in a dry run, or while one differs."""
    found = [PublishedDefinition(one, _state(server, one)) for one in definitions(canonical)]
    missing = [each.definition for each in found if each.state == "new"]
    if not dry_run and missing and not any(each.mend for each in found):
        _create(server, canonical, missing)
    return found


def _state(server: DefinitionServer, definition: Definition) -> State:
    """What the server holds of this very version."""
    copies = [
        resource
        for resource in server.find_definitions(definition.type, definition.url)
        if definition.type == "NamingSystem" or resource.get("version") == definition.version
    ]
    if not copies:
        return "new"
    return "there" if all(_same(copy, definition) for copy in copies) else "differs"


def _same(resource: Json, definition: Definition) -> bool:
    """Equal but for what a server adds: id, meta and narrative."""
    return {
        name: value for name, value in resource.items() if name not in ("id", "meta", "text")
    } == definition.resource


def _create(server: DefinitionServer, canonical: Canonical, missing: list[Definition]) -> None:
    """In one transaction; one by one where the server refuses that, so that the refused one is named."""
    try:
        _write(server, canonical, missing)
    except PermanentFailure as failure:
        if failure.code not in ("fhir-refused", "fhir-transaction"):
            raise
        for definition in missing:
            _write_alone(server, canonical, definition)


def _write_alone(server: DefinitionServer, canonical: Canonical, definition: Definition) -> None:
    try:
        _write(server, canonical, [definition])
    except PermanentFailure as failure:
        hint = f"The FHIR server does not take {definition.file_name.removesuffix('.json')}: its own log says why."
        raise PermanentFailure(failure.code, hint) from failure


def _write(server: DefinitionServer, canonical: Canonical, missing: list[Definition]) -> None:
    entries = [_entry(canonical, definition) for definition in missing]
    written = _sent(server, canonical_json({"resourceType": "Bundle", "type": "transaction", "entry": entries}))
    for definition, reference in zip(missing, written, strict=True):
        if not _same(server.read(unversioned(reference)), definition):
            name = definition.file_name.removesuffix(".json")
            raise PermanentFailure("definition-altered", f"The FHIR server holds {name} otherwise than it was sent.")


def _sent(server: DefinitionServer, bundle: bytes) -> list[str]:
    for _ in range(ATTEMPTS - 1):
        try:
            return server.transaction(bundle)
        except StaleWrite:
            continue
    return server.transaction(bundle)


def _entry(canonical: Canonical, definition: Definition) -> Json:
    """A conditional create; the tag is the same for everyone who publishes this version."""
    key = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{definition.type}|{definition.url}|{definition.version}"))
    tag = coding(canonical.sid("definition"), key)
    resource = definition.resource | {"meta": {"tag": [tag]}}
    return create(f"urn:uuid:{key}", resource, f"_tag={tag['system']}|{tag['code']}")
