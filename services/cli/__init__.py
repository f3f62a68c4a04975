"""`longview`: the one door for operators. What a command needs is imported inside it, so that `--help` answers at once."""

from services.cli import (
    audit,
    backup,
    definitions,
    deploy,
    documents,
    identity,
    models,
    oversight,
    parts,
    processes,
    recovery,
    work,
)
from services.cli.base import main

__all__ = [
    "audit",
    "backup",
    "definitions",
    "deploy",
    "documents",
    "identity",
    "main",
    "models",
    "oversight",
    "parts",
    "processes",
    "recovery",
    "work",
]
