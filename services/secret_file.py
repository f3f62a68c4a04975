"""A secret that was read from a file and still knows which: so it can be read again when a rotated Secret has changed the file."""

from __future__ import annotations

from pathlib import Path


class SecretFromFile(str):
    """The text of a file, without the white space around it; `file` is where it stood."""

    file: Path

    def __new__(cls, text: str, file: Path) -> SecretFromFile:
        secret = super().__new__(cls, text)
        secret.file = file.absolute()
        return secret


def read_secret(file: Path) -> SecretFromFile:
    """`OSError` or `ValueError` where the file cannot be read as text."""
    return SecretFromFile(file.read_text("utf-8").strip(), file)


Stamp = tuple[int, int, int] | None


def stamp(path: Path) -> Stamp:
    """What changes with the file's content; None where it is not there. Links are followed: a mounted Secret is swapped by its link `..data`."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
