"""The identity of a system release: weights, prompt, code and serving configuration (contract 1.4)."""

from __future__ import annotations

from schemas.identifiers import canonical_json, sha256_hex
from schemas.inference import ModelRelease
from workflows.reading.patterns import PATTERNS_VERSION
from workflows.reading.prompt import PROMPT_TEMPLATE

READING_CODE_VERSION = "4"
"""Raised whenever preprocessing or the checks change what a result can say."""


def release_id(model: ModelRelease) -> str:
    """`<name>-<12 hex>`: equal weights, prompt, code and runtime give an equal id."""
    parts = [model.weights_sha256, sha256_hex(PROMPT_TEMPLATE), READING_CODE_VERSION, PATTERNS_VERSION, model.runtime]
    return f"{model.name}-{sha256_hex(canonical_json(parts))[:12]}"
