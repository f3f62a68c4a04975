"""HL7's own validator as one Java process for a whole suite, fed with our definitions and with the profiles that bind us."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from schemas.codes import Canonical
from schemas.conformance import definition_files
from tests.real.parts import JAVA, need, stop


@dataclass(frozen=True)
class Message:
    severity: str
    place: str
    text: str


class Validator:
    """Validates one resource after the other."""

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        self._process, self._folder = process, folder

    def messages(self, resource: dict[str, Any]) -> list[Message]:
        file = self._folder / "validated.json"
        file.write_text(json.dumps(resource))
        _pipe(self._process.stdin).write(f"{file}\n")
        _pipe(self._process.stdin).flush()
        found = []
        for line in _pipe(self._process.stdout):
            if line == "end\n":
                return found
            found.append(Message(*line.rstrip("\n").split("\t", 2)))
        raise AssertionError(f"the validator has ended: {(self._folder / 'validator.log').read_text()[-2000:]}")

    def errors(self, resource: dict[str, Any]) -> list[str]:
        return [f"{m.place}: {m.text}" for m in self.messages(resource) if m.severity in ("error", "fatal")]


def _pipe(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream


@contextmanager
def validator(folder: Path, canonical: Canonical, profiles: Path) -> Iterator[Validator]:
    """The validator with our definitions for `canonical`; strict (unknown profiles and extensions are errors) where `profiles` is at hand."""
    built, ours = need("validator"), folder / "definitions"
    ours.mkdir()
    for name, content in definition_files(canonical).items():
        (ours / name).write_bytes(content)
    strict = profiles.is_dir()
    folders = [built / "terminology", built / "extensions", ours, *([profiles] if strict else [])]
    command = [*JAVA, "-Xmx2g", "-cp", f"{built / 'validator.jar'}:{built / 'lib'}/*", "longview.real.Validate"]
    command += ["strict" if strict else "lenient", *map(str, folders)]
    with (folder / "validator.log").open("ab") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True
        )
    try:
        yield Validator(process, folder)
    finally:
        _pipe(process.stdin).close()
        stop(process)
        _pipe(process.stdout).close()
