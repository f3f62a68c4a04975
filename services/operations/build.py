"""Which code this is: two processes with the same workflows are of one build, wherever they were installed."""

from __future__ import annotations

import hashlib
import importlib.metadata
from pathlib import Path

import schemas
import workflows


def code_digest() -> str:
    """12 hex digits of SHA-256 over the source of `workflows` and `schemas`: everything that decides what a workflow does next."""
    digest = hashlib.sha256()
    for package in (schemas, workflows):
        root = Path(next(iter(package.__path__)))
        for file in sorted(root.rglob("*.py")):
            digest.update(f"{root.name}/{file.relative_to(root).as_posix()}\n".encode())
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:12]


def build_id() -> str:
    return f"{importlib.metadata.version('longview')}-{code_digest()}"
