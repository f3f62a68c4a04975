"""A Dockerfile as stages and instructions: the part of the language that ours use. Whatever else it holds is a `ValueError` that names the line."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

KNOWN = frozenset(
    ("FROM", "ARG", "ENV", "LABEL", "COPY", "RUN", "USER", "WORKDIR", "EXPOSE", "STOPSIGNAL", "ENTRYPOINT", "CMD")
)
_REFERENCE = re.compile(r"\$(?:(\w+)|\{(\w+)(?::-([^}]*))?\})")


@dataclass(frozen=True)
class Instruction:
    """One instruction; `flags` are its --name=value, in the order of the file (RUN may have several --mount)."""

    name: str
    text: str
    line: int
    flags: tuple[tuple[str, str], ...] = ()

    @property
    def words(self) -> list[str]:
        """The arguments, in JSON form or divided as a shell would."""
        return [str(word) for word in json.loads(self.text)] if self.text.startswith("[") else shlex.split(self.text)

    def flag(self, name: str) -> str:
        return dict(self.flags).get(name, "")

    @property
    def mounts(self) -> list[dict[str, str]]:
        """The mounts of a RUN, each as its own key=value pairs."""
        given = [value for name, value in self.flags if name == "mount"]
        return [dict(pair.split("=", 1) for pair in value.split(",")) for value in given]


@dataclass(frozen=True)
class Stage:
    """FROM base AS name, and what follows. `base` is an image, or the name of an earlier stage."""

    name: str
    base: str
    instructions: tuple[Instruction, ...] = ()

    def of(self, name: str) -> list[Instruction]:
        return [each for each in self.instructions if each.name == name]

    @property
    def needs(self) -> list[str]:
        """Images and stages that this one is built from or copies from."""
        return [self.base, *(each.flag("from") for each in self.of("COPY") if each.flag("from"))]


@dataclass(frozen=True)
class Dockerfile:
    stages: tuple[Stage, ...]

    def __getitem__(self, name: str) -> Stage:
        for stage in self.stages:
            if stage.name == name:
                return stage
        raise KeyError(f"there is no stage {name}: {', '.join(stage.name for stage in self.stages)}")

    def __contains__(self, name: object) -> bool:
        return any(stage.name == name for stage in self.stages)

    @property
    def images(self) -> list[str]:
        """What has to be pulled: bases and sources that are no stage."""
        needed = [name for stage in self.stages for name in stage.needs]
        return sorted({name for name in needed if name not in self and name != "scratch"})

    def order(self, *targets: str) -> list[Stage]:
        """The stages that TARGETS need, each after those it needs."""
        found: list[Stage] = []

        def visit(name: str) -> None:
            if name in self and self[name] not in found:
                for needed in self[name].needs:
                    visit(needed)
                found.append(self[name])

        for target in targets:
            visit(self[target].name)
        return found


@dataclass
class ImageConfig:
    """What an image says of itself to who runs it: the OCI image configuration's fields that matter here."""

    environment: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    user: str = ""
    workdir: str = "/"
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)


def parse(text: str) -> Dockerfile:
    """The file's stages. Every stage must have a name."""
    stages: list[Stage] = []
    for instruction in _instructions(text):
        if instruction.name == "FROM":
            words = instruction.words
            if len(words) != 3 or words[1].upper() != "AS":
                raise ValueError(f"line {instruction.line}: write FROM image AS name")
            stages.append(Stage(words[2], words[0]))
        elif not stages:
            raise ValueError(f"line {instruction.line}: {instruction.name} before the first FROM")
        else:
            last = stages[-1]
            stages[-1] = Stage(last.name, last.base, (*last.instructions, instruction))
    if not stages:
        raise ValueError("there is no FROM")
    return Dockerfile(tuple(stages))


def read(path: Path) -> Dockerfile:
    return parse(path.read_text())


def _instructions(text: str) -> Iterator[Instruction]:
    for line, whole in _logical_lines(text):
        name, _, rest = whole.partition(" ")
        if name.upper() not in KNOWN:
            raise ValueError(f"line {line}: {name} is not an instruction that is known here")
        if "<<" in rest:
            raise ValueError(f"line {line}: here-documents are not known here")
        flags, rest = _flags(rest.strip())
        yield Instruction(name.upper(), rest, line, flags)


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines joined over a backslash at their end; comments and empty lines left out, between the parts too."""
    parts: list[str] = []
    first = 0
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        first = first if parts else number
        parts.append(stripped.removesuffix("\\").strip())
        if not stripped.endswith("\\"):
            yield first, " ".join(parts)
            parts = []
    if parts:
        raise ValueError(f"line {first}: the file ends within an instruction")


def _flags(text: str) -> tuple[tuple[tuple[str, str], ...], str]:
    found = []
    while match := re.match(r"--([a-z]+)=(\S+)\s*", text):
        found.append((match[1], match[2]))
        text = text[match.end() :]
    return tuple(found), text


def expand(text: str, values: Mapping[str, str]) -> str:
    """$NAME, ${NAME} and ${NAME:-otherwise}; an unset name is empty."""

    def value(match: re.Match[str]) -> str:
        return values.get(match[1] or match[2], "") or match[3] or ""

    return _REFERENCE.sub(value, text)


def pairs(instruction: Instruction, values: Mapping[str, str]) -> dict[str, str]:
    """The key=value pairs of ENV or LABEL, or ARG's one name with its default."""
    given = (word.partition("=") for word in shlex.split(instruction.text))
    return {name: expand(value, values) for name, _, value in given}


def configure(config: ImageConfig, instruction: Instruction, arguments: Mapping[str, str]) -> None:
    """What INSTRUCTION changes in the image's configuration, if it is of that kind."""
    known = {**arguments, **config.environment}
    match instruction.name:
        case "ENV":
            config.environment.update(pairs(instruction, known))
        case "LABEL":
            config.labels.update(pairs(instruction, known))
        case "USER":
            config.user = expand(instruction.text, known)
        case "WORKDIR":
            config.workdir = str(Path(config.workdir) / expand(instruction.text, known))
        case "ENTRYPOINT":
            config.entrypoint = instruction.words
            config.command = []
        case "CMD":
            config.command = instruction.words


def configuration(dockerfile: Dockerfile, target: str) -> ImageConfig:
    """The configuration that TARGET ends with, with every ARG at its default."""
    chain = [dockerfile[target]]
    while chain[0].base in dockerfile:
        chain.insert(0, dockerfile[chain[0].base])
    config = ImageConfig()
    for stage in chain:
        arguments: dict[str, str] = {}
        for instruction in stage.instructions:
            if instruction.name == "ARG":
                arguments.update(pairs(instruction, arguments))
            configure(config, instruction, arguments)
    return config
