"""The steps of a Dockerfile in clean folders, as a builder would do them: one folder a stage, RUN with that folder as its root.

What stands in for an image that would be pulled is `base.make`. The rest is done as written: COPY sees what .dockerignore lets through, RUN has its
secrets and caches, ARG and ENV count. Layers, registries and the network of a builder are not played.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from scripts.images import sandbox
from scripts.images.dockerfile import Dockerfile, ImageConfig, Instruction, Stage, configure, expand, pairs
from scripts.images.ignore import Ignored, seen

BUILD_PATH = "/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin"
"""What the official Python image has as PATH."""
Report = Callable[[str], None]


@dataclass(frozen=True)
class Inputs:
    """What a build is given besides its Dockerfile. `secrets` are files by id; caches are kept in `caches` from one build to the next."""

    context: Path
    base: Path
    caches: Path
    secrets: Mapping[str, Path] = field(default_factory=dict)
    arguments: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Replayed:
    """A stage's folder and what it says of itself."""

    root: Path
    config: ImageConfig


def replay(
    dockerfile: Dockerfile, targets: Sequence[str], inputs: Inputs, work: Path, report: Report
) -> dict[str, Replayed]:
    """TARGETS and what they need, as folders in WORK, which must not exist. Only the targets' folders are left. Errors: what a step of it raises."""
    work.mkdir(parents=True)
    done: dict[str, Replayed] = {}
    files = list(seen(inputs.context, Ignored((inputs.context / ".dockerignore").read_text())))
    stages = dockerfile.order(*targets)
    for stage in stages:
        begun = time.monotonic()
        done[stage.name] = _stage(stage, done, inputs, work / stage.name, files)
        report(f"  {stage.name:<15} {time.monotonic() - begun:6.1f} s")
        wanted = {name for later in stages[stages.index(stage) + 1 :] for name in later.needs}
        for name in [name for name in done if name not in wanted and name not in targets]:
            shutil.rmtree(done.pop(name).root)
    return done


def _stage(stage: Stage, done: Mapping[str, Replayed], inputs: Inputs, root: Path, files: list[str]) -> Replayed:
    before = done.get(stage.base)
    config = _copied(before.config) if before else ImageConfig(environment={"PATH": BUILD_PATH})
    if stage.base == "scratch":
        root.mkdir()
    else:
        _copy_tree(before.root if before else inputs.base, root)
    arguments: dict[str, str] = {}
    for instruction in stage.instructions:
        if instruction.name == "ARG":
            for name, default in pairs(instruction, arguments).items():
                arguments[name] = inputs.arguments.get(name, default)
        elif instruction.name == "COPY":
            origin = done[instruction.flag("from")].root if instruction.flag("from") else inputs.context
            _copy(instruction, origin, root, config, None if instruction.flag("from") else files)
        elif instruction.name == "RUN":
            _run(instruction, root, config, arguments, inputs)
        configure(config, instruction, arguments)
        if instruction.name == "WORKDIR":
            (root / config.workdir.lstrip("/")).mkdir(parents=True, exist_ok=True)
    return Replayed(root, config)


def _copied(config: ImageConfig) -> ImageConfig:
    lists = list(config.entrypoint), list(config.command)
    return ImageConfig(dict(config.environment), dict(config.labels), config.user, config.workdir, *lists)


def _copy_tree(source: Path, target: Path) -> None:
    """Times, modes, owners and links stay what they are; blocks are shared where the file system can."""
    target.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cp", "-a", "--reflink=auto", f"{source}/.", target], check=True)


def _copy(instruction: Instruction, origin: Path, root: Path, config: ImageConfig, files: list[str] | None) -> None:
    """COPY SOURCE... TARGET. From the context only FILES are there; a folder gives what it holds, as everywhere in Docker."""
    *sources, given = (expand(word, config.environment) for word in instruction.words)
    target = root / str(Path(config.workdir) / given).lstrip("/")
    into = given.endswith("/") or given == "." or len(sources) > 1
    for source in sources:
        found = origin / source.strip("/")
        if not found.exists():
            raise FileNotFoundError(f"line {instruction.line}: {source} is not there")
        if found.is_dir() and files is None:
            _copy_tree(found, target)
        elif found.is_dir():
            for name in (name for name in files or () if name.startswith(f"{source.strip('/')}/")):
                _copy_file(origin / name, target / Path(name).relative_to(source.strip("/")))
        elif files is not None and source.strip("/") not in files:
            raise FileNotFoundError(f"line {instruction.line}: .dockerignore keeps {source} out")
        else:
            _copy_file(found, target / found.name if into else target)


def _copy_file(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, target)


def _run(
    instruction: Instruction, root: Path, config: ImageConfig, arguments: Mapping[str, str], inputs: Inputs
) -> None:
    """RUN in shell form, as root: no stage of ours runs one as another user."""
    if config.user not in ("", "0", "root"):
        raise ValueError(f"line {instruction.line}: RUN as {config.user} is not played here")
    environment = {"HOME": "/root", **arguments, **config.environment}
    binds = list(_mounted(instruction, inputs))
    sandbox.build_step(root, instruction.text, environment, workdir=config.workdir, binds=binds)


def _mounted(instruction: Instruction, inputs: Inputs) -> Iterator[sandbox.Bind]:
    for mount in instruction.mounts:
        match mount["type"]:
            case "secret":
                if secret := inputs.secrets.get(mount["id"]):
                    yield sandbox.Bind(secret, f"/run/secrets/{mount['id']}")
            case "cache":
                kept = inputs.caches / hashlib.sha256(mount["target"].encode()).hexdigest()[:12]
                kept.mkdir(parents=True, exist_ok=True)
                yield sandbox.Bind(kept, mount["target"], writable=True)
            case other:
                raise ValueError(f"line {instruction.line}: a mount of type {other} is not played here")


def tree_digest(root: Path) -> str:
    """SHA-256 over every path below ROOT, its mode, its time and its bytes: equal for equal trees."""
    digest = hashlib.sha256()
    for folder, folders, files in os.walk(root):
        folders.sort()
        for name in sorted([*folders, *files]):
            path = Path(folder) / name
            about = path.lstat()
            digest.update(f"{path.relative_to(root)} {about.st_mode} {int(about.st_mtime)}\n".encode())
            if stat.S_ISLNK(about.st_mode):
                digest.update(os.readlink(path).encode())
            elif stat.S_ISREG(about.st_mode):
                digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def size(root: Path) -> int:
    """Bytes on disk below ROOT."""
    counted = subprocess.run(["du", "-sxk", root], check=True, stdout=subprocess.PIPE, text=True)
    return int(counted.stdout.split()[0]) << 10
