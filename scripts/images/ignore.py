"""`.dockerignore`: which files of the context a build may see."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path


class Ignored:
    """The patterns of one file; the last that matches a path, or a folder above it, decides (docs of `docker build`)."""

    def __init__(self, text: str) -> None:
        lines = (line.strip() for line in text.splitlines())
        self._patterns = [
            (line.lstrip("!").strip("/"), line.startswith("!")) for line in lines if line and line[0] != "#"
        ]
        self._compiled = [(re.compile(_regex(pattern)), taken) for pattern, taken in self._patterns]

    def __call__(self, path: str) -> bool:
        """Whether the build does not see PATH (relative, with slashes)."""
        parts = path.split("/")
        above = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
        ignored = False
        for pattern, taken in self._compiled:
            if any(pattern.fullmatch(each) for each in above):
                ignored = not taken
        return ignored


def _regex(pattern: str) -> str:
    """Go's filepath.Match with `**` for any number of folders."""
    found = re.escape(pattern).replace(r"\*\*/", "(?:.*/)?").replace(r"\*\*", ".*")
    return found.replace(r"\*", "[^/]*").replace(r"\?", "[^/]")


def seen(context: Path, ignored: Ignored) -> Iterator[str]:
    """Every file of the context that the build sees. Hidden folders at the top are not even looked into: ours are gigabytes of environment."""
    for folder, folders, files in os.walk(context):
        here = Path(folder).relative_to(context)
        if here == Path("."):
            folders[:] = [name for name in folders if not name.startswith(".")]
        for name in sorted(files):
            path = (here / name).as_posix()
            if not ignored(path):
                yield path
