"""Free ports on loopback, outside the kernel's range for outgoing connections: none of those can take one between choice and start."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Mapping
from contextlib import ExitStack

HOST = "127.0.0.1"
RELEASE_SECONDS = 5.0
"""A process that was killed holds its sockets until its last thread has ended, a second or two for one with much memory."""

OURS = range(20000, 32000)
"""Below Linux's default range for outgoing connections (32768 and up)."""
TRIES = 50


def free_port() -> int:
    """One port that nobody listens on now."""
    return choose_ports({"one": 0})["one"]


def choose_ports(wanted: Mapping[str, int]) -> dict[str, int]:
    """A port for each name: the wanted one if it is free, else any free one. All are held until all are chosen, so none comes twice."""
    chosen: dict[str, int] = {}
    with ExitStack() as held:
        for name, port in wanted.items():
            bound = held.enter_context(_bound(port))
            chosen[name] = int(bound.getsockname()[1])
    return chosen


def _bound(port: int) -> socket.socket:
    """A socket on `port`, or on any free port if that one is taken; it listens to nothing."""
    deadline = time.monotonic() + RELEASE_SECONDS
    while port:
        bound = _try(port, after_a_stop=True)
        if bound is not None:
            return bound
        if time.monotonic() > deadline:
            break
        time.sleep(0.05)
    for candidate in [*random.sample(OURS, TRIES), 0]:
        bound = _try(candidate)
        if bound is not None:
            return bound
    raise OSError("no port is free")


def _try(port: int, *, after_a_stop: bool = False) -> socket.socket | None:
    """`after_a_stop` takes a port on which connections of its last owner still die; it would share one that is bound and not listened to."""
    bound = socket.socket()
    if after_a_stop:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((HOST, port))
    except OSError:
        bound.close()
        return None
    return bound
