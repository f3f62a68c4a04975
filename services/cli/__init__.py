"""`longview`: the one door for operators. What a command needs is imported inside it, so that `--help` answers at once."""

from services.cli import definitions, oversight, parts, processes, work
from services.cli.base import main

__all__ = ["definitions", "main", "oversight", "parts", "processes", "work"]
