"""Scopes of SMART App Launch 2.x (section "Scopes for requesting FHIR Resources"): which ones Longview needs, and whether those granted cover them.

`system/Observation.crs` means create, read, search; letters stand in the order `cruds`. Version 1 wrote `.read`, `.write` and `.*`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable

from services.clients.fhir import RECORD_TYPES, WRITTEN_TYPES
from workflows.timeline.kinds import COUNTED

LETTERS = "cruds"
FIRST_VERSION = {"read": "rs", "write": "cud", "*": "cruds"}
UPDATED_TYPES = ("DiagnosticReport", "Observation", "Task", "Communication")
"""Of those that we write: what a review, an escalation or a withdrawal changes. A conditional create is a create and a search."""
_SCOPE = re.compile(r"system/(?P<type>[A-Za-z]+|\*)\.(?P<rights>read|write|\*|[cruds]+)(?P<query>\?\S*)?")

Rights = dict[str, set[str]]


def needed() -> list[str]:
    """What a running system asks of the FHIR server, and no more. Publishing definitions is a person's act under scopes of its own."""
    rights: Rights = defaultdict(set)
    for resource_type in ("Patient", "Medication", *RECORD_TYPES):
        rights[resource_type] |= set("rs")
    for resource_type in COUNTED:
        rights[resource_type] |= set("s")
    for resource_type in WRITTEN_TYPES:
        rights[resource_type] |= set("crs")
    for resource_type in UPDATED_TYPES:
        rights[resource_type] |= set("u")
    return [f"system/{name}.{_ordered(letters)}" for name, letters in sorted(rights.items())]


def missing(asked: Iterable[str], granted: Iterable[str]) -> list[str]:
    """What of `asked` no granted scope gives; a granted scope with a search condition (`?category=..`) gives a part, which is not enough."""
    given = rights_of(scope for scope in granted if "?" not in scope)
    everywhere = given.get("*", set())
    lacking = []
    for name, letters in sorted(rights_of(asked).items()):
        if rest := letters - everywhere - given.get(name, set()):
            lacking.append(f"system/{name}.{_ordered(rest)}")
    return lacking


def rights_of(scopes: Iterable[str]) -> Rights:
    """Letters by type; what is no scope of a resource (`online_access`) is passed over."""
    rights: Rights = defaultdict(set)
    for scope in scopes:
        if (found := _SCOPE.fullmatch(scope)) is not None:
            rights[found["type"]] |= set(FIRST_VERSION.get(found["rights"], found["rights"]))
    return dict(rights)


def _ordered(letters: set[str]) -> str:
    return "".join(letter for letter in LETTERS if letter in letters)
