"""What `helm template` makes of the chart, and how to find one's way in it."""

from __future__ import annotations

import re
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from scripts.cluster.plane import tools

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm" / "longview"
RELEASED = ROOT / "helm" / "released"
PROFILES = ("trial", "hospital", "multi-site")
Manifest = dict[str, Any]

FOREIGN_KINDS = (
    "keda.sh/v1alpha1/ScaledObject",
    "keda.sh/v1alpha1/TriggerAuthentication",
    "monitoring.coreos.com/v1/ServiceMonitor",
    "monitoring.coreos.com/v1/PodMonitor",
    "monitoring.coreos.com/v1/PrometheusRule",
    "external-secrets.io/v1/ExternalSecret",
)
"""Kinds that the control plane of these tests serves besides Kubernetes' own, as `helm template` is told of them."""


class Refused(AssertionError):
    """helm said no; the text is what it said."""


def helm(*arguments: str, environment: dict[str, str] | None = None) -> str:
    """What helm prints; `Refused` with its words if it fails. Warnings count as words, not as failures."""
    done = subprocess.run(
        [str(tools() / "helm"), *arguments], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    if done.returncode:
        raise Refused(done.stderr.strip() or done.stdout.strip())
    return done.stdout


def profile(name: str, chart: Path = CHART) -> Path:
    """The values file of a profile."""
    return chart / "profiles" / f"{name}.yaml"


def render(name: str, *options: str, chart: Path = CHART, namespace: str = "longview") -> list[Manifest]:
    """Every object that the chart makes for a profile, hooks and tests included, where all of FOREIGN_KINDS are there."""
    served = [word for kind in FOREIGN_KINDS for word in ("--api-versions", kind)]
    values = ("-f", str(profile(name, chart)))
    return list(objects(helm("template", "longview", str(chart), "-n", namespace, *values, *served, *options)))


def objects(text: str) -> Iterator[Manifest]:
    for document in yaml.safe_load_all(text):
        if document:
            yield document


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
    made_by: Manifest

    @property
    def spec(self) -> Manifest:
        return dict(self.pod["spec"])

    @property
    def labels(self) -> dict[str, str]:
        return dict(self.pod["metadata"].get("labels", {}))

    @property
    def containers(self) -> list[Manifest]:
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]

    @property
    def hook(self) -> str:
        """`pre-install,pre-upgrade`, `test`, or empty."""
        return str(self.made_by["metadata"].get("annotations", {}).get("helm.sh/hook", ""))

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"


def workloads(manifests: list[Manifest]) -> list[Workload]:
    found = []
    for each in manifests:
        kind, name, spec = each["kind"], each["metadata"]["name"], each.get("spec", {})
        if kind == "Pod":
            found.append(Workload(kind, name, each, each))
        elif kind == "CronJob":
            found.append(Workload(kind, name, spec["jobTemplate"]["spec"]["template"], each))
        elif kind in ("Deployment", "StatefulSet", "DaemonSet", "Job"):
            found.append(Workload(kind, name, spec["template"], each))
    return found


def secret_keys(manifests: list[Manifest]) -> dict[str, set[str]]:
    """Secrets that pods refer to, each with the keys that they are known to need.

    A key is named by `secretKeyRef`, by an item of a volume, or by a variable or an argument that points into a mounted Secret.
    """
    keys: dict[str, set[str]] = {}
    for workload in workloads(manifests):
        for container in workload.containers:
            for entry in container.get("env", []):
                if reference := entry.get("valueFrom", {}).get("secretKeyRef"):
                    keys.setdefault(reference["name"], set()).add(reference["key"])
            for source in container.get("envFrom", []):
                if reference := source.get("secretRef"):
                    keys.setdefault(reference["name"], set())
            for path, secret, items in mounted_secrets(workload, container):
                named = {item["key"] for item in items} if items else pointed_at(workload, container, path, manifests)
                keys.setdefault(secret, set()).update(named)
    return keys


def mounted_secrets(workload: Workload, container: Manifest) -> Iterator[tuple[str, str, list[Manifest]]]:
    """(mount path, name of the Secret, items) of every Secret in the container's file system."""
    volumes = {volume["name"]: volume for volume in workload.spec.get("volumes", [])}
    for mount in container.get("volumeMounts", []):
        volume = volumes[mount["name"]]
        sources = [volume, *volume.get("projected", {}).get("sources", [])]
        for source in sources:
            if secret := source.get("secret"):
                yield mount["mountPath"], secret.get("secretName") or secret["name"], secret.get("items", [])


def pointed_at(workload: Workload, container: Manifest, path: str, manifests: list[Manifest]) -> set[str]:
    """File names right under `path` that the container's environment or arguments mention."""
    words = [*plain_environment(container, manifests).values(), *container.get("args", [])]
    return {match[1] for word in words for match in re.finditer(rf"{re.escape(path.rstrip('/'))}/([\w.-]+)", word)}


def plain_environment(container: Manifest, manifests: list[Manifest]) -> dict[str, str]:
    """The container's variables as far as they are no secret: values and ConfigMaps."""
    maps = {each["metadata"]["name"]: each.get("data", {}) for each in manifests if each["kind"] == "ConfigMap"}
    given: dict[str, str] = {}
    for source in container.get("envFrom", []):
        if reference := source.get("configMapRef"):
            given |= {source.get("prefix", "") + key: value for key, value in maps[reference["name"]].items()}
    for entry in container.get("env", []):
        reference = entry.get("valueFrom", {}).get("configMapKeyRef")
        if reference:
            given[entry["name"]] = maps[reference["name"]][reference["key"]]
        elif "value" in entry:
            given[entry["name"]] = entry["value"]
    return given
