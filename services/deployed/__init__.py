"""`longview doctor --deployed`: a deployed system as one of its own processes sees it, through nothing but the settings.

Every look is bounded in time, changes nothing that stays, and names no patient. What does not fit comes with one sentence of mending.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from schemas.errors import LongviewError
from services.parts.doctor import Check, site_files
from services.settings import Settings

if TYPE_CHECKING:
    Look = Callable[[Settings], Iterator[Check]]


def examine_deployed(settings: Settings) -> list[Check]:
    """All checks, the parts side by side, in a fixed order."""
    looks = _looks()
    with ThreadPoolExecutor(len(looks), thread_name_prefix="doctor") as pool:
        return [
            check for found in pool.map(lambda name: _safely(name, looks[name], settings), looks) for check in found
        ]


def _looks() -> dict[str, Look]:
    from services.deployed import bus, certificates, people, servers, stores, workflows

    return {
        "bus": bus.look,
        "temporal": workflows.look,
        "database": stores.database,
        "object store": stores.objects,
        "payload keys": stores.keys,
        "fhir": servers.fhir_server,
        "archive": servers.archive_server,
        "model": servers.model_server,
        "inbox": people.inbox,
        "login": people.login,
        "site files": site_files,
        "audit": people.audit,
        "certificates": certificates.look,
    }


def _safely(name: str, look: Look, settings: Settings) -> list[Check]:
    """A look that fails is a finding; the text of an unknown fault may hold an address or a value, so only its class goes on."""
    found: list[Check] = []
    try:
        found.extend(look(settings))
    except LongviewError as error:
        found.append(Check(name, error.code, error.hint or f"{error.code}: look into its log."))
    except Exception as error:
        kind = type(error).__name__
        found.append(Check(name, kind, f"{name} could not be examined ({kind}): check its settings and the network."))
    return found
