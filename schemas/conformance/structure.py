"""StructureDefinitions as constraints on R4: metadata, and elements of a differential."""

from __future__ import annotations

import re

from schemas.code_system import System
from schemas.codes import Canonical, Json
from schemas.conformance.metadata import head

FHIR = "http://hl7.org/fhir"
FHIR_VERSION = "4.0.1"


def structure(
    canonical: Canonical, name: str, kind: str, base: str, title: str, text: str, elements: list[Json]
) -> Json:
    """A constraint on the R4 type `base`; `kind` is `resource` or `complex-type`."""
    return head("StructureDefinition", canonical.structure(name), title, text) | {
        "fhirVersion": FHIR_VERSION,
        "kind": kind,
        "abstract": False,
        "type": base,
        "baseDefinition": f"{FHIR}/StructureDefinition/{base}",
        "derivation": "constraint",
        "differential": {"element": elements},
    }


def element(place: str, **fields: object) -> Json:
    """An ElementDefinition; `place` is its id, with slices (`Observation.component:likelihood.code`)."""
    last = place.rsplit(".", 1)[-1]
    slice_name = {"sliceName": last.split(":", 1)[1]} if ":" in last else {}
    return {"id": place, "path": re.sub(r":[^.]*", "", place), **slice_name, **fields}


def rule(key: str, human: str, expression: str) -> Json:
    """An invariant in FHIRPath."""
    return {"key": key, "severity": "error", "human": human, "expression": expression}


def binding(canonical: Canonical, system: System) -> Json:
    """The binding of an element to all codes of a local system, as firm as the system says."""
    return {"strength": system.strength, "valueSet": canonical.value_set(system.name)}


def local_coding(canonical: Canonical, place: str, system: System) -> list[Json]:
    """Exactly one coding of a local system in the CodeableConcept at `place`, beside which others (SNOMED CT) may stand."""
    coding = f"{place}.coding"
    return [
        element(coding, slicing={"discriminator": [{"type": "value", "path": "system"}], "rules": "open"}, min=1),
        element(f"{coding}:local", min=1, max="1", binding=binding(canonical, system)),
        element(f"{coding}:local.system", min=1, fixedUri=system.url(canonical)),
        element(f"{coding}:local.code", min=1),
    ]


def by_pattern(path: str) -> Json:
    """Open slicing by a pattern at `path`."""
    return {"discriminator": [{"type": "pattern", "path": path}], "ordered": False, "rules": "open"}


def pattern(canonical: Canonical, system: System, code: str) -> Json:
    system.display(code)
    return {"patternCodeableConcept": {"coding": [{"system": system.url(canonical), "code": code}]}}
