"""The login: HTTP Basic or a bearer token, and a brake on attempts that fail."""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from pathlib import Path

from litestar.exceptions import NotAuthorizedException, TooManyRequestsException

from schemas.telemetry.fields import fields
from services.codec.operators import read_operators

audit = logging.getLogger("services.codec.audit")
CHALLENGE = {"WWW-Authenticate": 'Basic realm="longview codec", charset="UTF-8", Bearer'}
ATTEMPTS = 10
WINDOW_SECONDS = 60.0
ADDRESSES_KEPT = 1024
HASHING_AT_ONCE = 2
"""scrypt takes 16 MiB each time: more attempts than this wait."""


class Brake:
    """At most `ATTEMPTS` failed logins of one address within `WINDOW_SECONDS`. An attempt counts as failed until it has succeeded."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failed: OrderedDict[str, deque[float]] = OrderedDict()

    def begin(self, address: str) -> None:
        """`TooManyRequestsException` with `Retry-After` once the address has used up its attempts."""
        now = self._clock()
        attempts = self._failed.setdefault(address, deque())
        self._failed.move_to_end(address)
        while attempts and attempts[0] <= now - WINDOW_SECONDS:
            attempts.popleft()
        if len(attempts) >= ATTEMPTS:
            wait = int(attempts[0] + WINDOW_SECONDS - now) + 1
            raise TooManyRequestsException(headers={"Retry-After": str(wait)})
        attempts.append(now)
        while len(self._failed) > ADDRESSES_KEPT:
            self._failed.popitem(last=False)

    def succeeded(self, address: str) -> None:
        attempts = self._failed.get(address)
        if attempts:
            attempts.pop()


class Login:
    """Reads the operators' file for each attempt, so that one who was removed is out at once."""

    def __init__(self, operators: Path, brake: Brake) -> None:
        self._operators, self._brake = operators, brake
        self._hashing = asyncio.Semaphore(HASHING_AT_ONCE)

    async def admit(self, authorization: str, address: str) -> str:
        """The operator's name; `NotAuthorizedException` for no login, a wrong or a removed one."""
        token = _token(authorization)
        if token is None:
            raise NotAuthorizedException(headers=CHALLENGE)
        self._brake.begin(address)
        async with self._hashing:
            name = await asyncio.to_thread(lambda: read_operators(self._operators).find(token))
        if name is None:
            audit.warning("login-refused", extra=fields(address=address))
            raise NotAuthorizedException(headers=CHALLENGE)
        self._brake.succeeded(address)
        return name


def _token(authorization: str) -> str | None:
    """The token of `Bearer <name>.<secret>`, or of Basic with the name as user and the token as password."""
    scheme, _, credentials = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return credentials.strip() or None
    if scheme.lower() != "basic":
        return None
    try:
        user, _, password = base64.b64decode(credentials.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return ""
    return password if password.startswith(f"{user}.") else ""
