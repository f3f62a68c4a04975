"""`longview`: the one door for operators. What a command needs is imported inside it, so that `--help` answers at once."""

from services.cli import definitions, deploy, documents, models, oversight, parts, processes, work
from services.cli.base import main

__all__ = ["definitions", "deploy", "documents", "main", "models", "oversight", "parts", "processes", "work"]
