"""What the model server is told: one table of settings, each an option of `serve` and a variable LONGVIEW_MODEL_SERVER_<NAME IN CAPITALS>.

The worker's token is neither an option, which every process of the machine could read, nor in this table's values: it comes from the variable
LONGVIEW_MODEL_SERVER_TOKEN, which is taken out of the environment before anything is started, or from a file.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, get_type_hints

import click

from schemas.errors import PartUnavailable
from schemas.families import FAMILIES, MEDGEMMA

PREFIX = "LONGVIEW_MODEL_SERVER_"
TOKEN = PREFIX + "TOKEN"
_TOKEN = re.compile(r"[!-~]{32,512}")


def _meaning(text: str) -> dict[str, str]:
    return {"meaning": text}


@dataclass(frozen=True)
class ServerSettings:
    """Sizes in GiB or MiB, times in seconds; a value that cannot be is refused with a sentence (`PartUnavailable`)."""

    checkpoint: Path | None = field(
        default=None, metadata=_meaning("folder of the checkpoint, described by release.json (none: the untrained one)")
    )
    family: str = field(
        default=MEDGEMMA.name, metadata=_meaning("family of the untrained checkpoint, where no other is named")
    )
    cache: Path | None = field(
        default=None,
        metadata=_meaning(
            "where vLLM keeps what it may lose, and the untrained checkpoint (default: ~/.cache/longview)"
        ),
    )
    media_dir: Path | None = field(default=None, metadata=_meaning("the only folder that file: URLs may name; needed"))
    host: str = field(default="127.0.0.1", metadata=_meaning("address to listen on; any but loopback needs a token"))
    port: int = field(default=8000, metadata=_meaning("port to listen on"))
    ready_file: Path | None = field(
        default=None, metadata=_meaning("file that is written once the warm-up's questions have been answered")
    )
    token_file: Path | None = field(
        default=None, metadata=_meaning("file that holds the worker's bearer token (or LONGVIEW_MODEL_SERVER_TOKEN)")
    )
    tls_cert_file: Path | None = field(
        default=None, metadata=_meaning("PEM file of the server's certificate with its chain (none: no TLS)")
    )
    tls_key_file: Path | None = field(default=None, metadata=_meaning("PEM file of that certificate's private key"))
    client_ca_file: Path | None = field(
        default=None,
        metadata=_meaning("PEM file of the authorities whose client certificates are let in, and demanded"),
    )
    probe_port: int = field(
        default=0,
        metadata=_meaning(
            "port of /health, /ready and /metrics alone, without TLS, for probes that have no certificate"
        ),
    )
    max_num_seqs: int = field(
        default=4, metadata=_meaning("requests that are computed together; the rest waits, most urgent first")
    )
    kv_cache_gib: int = field(default=1, metadata=_meaning("memory of the KV cache on a CPU"))
    gpu_memory_share: float = field(default=0.9, metadata=_meaning("share of each GPU's memory that vLLM takes"))
    context_tokens: int = field(
        default=0,
        metadata=_meaning("longest request in tokens (0: a study and six priors, or all that the model knows)"),
    )
    step_tokens: int = field(
        default=0,
        metadata=_meaning("tokens of one step (0: on a GPU those of one item, on a CPU of a study and three priors)"),
    )
    kv_cache_dtype: str = field(
        default="auto", metadata=_meaning("numbers of the KV cache: auto (the model's own) or fp8 (half as large)")
    )
    async_scheduling: bool = field(
        default=False, metadata=_meaning("prepare a step while the one before is computed; takes memory of two steps")
    )
    tensor_parallel: int = field(default=1, metadata=_meaning("GPUs that share one model"))
    media_cache_gib: float = field(
        default=2.0, metadata=_meaning("memory of decoded volumes and images (0: none are kept)")
    )
    encoded_cache_gib: float = field(
        default=2.0, metadata=_meaning("memory of what the image encoder made of recent studies (0: nothing is kept)")
    )
    max_body_mib: int = field(
        default=512, metadata=_meaning("largest body of a request; a larger one is refused with 413")
    )
    traces_url: str = field(
        default="", metadata=_meaning("OTLP/HTTP endpoint that takes traces, as http://host:4318/v1/traces")
    )
    log_format: str = field(default="text", metadata=_meaning("text: lines for people; json: one object a line"))
    drain_seconds: int = field(
        default=60, metadata=_meaning("how long a server that was told to end waits for the answers it owes")
    )

    def __post_init__(self) -> None:
        for name, least in (
            ("max_num_seqs", 1),
            ("kv_cache_gib", 1),
            ("tensor_parallel", 1),
            ("max_body_mib", 1),
            ("drain_seconds", 0),
            ("context_tokens", 0),
            ("step_tokens", 0),
        ):
            _require(getattr(self, name) >= least, name, f"must be {least} or more")
        _require(self.family in FAMILIES, "family", f"must be one of {', '.join(FAMILIES)}")
        _require(self.kv_cache_dtype in ("auto", "fp8"), "kv_cache_dtype", "must be auto or fp8")
        _require(self.log_format in ("text", "json"), "log_format", "must be text or json")
        _require(
            not self.traces_url or self.traces_url.startswith(("http://", "https://")),
            "traces_url",
            "must be a URL",
        )
        _require(0 < self.port < 65536, "port", "must be between 1 and 65535")
        _require(0 <= self.probe_port < 65536, "probe_port", "must be between 0 and 65535")
        paired = (self.tls_cert_file is None) == (self.tls_key_file is None)
        _require(paired, "tls_cert_file", "and its _TLS_KEY_FILE go together: set both or none")
        _require(
            self.client_ca_file is None or self.tls_cert_file is not None,
            "client_ca_file",
            "needs a certificate of the server: set _TLS_CERT_FILE and _TLS_KEY_FILE too",
        )
        _require(0 < self.gpu_memory_share <= 1, "gpu_memory_share", "must be above 0 and at most 1")
        for name in ("media_cache_gib", "encoded_cache_gib"):
            _require(0 <= getattr(self, name) < 2**20, name, "must be 0 or more")

    def media_folder(self) -> Path:
        """The folder of media, absolute and with its links followed."""
        if self.media_dir is None or not self.media_dir.is_dir():
            raise PartUnavailable("setting-missing", f"{PREFIX}MEDIA_DIR names no folder: set it to that of the media.")
        return self.media_dir.resolve()


def _require(true: bool, name: str, must: str) -> None:
    if not true:
        raise PartUnavailable("setting-number", f"{PREFIX}{name.upper()} {must}.")


def options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Every setting as an option that its variable can give too; the command takes them by name."""
    kinds = get_type_hints(ServerSettings)
    for each in reversed(fields(ServerSettings)):
        kind = kinds[each.name]
        command = click.option(
            "--" + each.name.replace("_", "-"),
            type=click.Path(path_type=Path) if kind == Path | None else kind,
            default=each.default,
            envvar=PREFIX + each.name.upper(),
            show_default=each.default is not None,
            help=each.metadata["meaning"],
        )(command)
    return command


def refuse_unknown(environment: Mapping[str, str]) -> None:
    """An unknown variable of ours is most often a slip of the pen."""
    known = {PREFIX + each.name.upper() for each in fields(ServerSettings)} | {TOKEN}
    if unknown := sorted(name for name in environment if name.startswith(PREFIX) and name not in known):
        raise PartUnavailable("setting-unknown", f"{unknown[0]} is not a setting: see `serve --help` for all of them.")


def table() -> list[tuple[str, str, str]]:
    """Rows (variable, meaning, default), for the documentation."""
    rows = [
        (PREFIX + each.name.upper(), each.metadata["meaning"], "" if each.default is None else str(each.default))
        for each in fields(ServerSettings)
    ]
    return [*rows, (TOKEN, "the worker's bearer token, where it is not in a file", "")]


def take_token(settings: ServerSettings, environment: MutableMapping[str, str]) -> str:
    """The worker's token, "" if there is none, which only a server on loopback may do without. It is taken out of `environment`: no child has it."""
    token = environment.pop(TOKEN, "").strip()
    if settings.token_file is not None:
        token = _read(settings.token_file)
    if not token:
        if settings.token_file is not None or not _is_loopback(settings.host):
            raise PartUnavailable(
                "model-token",
                f"a model server that others can reach needs the worker's token: set {PREFIX}TOKEN_FILE or {TOKEN}.",
            )
        return ""
    if not _TOKEN.fullmatch(token):
        raise PartUnavailable(
            "model-token",
            "the worker's token must be 32 to 512 printable ASCII characters without spaces: make another.",
        )
    return token


def _read(path: Path) -> str:
    try:
        return path.read_text("ascii").strip()
    except (OSError, ValueError) as error:
        raise PartUnavailable(
            "model-token", f"the file of {PREFIX}TOKEN_FILE cannot be read: check its name and who may read it."
        ) from error


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
