"""`longview`: the one door for operators. What a command needs is imported inside it, so that `--help` answers at once."""

from services.cli import definitions, models, oversight, parts, processes, work
from services.cli.base import main

__all__ = ["definitions", "main", "models", "oversight", "parts", "processes", "work"]
