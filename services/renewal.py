"""What a process takes once, when it starts, and cannot take again while it runs: when such a file is replaced, the process ends in order, to be
started anew by whatever runs it (Kubernetes, systemd).

That holds for Kafka's password, the database's URL, our secret at the OpenID issuer, and what Temporal's client was given. Tokens and keys of
payloads are read again without this, and so are certificates on all other connections.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

from schemas.telemetry.fields import fields
from services.secret_file import SecretFromFile
from services.settings import Settings

log = logging.getLogger(__name__)
LOOK_SECONDS = 15.0
SPREAD_SECONDS = 60.0
"""Processes that see the same change do not all end at the same moment."""


def taken_once(settings: Settings) -> list[Path]:
    """The files that are watched; none where every secret is given as a value, as in the embedded system."""
    secrets = [settings.kafka_password, settings.database_url, settings.oidc_client_secret]
    if settings.temporal_tls == "on":
        secrets.append(settings.temporal_api_key)
        certificates = [settings.ca_file, settings.client_cert_file, settings.client_key_file]
    else:
        certificates = []
    files = [secret.file for secret in secrets if isinstance(secret, SecretFromFile)]
    return [*files, *(Path(name) for name in certificates if name)]


@asynccontextmanager
async def ending_when_replaced(
    settings: Settings, stop: Callable[[], None], *, look: float = LOOK_SECONDS, spread: float = SPREAD_SECONDS
) -> AsyncIterator[None]:
    """Calls `stop` some time after one of the files got another content."""
    files = taken_once(settings)
    watching = asyncio.create_task(_watch(files, stop, look, spread)) if files else None
    try:
        yield
    finally:
        if watching is not None:
            watching.cancel()


async def _watch(files: Iterable[Path], stop: Callable[[], None], look: float, spread: float) -> None:
    known = {file: await asyncio.to_thread(_digest, file) for file in files}
    while True:
        await asyncio.sleep(look)
        for file, before in known.items():
            now = await asyncio.to_thread(_digest, file)
            if now and before and now != before:
                log.warning("secret-replaced-process-ends", extra=fields())
                await asyncio.sleep(random.uniform(0, spread))  # noqa: S311  no secret
                stop()
                return
            known[file] = now or before


def _digest(file: Path) -> str:
    """Of the content: a Secret that is written again as it was ends nobody. "" while it cannot be read."""
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError:
        return ""
