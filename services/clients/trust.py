"""Whom we trust and who we are on outgoing connections (LONGVIEW_CA_FILE, LONGVIEW_CLIENT_CERT_FILE, _KEY_FILE): the one place of TLS contexts.

Certificates are replaced on the disk long before they expire. Whatever connects anew from this process does it with what lies there then; Temporal's
client alone keeps the bytes it was given (`services.renewal` ends the process for it).
"""

from __future__ import annotations

import logging
import ssl
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas.errors import PartUnavailable
from schemas.telemetry.fields import fields
from services.secret_file import Stamp, stamp

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trust:
    """Paths of PEM files, "" for none: authorities besides the system's, our certificate with its chain, and its private key."""

    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""

    @property
    def files(self) -> tuple[Path, ...]:
        return tuple(Path(name) for name in (self.ca_file, self.cert_file, self.key_file) if name)

    def context(self) -> ssl.SSLContext:
        """For httpx and kafka-python; `PartUnavailable` if a file that is named cannot be used now."""
        if self.files:
            self._made()
        return FreshContext(self._made, self.files)

    def _made(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.ca_file:
            _using("LONGVIEW_CA_FILE", lambda: context.load_verify_locations(self.ca_file))
        if self.cert_file:
            # an encrypted key would make OpenSSL ask at the terminal
            _using(
                "LONGVIEW_CLIENT_CERT_FILE with LONGVIEW_CLIENT_KEY_FILE",
                lambda: context.load_cert_chain(self.cert_file, self.key_file, password=lambda: b""),
            )
        return context

    def authorities(self) -> bytes | None:
        """PEM of the system's authorities and of ours, for a client that takes bytes; None: the system's alone."""
        if not self.ca_file:
            return None
        self._made()
        own, system = Path(self.ca_file).read_bytes(), _system_bundle()
        return own if system is None else own.rstrip() + b"\n" + system.read_bytes()

    def identity(self) -> tuple[bytes, bytes] | None:
        """PEM of our certificate and of its key; None where we have none."""
        if not self.cert_file:
            return None
        self._made()
        return Path(self.cert_file).read_bytes(), Path(self.key_file).read_bytes()


def _system_bundle() -> Path | None:
    """The system's authorities in one file; where OpenSSL knows only their folder, the one that Debian keeps in it."""
    paths = ssl.get_default_verify_paths()
    known = [Path(paths.cafile)] if paths.cafile else []
    known += [Path(paths.capath) / "ca-certificates.crt"] if paths.capath else []
    return next((file for file in known if file.is_file()), None)


def _using(names: str, load: Callable[[], None]) -> None:
    try:
        load()
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise PartUnavailable(
            "trust-files", f"{names} cannot be used: name PEM files that belong together and can be read."
        ) from error


class FreshContext(ssl.SSLContext):
    """A context that is made anew for the next handshake once a file has changed; libraries keep it as any other.

    Files that are broken for the moment (one replaced, the other not yet) change nothing: the last good context goes on until they are whole.
    """

    def __new__(cls, made: Callable[[], ssl.SSLContext], files: Iterable[Path]) -> FreshContext:
        return super().__new__(cls, ssl.PROTOCOL_TLS_CLIENT)

    def __init__(self, made: Callable[[], ssl.SSLContext], files: Iterable[Path]) -> None:
        self._make, self._files = made, tuple(files)
        self._guard = threading.Lock()
        self._stamps: list[Stamp] = []
        self._alpn: list[str] = []
        self._current: ssl.SSLContext | None = None

    def set_alpn_protocols(self, alpn_protocols: Iterable[str]) -> None:
        with self._guard:
            self._alpn = list(alpn_protocols)
            if self._current is not None:
                self._current.set_alpn_protocols(self._alpn)

    def wrap_socket(self, *arguments: Any, **options: Any) -> ssl.SSLSocket:
        return self._fresh().wrap_socket(*arguments, **options)

    def wrap_bio(self, *arguments: Any, **options: Any) -> ssl.SSLObject:
        return self._fresh().wrap_bio(*arguments, **options)

    def _fresh(self) -> ssl.SSLContext:
        with self._guard:
            stamps = [stamp(file) for file in self._files]
            if self._current is not None and stamps == self._stamps:
                return self._current
            self._stamps = stamps  # files that do not serve are told of once
            try:
                made = self._make()
            except PartUnavailable as error:
                if self._current is None:
                    raise
                log.warning("certificates-not-read", extra=fields(code=error.code))
                return self._current
            if self._alpn:
                made.set_alpn_protocols(self._alpn)
            self._current = made
            return made
