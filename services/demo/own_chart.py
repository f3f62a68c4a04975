"""A user's own FHIR file as one transaction that may be loaded again and again: each entry becomes `PUT Type/id`.

Takes an R4 Bundle (transaction, batch, collection, searchset) or a lone Patient. Numbers keep their digits: JSON is read and written without going
through binary floating point (7.10 stays 7.10, as FHIR's decimal asks).
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from schemas.errors import PermanentFailure
from schemas.identifiers import canonical_json, without_version

Resource = dict[str, Any]

BUNDLE_TYPES = ("transaction", "batch", "collection", "searchset")
_ID = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9.-]{1,64}")
"""A FHIR id that every server lets a client choose: some refuse ids of digits alone."""
_NUMBER = re.compile(r'"\\u0001(-?[0-9][0-9.eE+-]*)"')
_LITERAL = re.compile(r"(?:.*/)?([A-Z][A-Za-z]+)/([A-Za-z0-9.-]{1,64})(?:/_history/[A-Za-z0-9.-]+)?")
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:longview:demo:resource")


@dataclass(frozen=True)
class OwnChart:
    """The transaction Bundle and its one patient."""

    bundle: Resource
    patient: str

    @property
    def patient_resource(self) -> Resource:
        found = (entry["resource"] for entry in self.bundle["entry"] if entry["request"]["url"] == self.patient)
        return dict(next(found))


def read_chart(path: Path) -> OwnChart:
    """The chart in `path`; `PermanentFailure` says in one sentence what is wrong with the file."""
    try:
        body = loads(path.read_bytes())
    except OSError as error:
        raise PermanentFailure(
            "patient-file", "the patient file cannot be read: name a FHIR R4 JSON file that exists."
        ) from error
    except ValueError as error:
        raise PermanentFailure(
            "patient-file", "the patient file is not JSON: give a FHIR R4 Bundle or Patient in JSON."
        ) from error
    return chart_of(body)


def chart_of(body: Any) -> OwnChart:
    """The chart of a parsed Bundle or Patient; the argument is not changed."""
    entries = list(_entries(body))
    names = _names(entries)
    patients = [
        name for (_, resource), name in zip(entries, names, strict=True) if resource["resourceType"] == "Patient"
    ]
    if len(set(patients)) != 1:
        raise PermanentFailure(
            "patient-count", f"the patient file holds {len(set(patients))} patients: give a file with exactly one."
        )
    known = _known(entries, names)
    identified = _identified(entries, names)
    puts: dict[str, Resource] = {}
    for (full_url, resource), name in zip(entries, names, strict=True):
        base = full_url.removesuffix(name)
        resolved = _resolve(resource, known, identified, base)
        resolved["id"] = name.partition("/")[2]
        puts[name] = {
            "fullUrl": full_url or f"urn:longview:demo:{name}",
            "resource": resolved,
            "request": {"method": "PUT", "url": name},
        }
    return OwnChart({"resourceType": "Bundle", "type": "transaction", "entry": list(puts.values())}, patients[0])


def loads(data: bytes) -> Any:
    """JSON with its decimals kept as they are written."""
    return json.loads(data, parse_float=lambda text: "\x01" + text)


def dumps(value: Any) -> bytes:
    """The JSON of what `loads` gave, decimals as they were written."""
    return _NUMBER.sub(r"\1", json.dumps(value, ensure_ascii=True, separators=(",", ":"))).encode()


def _entries(body: Any) -> Iterator[tuple[str, Resource]]:
    """(fullUrl, resource) of everything in the file that is to be loaded."""
    if not isinstance(body, dict) or body.get("resourceType") not in ("Bundle", "Patient"):
        raise PermanentFailure(
            "patient-file", "the patient file is neither a FHIR Bundle nor a Patient: give one of them."
        )
    if body["resourceType"] == "Patient":
        yield "", body
        return
    if body.get("type") not in BUNDLE_TYPES:
        raise PermanentFailure(
            "bundle-type", f"the Bundle's type is not one of {', '.join(BUNDLE_TYPES)}: give such a Bundle."
        )
    for entry in body.get("entry") or []:
        if isinstance(entry, dict) and isinstance(entry.get("resource"), dict) and _is_data(entry, entry["resource"]):
            yield str(entry.get("fullUrl") or ""), entry["resource"]


def _is_data(entry: dict[str, Any], resource: Resource) -> bool:
    """Neither an outcome nor a deletion nor something without a type."""
    if not isinstance(resource.get("resourceType"), str):
        return False
    if (entry.get("request") or {}).get("method", "POST") not in ("POST", "PUT"):
        return False
    return resource["resourceType"] != "OperationOutcome" and (entry.get("search") or {}).get("mode") != "outcome"


def _names(entries: list[tuple[str, Resource]]) -> list[str]:
    """`Type/id` of each entry: its own id, else the UUID of its fullUrl, else one made of its content."""
    return [f"{resource['resourceType']}/{_id(full_url, resource)}" for full_url, resource in entries]


def _id(full_url: str, resource: Resource) -> str:
    own = str(resource.get("id") or "")
    if own:
        return (
            own
            if _ID.fullmatch(own)
            else f"id-{own}"
            if _ID.fullmatch(f"id-{own}")
            else str(uuid.uuid5(_NAMESPACE, own))
        )
    last = full_url.removeprefix("urn:uuid:").rpartition("/")[2]
    if full_url and _ID.fullmatch(last):
        return last
    return str(uuid.uuid5(_NAMESPACE, full_url or canonical_json(resource).decode()))


def _known(entries: list[tuple[str, Resource]], names: list[str]) -> dict[str, str]:
    """Every way in which an entry may be referred to -> `Type/id`."""
    known: dict[str, str] = {}
    for (full_url, resource), name in zip(entries, names, strict=True):
        if full_url:
            known[full_url] = name
        if resource.get("id"):
            known.setdefault(f"{resource['resourceType']}/{resource['id']}", name)
    return known


def _identified(entries: list[tuple[str, Resource]], names: list[str]) -> dict[tuple[str, str, str], str]:
    """(type, system, value) of every business identifier -> `Type/id`, for references that are searches."""
    found: dict[tuple[str, str, str], str] = {}
    for (_, resource), name in zip(entries, names, strict=True):
        identifiers = resource.get("identifier")
        for identifier in identifiers if isinstance(identifiers, list) else []:
            if isinstance(identifier, dict):
                key = (resource["resourceType"], str(identifier.get("system", "")), str(identifier.get("value", "")))
                found.setdefault(key, name)
    return found


def _resolve(node: Any, known: dict[str, str], identified: dict[tuple[str, str, str], str], base: str) -> Any:
    """A copy in which every reference to an entry of the file names that entry's `Type/id`."""
    if isinstance(node, list):
        return [_resolve(item, known, identified, base) for item in node]
    if not isinstance(node, dict):
        return node
    copy = {key: _resolve(value, known, identified, base) for key, value in node.items()}
    if isinstance(node.get("reference"), str):
        copy |= _reference(node["reference"], known, identified, base)
        if copy["reference"] is None:
            del copy["reference"]
    return copy


def _reference(
    reference: str, known: dict[str, str], identified: dict[tuple[str, str, str], str], base: str
) -> dict[str, Any]:
    """What stands for `reference`: the entry's `Type/id`, a logical reference for a search that nothing here answers, or itself."""
    unversioned = without_version(reference)
    if unversioned in known:
        return {"reference": known[unversioned]}
    if "?" in reference:
        return _searched(reference, identified)
    literal = _LITERAL.fullmatch(reference)
    if literal and base and f"{base}{literal[1]}/{literal[2]}" in known:
        return {"reference": known[f"{base}{literal[1]}/{literal[2]}"]}
    return {"reference": reference}


def _searched(reference: str, identified: dict[tuple[str, str, str], str]) -> dict[str, Any]:
    """`Type?identifier=system|value`, as newer Synthea writes it."""
    kind, _, query = reference.partition("?")
    system, _, value = dict(parse_qsl(query)).get("identifier", "").rpartition("|")
    if (kind, system, value) in identified:
        return {"reference": identified[kind, system, value]}
    logical = {"system": system, "value": value} if system else {"value": value}
    return {"reference": None, "type": kind} | ({"identifier": logical} if value else {})
