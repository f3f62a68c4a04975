"""Charts of several versions, and how to find one's way in what they make: workloads, and what the hospital has to give them."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.helm.tools import CHART, ROOT, Manifest, containers, helm, parsed

RELEASED = ROOT / "helm" / "released"
NAMES = {"shared-model": "models"}
"""Name of a profile's release, where it is another than `longview`."""
FOREIGN_KINDS = (
    "keda.sh/v1alpha1/ScaledObject",
    "keda.sh/v1alpha1/TriggerAuthentication",
    "monitoring.coreos.com/v1/ServiceMonitor",
    "monitoring.coreos.com/v1/PodMonitor",
    "monitoring.coreos.com/v1/PrometheusRule",
    "external-secrets.io/v1/ExternalSecret",
)
"""Kinds that the control plane of these tests serves besides Kubernetes' own, as `helm template` is told of them."""


def profile(name: str, chart: Path = CHART) -> Path:
    """The values file of a profile."""
    return chart / f"values-{name}.yaml"


def render(name: str, *options: str, chart: Path = CHART, namespace: str = "longview") -> list[Manifest]:
    """Every object that a chart makes for a profile, hooks and tests included, where all of FOREIGN_KINDS are there."""
    served = [word for kind in FOREIGN_KINDS for word in ("--api-versions", kind)]
    values = ("-f", str(profile(name, chart)))
    release = NAMES.get(name, "longview")
    return parsed(helm("template", release, str(chart), "-n", namespace, *values, *served, *options))


def unpacked(archive: Path, folder: Path) -> Path:
    """The folder of a packaged chart."""
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    (chart,) = folder.iterdir()
    return chart


def released() -> Path | None:
    """The last released chart."""
    return max(RELEASED.glob("longview-*.tgz"), key=_version, default=None)


def _version(archive: Path) -> tuple[list[int], bool, list[int]]:
    """Semantic versions in their order: a release comes after its candidates."""
    core, _, candidate = archive.stem.removeprefix("longview-").partition("-")
    return [int(n) for n in core.split(".")], not candidate, [int(n) for n in re.findall(r"\d+", candidate)]


@dataclass(frozen=True)
class Workload:
    """Something that makes pods."""

    kind: str
    name: str
    pod: Manifest
    """The pod's metadata and spec."""

    @property
    def spec(self) -> Manifest:
        return dict(self.pod["spec"])

    @property
    def labels(self) -> dict[str, str]:
        return dict(self.pod["metadata"].get("labels", {}))

    @property
    def containers(self) -> list[Manifest]:
        return containers(self.pod)

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"


def workloads(manifests: list[Manifest]) -> list[Workload]:
    found = []
    for each in manifests:
        pod = each if each["kind"] == "Pod" else each.get("spec", {}).get("template")
        if pod is not None and "containers" in pod.get("spec", {}):
            found.append(Workload(each["kind"], each["metadata"]["name"], pod))
    return found


def from_the_hospital(manifests: list[Manifest]) -> tuple[dict[str, set[str]], dict[str, set[str]], set[str]]:
    """(Secrets, ConfigMaps, claims) that pods mount and that the release does not make; of the first two the keys too."""
    made = {(each["kind"], each["metadata"]["name"]) for each in manifests}
    keys: dict[str, dict[str, set[str]]] = {"Secret": {}, "ConfigMap": {}}
    claims = set()
    for workload in workloads(manifests):
        for volume in workload.spec.get("volumes", []):
            if claim := volume.get("persistentVolumeClaim"):
                claims.add(claim["claimName"])
            for kind, name, items in files_of(volume):
                keys[kind].setdefault(name, set()).update(item["key"] for item in items)
    secrets, maps = ({n: k for n, k in keys[kind].items() if (kind, n) not in made} for kind in ("Secret", "ConfigMap"))
    return secrets, maps, {name for name in claims if ("PersistentVolumeClaim", name) not in made}


def files_of(volume: Manifest) -> Iterator[tuple[str, str, list[Manifest]]]:
    """(kind, name, items) of the Secrets and ConfigMaps of a volume. All of ours name their items: a process gets no key that it does not need."""
    for source in [volume, *volume.get("projected", {}).get("sources", [])]:
        for field, kind in (("secret", "Secret"), ("configMap", "ConfigMap")):
            if found := source.get(field):
                yield kind, found.get("secretName") or found["name"], found["items"]
