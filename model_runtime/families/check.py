"""`python -m model_runtime check`: whether a folder of weights can be served, by which family, in how much memory, and what is missing.

Looks at configuration, tokenizer and the headers of the weights, and hashes the weights; imports neither torch nor vLLM.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import orjson
from pydantic import ValidationError

from model_runtime.families.folder import (
    Json,
    TensorHeader,
    architecture_of,
    family_of_config,
    read_config,
    read_headers,
    weight_files,
)
from model_runtime.families.layout import Layout, layout_of
from model_runtime.families.memory import (
    CARDS,
    WIDTHS,
    Memory,
    Width,
    encoder_cache,
    keys_values,
    memory_at,
    tokens_that_fit,
)
from model_runtime.families.serve import dtype_of
from model_runtime.families.stored import tensor_problems
from model_runtime.release import RELEASE_FILE, runtime_version, weights_digest
from schemas.errors import PartUnavailable
from schemas.families import BIOMEDLM, LLAVA_MED, MEDGEMMA, ModelFamily
from schemas.inference import ModelRelease

SERVED_QUANTIZATION = "compressed-tensors"
NEEDED_TOKENS = {
    MEDGEMMA.name: (
        *("\n" * count for count in range(1, 5)),
        "<start_of_image>", "<end_of_image>", "<image_soft_token>", "<unused10>", "<unused94>", "<unused95>",
    ),
    LLAVA_MED.name: ("<image>",),
    BIOMEDLM.name: (),
}  # fmt: skip
"""Single tokens that vLLM's processor or ours looks up."""
NEEDED_FILES = {
    MEDGEMMA.name: ("tokenizer.json", "tokenizer_config.json", "preprocessor_config.json"),
    LLAVA_MED.name: (
        "tokenizer.json", "tokenizer_config.json", "preprocessor_config.json", "processor_config.json", "chat_template.jinja",
    ),
    BIOMEDLM.name: ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"),
}  # fmt: skip
"""MedGemma's chat template is ours: the released one has no place for volumes."""


@dataclass(frozen=True)
class Problem:
    """One reason why the folder cannot be served as it is, with what to do."""

    code: str
    sentence: str


@dataclass
class FolderReport:
    """What was found; a folder can be served if there is no problem."""

    folder: Path
    architecture: str = ""
    family: ModelFamily | None = None
    quantization: str = ""
    parameters: int = 0
    stored_bytes: int = 0
    longest_request: int = 0
    memory: dict[str, Memory] = field(default_factory=dict)
    cards: dict[str, dict[int, int]] = field(default_factory=dict)
    """Tokens of the longest request that a GPU of so many GiB has room for, by width."""
    digest: str = ""
    release: str = ""
    problems: list[Problem] = field(default_factory=list)

    @property
    def servable(self) -> bool:
        return not self.problems

    def as_document(self) -> Json:
        """For `--json`; bytes, not rounded."""
        return {
            "folder": str(self.folder),
            "servable": self.servable,
            "family": self.family.name if self.family else None,
            "architecture": self.architecture,
            "quantization": self.quantization or None,
            "parameters": self.parameters,
            "stored_bytes": self.stored_bytes,
            "longest_request_tokens": self.longest_request,
            "memory_bytes": {
                width: {"weights": m.weights, "keys_values": m.keys_values, "encoder": m.encoder, "total": m.total}
                for width, m in self.memory.items()
            },
            "longest_request_by_gpu_gib": {
                width: {str(card): tokens for card, tokens in fits.items()} for width, fits in self.cards.items()
            },
            "weights_sha256": self.digest or None,
            "release": self.release or None,
            "problems": [{"code": p.code, "sentence": p.sentence} for p in self.problems],
        }


def check_folder(folder: Path, *, digest: bool = True) -> FolderReport:
    """`digest=False` leaves the hashing of the weights out, and with it the comparison with release.json."""
    report = FolderReport(folder)
    try:
        config = read_config(folder)
        report.architecture = architecture_of(config)
        report.family = family_of_config(config)
        report.quantization = _quantization(config)
        layout = layout_of(report.family, config)
        report.longest_request = _longest(folder)
    except PartUnavailable as failure:
        report.problems.append(Problem(failure.code, failure.hint or ""))
        return report
    tensors = _collect(report, lambda: _headers(folder))
    if tensors is not None:
        _look_at_tensors(report, config, layout, tensors)
    for problem in (*_files(folder, report.family), *_tokens(folder, report.family, config)):
        report.problems.append(problem)
    _look_at_release(report, digest=digest and tensors is not None)
    return report


def _collect(report: FolderReport, look: Callable[[], Any]) -> Any:
    """What `look` finds; its failure becomes a problem of the report."""
    try:
        return look()
    except PartUnavailable as failure:
        report.problems.append(Problem(failure.code, failure.hint or ""))
        return None


def _quantization(config: Json) -> str:
    method = str(config.get("quantization_config", {}).get("quant_method", ""))
    if method not in ("", SERVED_QUANTIZATION):
        raise PartUnavailable(
            "model-quantization",
            f"the weights are quantized by {method}, which is not served here: take the publisher's weights, "
            "or quantize those with `longview model quantize`.",
        )
    return method


def _longest(folder: Path) -> int:
    from model_runtime.serving import model_length

    return model_length(folder)


def _headers(folder: Path) -> dict[str, TensorHeader]:
    files, safe = weight_files(folder)
    if not safe:
        raise PartUnavailable(
            "model-weights", "the weights are pickled (pytorch_model.bin): take safetensors, or convert the folder."
        )
    return {name: header for path in files for name, header in read_headers(path).items()}


def _look_at_tensors(report: FolderReport, config: Json, layout: Layout, tensors: dict[str, TensorHeader]) -> None:
    assert report.family is not None
    report.problems += [
        Problem("model-tensor", sentence)
        for sentence in tensor_problems(layout, tensors, quantized=bool(report.quantization))
    ]
    report.stored_bytes = sum(header.bytes for header in tensors.values())
    report.parameters = _parameters(layout)
    if report.quantization:
        kept = keys_values(report.family, config, report.longest_request)
        shown = encoder_cache(report.family, config, report.longest_request)
        report.memory["as stored"] = Memory(report.stored_bytes, kept, shown)
        _look_at_cards(report, config)
        return
    first: tuple[Width, ...] = ("fp32",) if dtype_of(config) == "float32" else ()
    for width in (*first, *WIDTHS):
        report.memory[width] = _memory(width, report, config, layout)
    _look_at_cards(report, config)


def _look_at_cards(report: FolderReport, config: Json) -> None:
    """With the settings that a GPU has by default."""
    from model_runtime.serving import step_of_one_item
    from model_runtime.settings import ServerSettings

    assert report.family is not None
    step, share = step_of_one_item(report.folder), ServerSettings().gpu_memory_share
    for width, memory in report.memory.items():
        fits = {card: tokens_that_fit(card, share, memory.weights, report.family, config, step) for card in CARDS}
        report.cards[width] = {
            card: min(tokens, report.longest_request) for card, tokens in fits.items() if tokens >= step
        }


def _memory(width: Width, report: FolderReport, config: Json, layout: Layout) -> Memory:
    assert report.family is not None
    return memory_at(width, report.family, config, layout, report.longest_request)


def _parameters(layout: Layout) -> int:
    return sum(prod(shape) for shape in layout.values())


def _files(folder: Path, family: ModelFamily) -> Iterator[Problem]:
    for name in NEEDED_FILES[family.name]:
        if not (folder / name).is_file():
            mend = "convert the folder anew" if name == "chat_template.jinja" else "take it from the publisher"
            yield Problem("model-files", f"{name} is missing: {mend}.")


def _tokens(folder: Path, family: ModelFamily, config: Json) -> Iterator[Problem]:
    path = folder / "tokenizer.json"
    if not path.is_file():
        return
    try:
        document = orjson.loads(path.read_bytes())
        vocabulary = dict(document["model"]["vocab"])
        vocabulary |= {token["content"]: token["id"] for token in document.get("added_tokens", [])}
    except (OSError, ValueError, KeyError, TypeError):
        yield Problem("model-tokenizer", "tokenizer.json cannot be read: take it from the publisher.")
        return
    if lacking := [token for token in NEEDED_TOKENS[family.name] if token not in vocabulary]:
        shown = ", ".join(repr(token) for token in lacking)
        yield Problem("model-tokenizer", f"the tokenizer has no single token {shown}: it is not {family.title}'s.")
    elif family is LLAVA_MED and vocabulary["<image>"] != config.get("image_token_index"):
        yield Problem(
            "model-tokenizer", "the id of <image> in the tokenizer is not the one in config.json: convert anew."
        )


def _look_at_release(report: FolderReport, *, digest: bool) -> None:
    if digest:
        report.digest = _collect(report, lambda: weights_digest(report.folder)) or ""
    try:
        release = ModelRelease.model_validate_json((report.folder / RELEASE_FILE).read_bytes())
    except (OSError, ValidationError):
        report.problems.append(Problem("model-release", f"{RELEASE_FILE} is missing or broken: {DESCRIBE}"))
        return
    report.release = release.served_model_name
    if stale := list(_stale(report, release)):
        report.problems.append(Problem("model-release", f"{RELEASE_FILE} describes {' and '.join(stale)}: {DESCRIBE}"))


DESCRIBE = "run `python -m model_runtime describe`."


def _stale(report: FolderReport, release: ModelRelease) -> Iterator[str]:
    if report.digest and release.weights_sha256 != report.digest:
        yield "other weights"
    if report.family and release.family != report.family.name:
        yield "another family"
    try:
        now = runtime_version(report.folder)
    except PartUnavailable:  # the runtime is not installed here: nothing can be said of it
        return
    if release.runtime != now:
        yield "another runtime, configuration or tokenizer"
