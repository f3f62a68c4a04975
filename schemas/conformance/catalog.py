"""All definitions of a deployment, in an order in which each stands behind what it refers to."""

from __future__ import annotations

from dataclasses import dataclass

import orjson

from schemas.codes import Canonical, Json
from schemas.conformance.document_line import document_line
from schemas.conformance.image_region import image_region
from schemas.conformance.profiles import profiles
from schemas.conformance.terminology import (
    RESULT_REASONS,
    TASK_REASONS,
    code_system,
    naming_system,
    presence,
    reasons,
    value_set,
)
from schemas.sids import SIDS
from schemas.terms import SYSTEMS


@dataclass(frozen=True)
class Definition:
    """One conformance resource, without id."""

    resource: Json

    @property
    def type(self) -> str:
        return str(self.resource["resourceType"])

    @property
    def url(self) -> str:
        """The canonical URL; of a NamingSystem, which has none in R4, its unique id."""
        return str(self.resource["uniqueId"][0]["value"] if self.type == "NamingSystem" else self.resource["url"])

    @property
    def version(self) -> str:
        """The business version; of a NamingSystem, which has none in R4, its date."""
        return str(self.resource["date"] if self.type == "NamingSystem" else self.resource["version"])

    @property
    def file_name(self) -> str:
        return f"{self.type}-{self.url.rsplit('/', 1)[1]}.json"


def definitions(canonical: Canonical) -> list[Definition]:
    """Every code system, value set, identifier system, extension and profile of ours, under the deployment's base."""
    resources = [
        *(code_system(canonical, system) for system in SYSTEMS),
        *(value_set(canonical, system) for system in SYSTEMS),
        presence(canonical),
        reasons(canonical, TASK_REASONS),
        reasons(canonical, RESULT_REASONS),
        *(naming_system(canonical, sid) for sid in SIDS),
        image_region(canonical),
        document_line(canonical),
        *profiles(canonical),
    ]
    return [Definition(resource) for resource in resources]


def definition_files(canonical: Canonical) -> dict[str, bytes]:
    """File name -> indented JSON; the same bytes for the same base."""
    return {
        definition.file_name: orjson.dumps(definition.resource, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
        for definition in definitions(canonical)
    }
