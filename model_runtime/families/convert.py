"""From a publisher's folder to one that vLLM serves: `python -m model_runtime convert`.

    published folder --> family --> names, shapes and tokenizer checked --> weights shard by shard --> chat template --> release.json

MedGemma 1.5 is served as it is released: there conversion is a check and a description.
"""

from __future__ import annotations

import shutil
from importlib.resources import files
from pathlib import Path

from model_runtime.families import biomedlm, llava_med
from model_runtime.families.folder import architecture_of, published_family, read_config
from model_runtime.families.writing import whole_or_not_at_all
from model_runtime.release import described_release, write_release
from schemas.errors import PartUnavailable
from schemas.families import BIOMEDLM, FAMILIES, LLAVA_MED, MEDGEMMA, ModelFamily, family_of

CHAT_TEMPLATE = "chat_template.jinja"
_TEMPLATES = {LLAVA_MED.name: "llava_med.jinja", BIOMEDLM.name: "biomedlm.jinja"}
_DTYPES = {LLAVA_MED.name: "bfloat16", BIOMEDLM.name: "float32"}
"""As published, for a config.json that names none."""
LICENCES = ("LICENSE*", "LICENCE*", "NOTICE*", "README.md")
"""Files of the publisher that go along with the weights."""


def convert(
    published: Path,
    target: Path | None,
    *,
    family: str = "",
    tower: Path | None = None,
    dtype: str = "",
    name: str = "",
    manufacturer: str = "unknown",
) -> Path:
    """The folder that can be served now, with its release.json. `PartUnavailable` says what of the published folder is missing or unknown."""
    kind = _family(published, family)
    if kind is MEDGEMMA:
        return _as_it_is(published, target, name or kind.name, manufacturer)
    if target is None:
        raise PartUnavailable("model-target", f"{kind.title} is written anew: name the folder with --to.")
    with whole_or_not_at_all(target) as writing:
        digest = write_converted(kind, published, writing, tower, dtype)
        write_release(writing, described_release(writing, name or kind.name, manufacturer, source=digest))
    return target


def write_converted(
    kind: ModelFamily, published: Path, target: Path, tower: Path | None = None, dtype: str = ""
) -> str:
    """All of a converted folder but its release; the SHA-256 of the weights that were read. They keep their type unless `dtype` names another."""
    config = read_config(published)
    kept = str(config.get("torch_dtype") or config.get("dtype") or _DTYPES[kind.name])
    if kind is LLAVA_MED:
        digest = llava_med.convert(published, target, dtype or kept, tower)
    elif kind is BIOMEDLM:
        digest = biomedlm.convert(published, target, dtype or kept)
    else:
        raise PartUnavailable("model-family", f"{kind.title} is not converted: it is served as it is released.")
    (target / CHAT_TEMPLATE).write_text(template_of(kind), "utf-8")
    for pattern in LICENCES:
        for path in published.glob(pattern):
            shutil.copyfile(path, target / path.name)
    return digest


def template_of(kind: ModelFamily) -> str:
    """The Jinja chat template of a family whose folders bring none."""
    return files("model_runtime.families").joinpath(_TEMPLATES[kind.name]).read_text("utf-8")


def _family(published: Path, name: str) -> ModelFamily:
    config = read_config(published)
    found = published_family(config)
    if name and name not in FAMILIES:
        raise PartUnavailable("model-family", f"no such model family: name one of {', '.join(FAMILIES)}.")
    if found is None:
        raise PartUnavailable(
            "model-family",
            f"config.json names {architecture_of(config) or 'no class'}, which no family is published as.",
        )
    if name and family_of(name) is not found:
        raise PartUnavailable("model-family", f"the folder holds {found.title}, not {family_of(name).title}.")
    return found


def _as_it_is(folder: Path, target: Path | None, name: str, manufacturer: str) -> Path:
    from model_runtime.families.check import check_folder

    if target is not None:
        raise PartUnavailable("model-target", f"{MEDGEMMA.title} is served as it is released: leave --to out.")
    report = check_folder(folder, digest=False)
    if lacking := [problem.sentence for problem in report.problems if problem.code != "model-release"]:
        raise PartUnavailable("model-incomplete", lacking[0])
    write_release(folder, described_release(folder, name, manufacturer))
    return folder
