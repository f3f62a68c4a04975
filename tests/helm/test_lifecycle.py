"""A release over its life: from the last released chart to this one, back, and away."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.helm.cluster import KEEP, Cluster, Release
from tests.helm.manifests import released, unpacked
from tests.helm.tools import CHART, PROFILES, Manifest, helm

NEXT = "99.0.0"
"""Version of the chart to which is upgraded: a later one than any, so that its workers are another version of the workers."""

VERSIONED = ("hospital", "multi-site")
"""Profiles whose workers are of a version (ADR-0014); a trial has one worker, which is replaced."""


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The last released chart."""
    archive = released()
    assert archive is not None, "helm/released holds no chart: see docs/cluster.md on how a release adds one"
    return unpacked(archive, tmp_path_factory.mktemp("older"))


@pytest.fixture(scope="module")
def newer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The chart as it stands, as the release that will follow."""
    folder = tmp_path_factory.mktemp("newer")
    helm("package", str(CHART), "--version", NEXT, "--app-version", NEXT, "--destination", str(folder))
    return unpacked(folder / f"longview-{NEXT}.tgz", tmp_path_factory.mktemp("newer-chart"))


@pytest.fixture(scope="module", params=PROFILES)
def place(request: pytest.FixtureRequest, cluster: Cluster, older: Path, newer: Path) -> Iterator[Release]:
    with Release.place(cluster, request.param, f"life-{request.param}", older, newer) as release:
        yield release


def test_upgrade_keeps_the_old_workers_rollback_brings_the_old_state_uninstall_leaves_nothing(
    place: Release, older: Path, newer: Path
) -> None:
    place.install(chart=older)
    before, first = place.deployments(), _state(place)
    place.upgrade(newer)
    after = place.deployments()

    gone = before.keys() - after.keys()
    assert not gone, f"removed by the upgrade while their workflows may still run: {sorted(gone)}"
    workers = {name for name in before if _is_worker(before[name])}
    serves_alone = not any(name.endswith("-gateway") for name in before)  # a shared model server, which has no workers
    assert bool(workers) is not serves_alone, "no Deployment is labelled as a worker"
    for name in workers:
        assert after[name]["spec"]["template"] == before[name]["spec"]["template"], (
            f"{name} was changed in place: its workflows would meet other code"
        )
        assert after[name]["status"].get("availableReplicas", 0) >= 1, f"{name} no longer serves its running workflows"
    new = {n for n in after if _is_worker(after[n])} - workers
    assert new or serves_alone, "the upgrade brought no workers of the new version"
    for name in before.keys() - workers:
        assert _images(after[name]) != _images(before[name]), f"{name} still runs the old release"

    place.rollback(1)
    assert _state(place) == first

    place.uninstall()
    left = place.get(
        "deployments,statefulsets,jobs,services,configmaps,networkpolicies,poddisruptionbudgets,serviceaccounts,scaledobjects.keda.sh,persistentvolumeclaims"
    )
    ours = [each for each in left if each["metadata"].get("labels", {}).get("app.kubernetes.io/managed-by") == "Helm"]
    unasked = [
        f"{each['kind']}/{each['metadata']['name']}"
        for each in ours
        if each["metadata"].get("annotations", {}).get(KEEP) != "keep"
    ]
    assert unasked == []
    assert not [each for each in ours if each["kind"] in ("Service", "NetworkPolicy", "ServiceAccount")]


def test_the_newer_chart_is_the_older_one_s_successor(older: Path) -> None:
    """A released chart is never written over: what is changed gets another version."""
    then, now = (yaml.safe_load((chart / "Chart.yaml").read_text()) for chart in (older, CHART))
    assert then["name"] == now["name"]
    if then["version"] == now["version"]:
        assert _tree(older) == _tree(CHART), (
            f"the chart differs from the released {then['version']}: give it another version"
        )


def _is_worker(deployment: Manifest) -> bool:
    return "worker" in str(deployment["metadata"]["labels"].get("app.kubernetes.io/component", ""))


def _images(deployment: Manifest) -> list[str]:
    return [container["image"] for container in deployment["spec"]["template"]["spec"]["containers"]]


def _state(release: Release) -> dict[str, object]:
    """What the release asks for now: of every Deployment and ConfigMap that is part of it, what counts."""
    manifests = {(m["kind"], m["metadata"]["name"]): m for m in release.manifests()}
    names = [name for kind, name in manifests if kind == "Deployment"]
    deployments = {
        name: each["spec"]["template"]["spec"]["containers"]
        for name, each in release.deployments().items()
        if name in names
    }
    maps = {
        m["metadata"]["name"]: m["data"]
        for m in release.get("configmaps")
        if ("ConfigMap", m["metadata"]["name"]) in manifests
    }
    return deployments | maps


def _tree(chart: Path) -> dict[str, bytes]:
    return {
        str(f.relative_to(chart)): f.read_bytes()
        for f in sorted(chart.rglob("*"))
        if f.is_file() and f.name != "Chart.yaml"
    }
