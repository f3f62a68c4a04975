"""Our images: where each Dockerfile is, its targets, and what a build of this checkout is given."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from scripts.images import dockerfile

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILES = {name: ROOT / name / "Dockerfile" for name in ("services", "model_runtime")}
TARGETS = {"services": "services", "trial": "services", "cpu": "model_runtime", "gpu": "model_runtime"}
"""Each target's Dockerfile."""
LOCKS = {"services": "services", "trial": "trial", "cpu": "runtime", "gpu": "gpu"}
"""What each target installs: requirements.NAME.lock."""
NEED_SHELL = frozenset({"cpu"})
"""vLLM on a CPU starts by asking `lscpu` through a shell."""
TAGS = {"services": "longview", "trial": "longview-trial", "cpu": "longview-model-cpu", "gpu": "longview-model"}


def read(target: str) -> dockerfile.Dockerfile:
    return dockerfile.read(DOCKERFILES[TARGETS[target]])


def version() -> str:
    found = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    return found[1] if found else ""


def arguments() -> dict[str, str]:
    """The build arguments of this checkout: version, and the commit with its time, where git knows them."""
    asked = subprocess.run(
        ["git", "log", "-1", "--format=%H %ct"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    given = {"VERSION": version()}
    if asked.returncode == 0:
        revision, seconds = asked.stdout.split()
        created = datetime.fromtimestamp(int(seconds), UTC).isoformat().replace("+00:00", "Z")
        given |= {"REVISION": revision, "CREATED": created, "SOURCE_DATE_EPOCH": seconds}
    return given


@contextmanager
def secrets(environment: Mapping[str, str] = os.environ) -> Iterator[dict[str, Path]]:
    """The build's secrets as files: the package index and its certificates, where this machine has its own (as scripts/setup.sh finds them)."""
    index = next(
        (environment[name] for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL") if environment.get(name)),
        "",
    )
    certificates = next((environment[name] for name in ("SSL_CERT_FILE", "PIP_CERT") if environment.get(name)), "")
    found = {"ca": Path(certificates)} if certificates else {}
    with tempfile.TemporaryDirectory() as folder:
        if index:
            found["index"] = Path(folder, "index")
            found["index"].touch(mode=0o600)
            found["index"].write_text(index)
        yield found


def cache() -> Path:
    """Where replays and what they need are kept: LONGVIEW_CACHE, else the user's cache folder."""
    return Path(os.environ.get("LONGVIEW_CACHE") or Path.home() / ".cache/longview").resolve() / "images"


def locked(name: str) -> dict[str, set[str]]:
    """Versions by name in requirements.NAME.lock, or requirements.lock; more than one where they differ by Python version."""
    path = ROOT / (f"requirements.{name}.lock" if name else "requirements.lock")
    found: dict[str, set[str]] = {}
    for pinned, pin in re.findall(r"^([a-z0-9][a-z0-9._-]*)==([^ ;\\]+)", path.read_text(), re.MULTILINE):
        found.setdefault(pinned, set()).add(pin)
    return found
