"""Bearer tokens (RFC 6750) on requests: fixed ones, and ones that lie in a file and are read again when it changes."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Generator

import httpx

from schemas.errors import PartUnavailable
from schemas.telemetry.fields import fields
from services.secret_file import SecretFromFile, read_secret, stamp

log = logging.getLogger(__name__)
_TOKEN = re.compile(r"[\x21-\x7e]+")
"""What a header can carry; RFC 6750 section 2.1 allows fewer marks, servers more."""


class Access(httpx.Auth):
    """How a client shows who it is; it is closed with the client."""

    def close(self) -> None:
        """Nothing to close, for most."""


class Bearer(Access):
    """The token that `current` gives, on every request."""

    def __init__(self, current: Callable[[], str]) -> None:
        self._current = current

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["Authorization"] = f"Bearer {self._current()}"
        yield request


def bearer(token: str) -> Bearer | None:
    """For a token of the settings; None where there is none. `PartUnavailable` (`token-form`) for one that no header can carry."""
    if not token:
        return None
    if isinstance(token, SecretFromFile):
        return Bearer(TokenFile(token).current)
    checked = _checked(token)
    return Bearer(lambda: checked)


class TokenFile:
    """A token that is replaced on the disk while we run. A file that is gone or empty for the moment changes nothing."""

    def __init__(self, token: SecretFromFile) -> None:
        self._file, self._token = token.file, _checked(token)
        self._stamp = None if self._differs(token) else stamp(token.file)
        self._guard = threading.Lock()

    def _differs(self, token: str) -> bool:
        """Whether the file has changed since the settings were read."""
        try:
            return read_secret(self._file) != token
        except (OSError, ValueError):
            return True

    def current(self) -> str:
        with self._guard:
            seen = stamp(self._file)
            if seen is not None and seen != self._stamp:
                self._read(seen)
            return self._token

    def _read(self, seen: tuple[int, int, int]) -> None:
        self._stamp = seen  # a file that does not serve is told of once
        try:
            self._token = _checked(read_secret(self._file))
        except (OSError, ValueError, PartUnavailable):
            log.warning("token-not-read", extra=fields())


def usable(token: object) -> bool:
    """Whether this can stand in a header as a token."""
    return isinstance(token, str) and _TOKEN.fullmatch(token) is not None


def _checked(token: str) -> str:
    if not usable(token):
        raise PartUnavailable("token-form", "a bearer token is empty or holds white space: write it on one line.")
    return str(token)
