"""What a searchset Bundle says beside its matches: where its next page is, and whether results are missing. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import SplitResult, urljoin, urlsplit

from schemas.errors import PermanentFailure, TransientFailure
from workflows.ports import Resource
from workflows.timeline.completeness import OUTCOME_ERROR, OUTCOME_INCOMPLETE, WITHHELD

_AGAIN = ("transient", "lock-error", "throttled", "timeout")
"""Issue types (R4, issue-type) after which the same search may come out whole."""
_WITHHELD = ("suppressed", "forbidden", "security")


def entries_of(bundle: Resource) -> Iterator[dict[str, Any]]:
    """The entries of a Bundle; `null` is none, anything but objects is refused."""
    entries = bundle.get("entry") or []
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise PermanentFailure("fhir-wrong-resource", "the entries of a Bundle of the FHIR server are no entries")
    yield from entries


def missing_by_outcome(outcome: Resource) -> Iterator[str]:
    """Codes of what an OperationOutcome among the results says of them (R4 3.1.1.4.13); `TransientFailure` where asking again may help."""
    for issue in _objects(outcome.get("issue")):
        code, bad = issue.get("code"), issue.get("severity") in ("error", "fatal")
        if bad and code in _AGAIN:
            raise TransientFailure("fhir-incomplete", "the FHIR server could not search everything just now")
        if code in _WITHHELD:
            yield WITHHELD
        elif code == "incomplete":
            yield OUTCOME_INCOMPLETE
        elif bad:
            yield OUTCOME_ERROR


def next_page(bundle: Resource, asked: str, base: str, names: Iterable[str]) -> str | None:
    """The address of the page after the one that was `asked` for; None after the last.

    A relative link is resolved as RFC 3986 says. The host is always ours: a proxy hides the server's own. Of `names`, the bases by which the
    server calls itself, one on another host that the link begins with stands for ours, whatever its path; every other path is followed as given.
    """
    links = [link for link in _objects(bundle.get("link")) if link.get("relation") == "next"]
    if not links:
        return None
    url = links[0].get("url")
    if not isinstance(url, str) or not url:
        raise PermanentFailure("fhir-next-page", "the FHIR server says that a next page follows, and not where it is")
    try:
        target, ours = urlsplit(urljoin(asked, url)), urlsplit(base)
        path = target.path if target.netloc == ours.netloc else _mapped(target, ours, names)
    except ValueError:
        raise PermanentFailure("fhir-next-page", "the FHIR server's link to a next page is no address") from None
    return f"{ours.scheme}://{ours.netloc}{path}" + (f"?{target.query}" if target.query else "")


def _mapped(target: SplitResult, ours: SplitResult, names: Iterable[str]) -> str:
    for name in names:
        own = urlsplit(name)
        below = target.path.removeprefix(own.path.rstrip("/"))
        if own.netloc == target.netloc and target.path != below and below[:1] in ("", "/"):
            return ours.path.rstrip("/") + below
    return target.path


def name_of_server(bundle: Resource, resource_type: str) -> str | None:
    """The base that the server gives itself in its link to this very search."""
    links = [link for link in _objects(bundle.get("link")) if link.get("relation") == "self"]
    base, found, _ = str(links[0].get("url") if links else "").partition(f"/{resource_type}?")
    return base if found else None


def _objects(found: Any) -> list[dict[str, Any]]:
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
