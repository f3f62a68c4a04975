"""`longview`: the one door for operators. What a command needs is imported inside it, so that `--help` answers at once."""

from services.cli import definitions, deploy, documents, identity, models, oversight, parts, processes, work
from services.cli.base import main

__all__ = [
    "definitions",
    "deploy",
    "documents",
    "identity",
    "main",
    "models",
    "oversight",
    "parts",
    "processes",
    "work",
]
