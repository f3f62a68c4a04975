"""The chart as files: lint, README, and every object against the schemas of the API server that will get it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from scripts.cluster.plane import tools
from scripts.cluster.schemas import LOCATION, write_schemas
from tests.helm.cluster import Cluster
from tests.helm.manifests import profile, render
from tests.helm.tools import CHART, PROFILES, helm


def vault() -> Iterator[str]:
    """Every Secret of the hospital's values from one store."""
    given = {"externalSecrets.enabled": "true", "externalSecrets.store.name": "vault"}
    for setting in yaml.safe_load(profile("hospital").read_text())["secrets"]:
        given[f"secrets.{setting}.remote.key"] = f"longview/{setting}"
    for name, value in given.items():
        yield from ("--set", f"{name}={value}")


VARIANTS = {
    **{name: (name, ()) for name in PROFILES},
    "hospital without KEDA": ("hospital", ("--set", "autoscaling.provider=hpa")),
    "hospital with External Secrets": ("hospital", tuple(vault())),
}


@pytest.mark.parametrize("name", PROFILES)
def test_lint(name: str) -> None:
    helm("lint", "--strict", str(CHART), "-f", str(profile(name)))


def test_the_readme_is_what_helm_docs_makes_of_the_values(tmp_path: Path) -> None:
    shutil.copytree(CHART, tmp_path / "longview")
    subprocess.run(
        [str(tools() / "helm-docs"), "--chart-search-root", str(tmp_path)], check=True, capture_output=True, timeout=60
    )
    assert (tmp_path / "longview" / "README.md").read_text() == (CHART / "README.md").read_text(), (
        "run helm-docs in helm/longview and commit its README"
    )


@pytest.fixture(scope="module")
def schemas(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> str:
    """kubeconform's location of schemas of all that our API server serves."""
    folder = tmp_path_factory.mktemp("schemas")
    assert write_schemas(cluster.state, folder) > 150
    return f"{folder}/{LOCATION}"


@pytest.mark.parametrize(("name", "options"), VARIANTS.values(), ids=list(VARIANTS))
def test_kubeconform(name: str, options: tuple[str, ...], schemas: str) -> None:
    assert _kubeconform(yaml.safe_dump_all(render(name, *options)), schemas) == ""


def test_kubeconform_sees_an_unknown_field(schemas: str) -> None:
    """Else the tests above would pass whatever the chart wrote."""
    wrong = [
        each | {"spec": each["spec"] | {"replicaz": 2}} for each in render("trial") if each["kind"] == "Deployment"
    ]
    assert "'replicaz' not allowed" in _kubeconform(yaml.safe_dump_all(wrong), schemas)


def _kubeconform(text: str, schemas: str) -> str:
    """What is wrong with these manifests; empty if nothing is."""
    command = [str(tools() / "kubeconform"), "-strict", "-schema-location", schemas]
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, check=False)
    assert bool(done.returncode) == bool(done.stdout + done.stderr)
    return done.stdout + done.stderr
