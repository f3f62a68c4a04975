"""The wheel is ours and whole, the lock installs anywhere, and nothing committed depends on the machine it was written on."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from email.parser import Parser
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("schemas", "workflows", "model_runtime", "services")
SITE = Path(sys.prefix) / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
DATA = (".json", ".html", ".jinja", ".css", ".js", ".svg", ".mako", ".ico", ".woff2")
"""What a package may hold beside modules; each must be in the wheel."""

REGISTRIES = (
    "pypi org",
    "pythonhosted org",
    "npmjs org",
    "npmjs com",
    "repo maven",
    "repo1 maven",
    "deb debian org",
    "proxy golang org",
    "sum golang org",
    "crates io",
)
"""Hosts of package registries, dots as blanks: this file names none either."""


# -- the wheel -----------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel as a release would build it: with the locked build backend, and without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    [built] = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel installed, and nothing else."""
    target = tmp_path_factory.mktemp("site")
    uv = ROOT / ".tools" / "bin" / "uv"
    command = [str(uv), "pip", "install", "-q", "--offline", "--no-deps", "-p", sys.executable, "--target", str(target)]
    subprocess.run([*command, str(wheel)], check=True, capture_output=True)
    return target


def run_in(installed: Path, code: str) -> str:
    """What `code` prints with the installed wheel before the environment's packages and without this work tree (`-S`: no .pth files)."""
    paths = f"import sys; sys.path[:0] = [{str(installed)!r}, {str(SITE)!r}]; "
    run = subprocess.run(
        [sys.executable, "-I", "-S", "-c", paths + code],
        cwd=installed,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_all_four_packages_are_ours(installed: Path) -> None:
    """Another distribution on the index ships a top-level `workflows` too."""
    code = f"import importlib; [print(importlib.import_module(name).__file__) for name in {PACKAGES!r}]"
    assert run_in(installed, code).split() == [str(installed / name / "__init__.py") for name in PACKAGES]
    code = f"from importlib.metadata import packages_distributions as by; print([by()[name] for name in {PACKAGES!r}])"
    assert run_in(installed, code).strip() == str([["longview"]] * len(PACKAGES))


def test_the_wheel_holds_only_what_is_ours(wheel: Path) -> None:
    top = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {name for name in top if not name.endswith(".dist-info")} == set(PACKAGES)


def test_every_data_file_is_in_the_wheel(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    data = {f.relative_to(ROOT).as_posix() for p in PACKAGES for f in (ROOT / p).rglob("*") if f.suffix in DATA}
    assert {"schemas/events.schema.json", "services/db/migrations/script.py.mako"} <= data
    assert data <= names, "a data file is missing from the wheel"
    assert any(name.startswith("services/db/migrations/versions/0001") for name in names)


def test_the_installed_wheel_finds_its_data_and_its_command(installed: Path) -> None:
    code = "from schemas.events import _validator; print(_validator().schema['$schema']); "
    code += "from services.cli import main; main(['--version'], prog_name='longview', standalone_mode=False)"
    printed = run_in(installed, code)
    assert "json-schema.org" in printed
    assert printed.splitlines()[-1].startswith("longview, version ")


def test_the_wheel_says_what_each_process_needs(wheel: Path, project: dict[str, Any]) -> None:
    archive = zipfile.ZipFile(wheel)
    [metadata] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
    told = Parser().parsestr(archive.read(metadata).decode())
    assert set(told.get_all("Provides-Extra") or []) == {
        "operations",
        "gateway",
        "inbox",
        "worker",
        "runtime",
        "trial",
        "demo",
    }
    assert told["License-Expression"] == "Apache-2.0"
    assert told.get_all("License-File") == ["LICENSE"]
    [points] = [archive.read(name).decode() for name in archive.namelist() if name.endswith("entry_points.txt")]
    assert "longview = services.cli:main" in points
    assert "[vllm.general_plugins]" in points


# -- the lock ------------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.fixture(scope="module")
def locked() -> dict[str, str]:
    """Version of every package that the lock gives this Python."""
    lines = re.findall(r"^([A-Za-z0-9].*?)\s*\\?$", lock_text(), re.MULTILINE)
    requirements = [Requirement(line) for line in lines]
    taken = [r for r in requirements if r.marker is None or r.marker.evaluate()]
    return {canonicalize_name(r.name): str(r.specifier).removeprefix("==") for r in taken}


def lock_text() -> str:
    return (ROOT / "requirements.lock").read_text()


def wanted(project: dict[str, Any]) -> list[Requirement]:
    extras = project["project"]["optional-dependencies"].values()
    groups = project["dependency-groups"].values()
    lines = [line for lines in (project["project"]["dependencies"], *extras, *groups) for line in lines]
    return [Requirement(line) for line in [*lines, *project["build-system"]["requires"]]]


def test_the_lock_has_hashes_and_no_addresses() -> None:
    """A hospital installs it from its own mirror; a package that the mirror has changed is refused."""
    text = lock_text()
    assert "://" not in text
    assert not re.search(r"^\s*--(?!hash=sha256:[0-9a-f]{64}\b)", text, re.MULTILINE), "an option that is not a hash"
    entries = re.split(r"\n(?=[A-Za-z0-9])", "\n" + re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).strip())
    assert [entry.split()[0] for entry in entries if entry.strip() and "--hash=sha256:" not in entry] == []


def test_the_lock_agrees_with_the_project(project: dict[str, Any], locked: dict[str, str]) -> None:
    for requirement in wanted(project):
        name = canonicalize_name(requirement.name)
        if name == "longview":
            continue
        assert name in locked, f"{name} is not in requirements.lock: run 'make lock'"
        assert requirement.specifier.contains(locked[name], prereleases=True), f"{name}: run 'make lock'"


def test_the_environment_is_the_locked_one(locked: dict[str, str]) -> None:
    differing = {name: version(name) for name in locked if version(name) != locked[name]}
    assert differing == {}, "run 'make setup'"


# -- what is committed ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def committed() -> dict[str, str]:
    """Text of every file under version control."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("this is not a git work tree")
    files = [ROOT / name for name in listed.stdout.split("\0") if name]
    return {str(f.relative_to(ROOT)): f.read_bytes().decode("utf-8", "replace") for f in files if f.is_file()}


def test_nothing_committed_names_a_package_registry(committed: dict[str, str]) -> None:
    hosts = [host.replace(" ", ".") for host in REGISTRIES]
    assert [f"{file}: {host}" for file, text in committed.items() for host in hosts if host in text] == []


def test_nothing_committed_names_a_place_of_one_machine(committed: dict[str, str]) -> None:
    places = rf"(?<![\w.:/$}}*-])(?:/work|/root|{re.escape(str(ROOT))}|{re.escape(str(Path.home()))})/[\w.]"
    named = [f"{file}: {hit}" for file, text in committed.items() for hit in re.findall(places, text)]
    assert named == []
