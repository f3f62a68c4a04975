"""Certificates that are given as files: until when they are valid."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509

from services.parts.doctor import Check
from services.settings import Settings

FILES = ("ca_file", "client_cert_file")
SOON = timedelta(days=14)


def look(settings: Settings) -> Iterator[Check]:
    """The one of each file that ends first."""
    for name in FILES:
        if path := str(getattr(settings, name)):
            yield _file(f"LONGVIEW_{name.upper()}", Path(path))


def _file(variable: str, path: Path) -> Check:
    name = f"certificate {variable}"
    try:
        found = x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError):
        return Check(
            name, "cannot be read", f"{variable} holds no certificate in PEM: check its name and who may read it."
        )
    end = min(certificate.not_valid_after_utc for certificate in found)
    left = end - datetime.now(UTC)
    state = "has ended" if left < timedelta() else "ends soon"
    mend = f"a certificate of {variable} {state} ({end:%Y-%m-%d}): renew it." if left < SOON else ""
    return Check(name, f"{len(found)} in it, valid until {end:%Y-%m-%d}", mend)
