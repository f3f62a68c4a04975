"""Free ports on loopback."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from contextlib import ExitStack

HOST = "127.0.0.1"
RELEASE_SECONDS = 5.0
"""A process that was killed holds its sockets until its last thread has ended, a second or two for one with much memory."""


def choose_ports(wanted: Mapping[str, int]) -> dict[str, int]:
    """A port for each name: the wanted one if it is free, else one that the kernel picks. All are held until all are chosen, so none comes twice."""
    chosen: dict[str, int] = {}
    with ExitStack() as held:
        for name, port in wanted.items():
            bound = held.enter_context(_bound(port))
            chosen[name] = int(bound.getsockname()[1])
    return chosen


def _bound(port: int) -> socket.socket:
    """A socket on `port`, or on any free port if that one is taken; it listens to nothing."""
    taken = socket.socket()
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    deadline = time.monotonic() + RELEASE_SECONDS
    while True:
        try:
            taken.bind((HOST, port))
            return taken
        except OSError:
            if time.monotonic() > deadline:
                taken.bind((HOST, 0))
                return taken
            time.sleep(0.05)
