"""The servers that a reading asks: FHIR, the archive, the model. Each is asked as a worker asks it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import date

from schemas.codes import Canonical
from services.adapters import archive, fhir, history_model, model, shadow_model, smart_tokens
from services.parts.doctor import Check
from services.settings import Settings
from services.store import FolderObjectStore

LONG_AGO = date(1900, 1, 1)
"""A day of which no archive holds a study: the question alone matters."""
NOBODY = "longview-doctor"


def fhir_server(settings: Settings) -> Iterator[Check]:
    """What its CapabilityStatement declares, and one search under our own token. Nothing is written."""
    if (tokens := smart_tokens(settings)) is not None:
        with closing(tokens):
            tokens.require()
        yield Check("fhir scopes", "granted as asked for")
    with closing(fhir(settings)) as server:
        problems = server.preflight()
        if not problems:
            yield Check("fhir preflight", "by its CapabilityStatement the server serves what is relied on")
        for problem in problems:
            yield Check("fhir preflight", "the server lacks something that is relied on", problem)
        server.find("Patient", Canonical(settings.canonical_base).sid("ai-result"), NOBODY)
        yield Check("fhir access", "a search under our token is answered")


def archive_server(settings: Settings) -> Iterator[Check]:
    with closing(archive(settings)) as pacs:
        pacs.list_studies(LONG_AGO, LONG_AGO)
    yield Check("archive", "a search under our token is answered")


def model_server(settings: Settings) -> Iterator[Check]:
    """Each model that is configured: it is ready, and serves the release that the worker was told of."""
    store = FolderObjectStore(settings.store)
    named = {
        "model": model(settings, store),
        "shadow model": shadow_model(settings, store),
        "history model": history_model(settings, store),
    }
    for name, server in named.items():
        if server is not None:
            with closing(server):
                release = server.look()
            yield Check(name, f"ready, serves {release.served_model_name}")
