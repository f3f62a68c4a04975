"""The composition root: the one place where adapters are chosen and wired, and where the processes begin.

python -m services.bootstrap gateway | worker | inbox
"""

from __future__ import annotations

import logging
import sys
from datetime import timedelta
from pathlib import Path

from temporalio.client import Client

from services.clients.dicomweb import DicomWebArchive
from services.clients.fhir import FhirClient
from services.clients.temporal import connect, read_key
from services.settings import Settings
from workflows.report_study.activities import Site

log = logging.getLogger("longview")
GATEWAY_GROUP = "longview-gateway"
NOISY_LOGGERS = ("httpx", "httpcore", "urllib3", "dicomweb_client", "kafka", "pydicom")
"""Libraries that would log URLs, and with them identifiers of patients."""


def configure_logging() -> None:
    """One line an event on standard error; libraries that log addresses are held to warnings and above."""
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s", force=True
    )
    for name in NOISY_LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)


async def temporal(settings: Settings) -> Client:
    key = read_key(Path(settings.require("payload_key_file")))
    return await connect(settings.require("temporal_address"), settings.temporal_namespace, key)


def fhir(settings: Settings) -> FhirClient:
    return FhirClient(settings.require("fhir_url"), token=settings.fhir_token)


def archive(settings: Settings) -> DicomWebArchive:
    return DicomWebArchive(settings.require("dicomweb_url"))


def site(settings: Settings) -> Site:
    return Site(
        namespace=settings.namespace,
        event_source=settings.event_source,
        accession_system=settings.accessions,
        organization=settings.organization,
        review_role=settings.review_role,
        acknowledge_within=timedelta(minutes=int(settings.acknowledge_minutes)),
        dicomweb_public_url=settings.dicomweb_public_url or settings.require("dicomweb_url"),
    )
