"""What is Longview's own: the database, the object store, the payload keys."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import text

from schemas.errors import PartUnavailable
from services.parts.doctor import GIB, Check
from services.settings import Settings

MOST_SKEW = timedelta(seconds=5)
MOST_WAIT = timedelta(minutes=10)
"""How long an event may wait in the outbox before somebody has to look."""
LEAST_FREE_GIB, LEAST_FREE_PART = 5.0, 0.1
KEY_AGE = timedelta(days=365)


def database(settings: Settings) -> Iterator[Check]:
    from services.db import newest_revision, open_database, present_revision, require_schema
    from services.db.state import StateReader

    require_schema(settings.database)
    yield Check("database schema", f"{present_revision(settings.database)}, this version writes {newest_revision()}")
    opened = open_database(settings.database)
    try:
        with opened.reading() as session:
            if opened.engine.dialect.name == "postgresql":
                theirs = session.scalar(text("SELECT clock_timestamp()"))
                yield _clock(abs(theirs - datetime.now(UTC)) if isinstance(theirs, datetime) else timedelta())
        bus = StateReader(opened).bus()
    finally:
        opened.close()
    late = bus.oldest_event is not None and datetime.now(UTC) - bus.oldest_event > MOST_WAIT
    mend = "results wait in the outbox and do not reach the bus: look at the gateway's log." if late else ""
    yield Check("outbox", f"{bus.waiting_events} events wait", mend)


def _clock(skew: timedelta) -> Check:
    mend = (
        "the clocks of this machine and of the database disagree: let both keep time by NTP."
        if skew > MOST_SKEW
        else ""
    )
    return Check("database clock", f"{skew.total_seconds():.1f} s apart", mend)


def objects(settings: Settings) -> Iterator[Check]:
    """One object is written, read back and taken away again."""
    from services.store import FolderObjectStore

    try:
        store = FolderObjectStore(settings.store)
        address = store.put(b"longview doctor " + os.urandom(32))
        try:
            store.get(address)
        finally:
            store.path(address).unlink(missing_ok=True)
        used = shutil.disk_usage(settings.store)
    except OSError as error:
        raise PartUnavailable(
            "store",
            f"the object store cannot be written and read ({error.strerror}): check LONGVIEW_STORE_DIR and its volume.",
        ) from error
    yield Check("object store", "written, read back, deleted")
    free = used.free / GIB
    short = free < LEAST_FREE_GIB or used.free < LEAST_FREE_PART * (used.used + used.free)
    yield Check(
        "object store space",
        f"{free:.0f} GiB free",
        "the object store is nearly full: enlarge its volume." if short else "",
    )


def keys(settings: Settings) -> Iterator[Check]:
    from services.clients.keyring import read_keyring

    path = Path(settings.require("payload_key_file"))
    ring = read_keyring(path)
    age = datetime.now(UTC) - datetime.fromisoformat(ring.newest.created)
    mend = "the newest payload key is older than a year: 'longview keys rotate'." if age > KEY_AGE else ""
    yield Check("payload keys", f"{len(ring.keys)}, the newest is {age.days} days old", mend)
