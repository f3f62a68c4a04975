"""PostgreSQL that lets in whoever shows a certificate of the authority, over TLS and in no other way."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme

from services.parts.ports import free_port
from tests.real import parts

USER = "postgres"


@contextmanager
def secured_postgres(authority: trustme.CA) -> Iterator[str]:
    """`user@host:port/database` on loopback, from Debian's package: the wheel's server is built without TLS."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if not found or shutil.which("initdb", path=str(found[-1].parent)) is None:
        pytest.skip("PostgreSQL with TLS cannot be had here: install Debian's package postgresql, as root")
    with tempfile.TemporaryDirectory(
        prefix="longview-postgres-"
    ) as name:  # the server's user cannot enter pytest's folders
        folder, data, port = Path(name), Path(name) / "data", free_port()
        shutil.chown(folder, USER)
        initdb = [str(found[-1].with_name("initdb")), "-D", str(data), "-U", USER, "--auth", "reject"]
        subprocess.run(initdb, check=True, capture_output=True, user=USER, cwd=folder)
        _settle(data, authority)
        command = [str(found[-1]), "-D", str(data), "-p", str(port), "-h", "127.0.0.1", "-k", ""]
        for setting in ("ssl=on", "ssl_cert_file=server.pem", "ssl_key_file=server.pem", "ssl_ca_file=clients.pem"):
            command += ["-c", setting]
        log = folder / "postgres.log"
        with parts.process(command, log, lambda: "ready to accept connections" in log.read_text(), user=USER):
            yield f"{USER}@127.0.0.1:{port}/postgres"


def _settle(data: Path, authority: trustme.CA) -> None:
    """Certificates, and who is let in: whoever bears a certificate of the authority, without a password."""
    authority.issue_cert("127.0.0.1", "localhost").private_key_and_cert_chain_pem.write_to_path(data / "server.pem")
    authority.cert_pem.write_to_path(data / "clients.pem")
    (data / "pg_hba.conf").write_text("hostssl all all 127.0.0.1/32 trust clientcert=verify-ca\n")
    for name in ("server.pem", "clients.pem", "pg_hba.conf"):
        (data / name).chmod(0o600)
        shutil.chown(data / name, USER)
