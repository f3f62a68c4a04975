"""What every conformance resource begins with."""

from __future__ import annotations

from schemas.code_system import DATE, VERSION
from schemas.codes import Json

PUBLISHER = "Longview"


def head(
    kind: str, url: str, title: str, description: str, *, suffix: str = "", version: str = VERSION, date: str = DATE
) -> Json:
    """Metadata of a canonical resource. Its computable name is the last part of its URL, which `suffix` tells apart by kind."""
    return {
        "resourceType": kind,
        "url": url,
        "version": version,
        "name": computable(url.rsplit("/", 1)[1]) + suffix,
        "title": title,
        "status": "active",
        "experimental": False,
        "date": date,
        "publisher": PUBLISHER,
        "description": description,
    }


def computable(name: str) -> str:
    """`review-status` -> `ReviewStatus` (R4 invariant inv-0: a name a program can use)."""
    return "".join(part[:1].upper() + part[1:] for part in name.split("-"))
