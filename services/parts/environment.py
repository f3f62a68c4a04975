"""The environment of a child: a few named variables of the machine, and every setting in force."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path

from services.secret_file import SecretFromFile
from services.settings import PREFIX, Settings

INHERITED = (
    "PATH",
    "HOME",
    "USER",
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
    "XDG_CACHE_HOME",
    "LD_LIBRARY_PATH",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
)
MODEL_SERVER = PREFIX + "MODEL_SERVER_"
"""What the model server's own settings begin with."""
MODEL_PREFIXES = ("VLLM_", "OMP_", "HF_", "CUDA_", "LONGVIEW_CACHE", MODEL_SERVER)
"""What the model server may be tuned with besides our settings."""
_FILES = (
    "model_release",
    "payload_key_file",
    "model_token_file",
    "fhir_key_file",
    "ca_file",
    "client_cert_file",
    "client_key_file",
)


def child_environment(
    settings: Settings, *, ready_file: Path | None = None, source: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """INHERITED variables and all settings that have a value; nothing else of the launcher's environment leaks into a part."""
    passed = {name: source[name] for name in INHERITED if name in source}
    given = dict(_variable(f.name, getattr(settings, f.name)) for f in fields(settings) if getattr(settings, f.name))
    ready = {PREFIX + "READY_FILE": str(ready_file)} if ready_file else {}
    return passed | {"PYTHONUNBUFFERED": "1"} | given | ready


def _variable(name: str, value: str) -> tuple[str, str]:
    """A secret of a file is passed on as its file, which a child reads again when it changes."""
    if isinstance(value, SecretFromFile):
        return f"{PREFIX}{name.upper()}_FILE", str(value.file)
    return PREFIX + name.upper(), str(value)


def part_environment(source: Mapping[str, str] = os.environ) -> dict[str, str]:
    """For the servers that are not ours: no setting of ours, hence no secret of ours."""
    return {name: source[name] for name in INHERITED if name in source} | {"PYTHONUNBUFFERED": "1"}


def model_environment(settings: Settings, source: Mapping[str, str] = os.environ) -> dict[str, str]:
    """For vLLM: what tunes it, and no setting of ours (it has its own, and takes arguments)."""
    tuned = {name: value for name, value in source.items() if name.startswith(MODEL_PREFIXES)}
    return part_environment(source) | tuned


def model_token(settings: Settings) -> dict[str, str]:
    """Where a model server finds the token that the worker will show: in a file, or in a variable that it takes out of its environment."""
    if settings.model_token:
        return {MODEL_SERVER + "TOKEN": settings.model_token}
    return {MODEL_SERVER + "TOKEN_FILE": settings.model_token_file} if settings.model_token_file else {}


def model_telemetry(settings: Settings) -> dict[str, str]:
    """The model server's log and traces follow ours."""
    traces = {MODEL_SERVER + "TRACES_URL": settings.traces_url} if settings.traces_url else {}
    return traces | {MODEL_SERVER + "LOG_FORMAT": settings.log_format}


def absolute(settings: Settings) -> Settings:
    """The same settings with absolute paths, since a child runs in a folder of its own."""
    named = {name: str(Path(value).absolute()) for name in _FILES if (value := getattr(settings, name))}
    return replace(
        settings,
        state_dir=str(settings.state),
        store_dir=str(settings.store),
        database_url=settings.database,
        **named,
    )


def cache_folder(source: Mapping[str, str] = os.environ) -> Path:
    """Where checkpoints that can be built again are kept: LONGVIEW_CACHE, else the user's cache folder."""
    base = source.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(source.get("LONGVIEW_CACHE") or Path(base) / "longview").resolve()


def processor_has(flag: str) -> bool:
    """Whether this machine's processor knows a set of instructions, by its name in /proc/cpuinfo (Linux on x86-64): `avx2`, `avx512f`."""
    return f" {flag}" in Path("/proc/cpuinfo").read_text()
