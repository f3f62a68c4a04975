"""A cluster as the tests use it: namespaces with strict rules, releases in them, and what became of them."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.cluster.content import volume
from scripts.cluster.plane import environment, kubectl
from tests.helm.manifests import NAMES, from_the_hospital, profile, render
from tests.helm.tools import CHART, Manifest, Refused, helm, parsed

STRICT = {
    "pod-security.kubernetes.io/enforce": "restricted",
    "pod-security.kubernetes.io/warn": "restricted",
    "pod-security.kubernetes.io/audit": "restricted",
}
"""Labels of a namespace in which only hardened pods may be."""
PATIENCE = "120s"
KEEP = "helm.sh/resource-policy"


@dataclass(frozen=True)
class Cluster:
    state: Path

    def kubectl(self, *arguments: str, given: Any = None) -> str:
        """What kubectl says; `NotReady` with its last line if it fails."""
        return kubectl(self.state, *arguments, given=given)

    def get(self, *arguments: str) -> list[Manifest]:
        found = json.loads(self.kubectl("get", *arguments, "-o", "json"))
        return list(found["items"]) if "items" in found else [found]

    def helm(self, *arguments: str) -> str:
        return helm(*arguments, environment=environment(self.state), patience=300)

    @contextmanager
    def namespace(self, name: str, *contents: Manifest) -> Iterator[str]:
        """A namespace that enforces Pod Security `restricted`; it is gone, with its volumes, when the block ends."""
        self.kubectl(
            "create",
            "-f",
            "-",
            given={"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": STRICT}},
        )
        try:
            if contents:
                self.kubectl("create", "-n", name, "-f", "-", given=list(contents))
            self.kubectl("wait", "-n", name, "--for=create", "serviceaccount/default", "--timeout=30s")
            yield name
        finally:
            self.kubectl("delete", "namespace", name, f"--timeout={PATIENCE}")
            self._renew_volumes()

    def _renew_volumes(self) -> None:
        """A volume whose claim has gone is kept for a person to look at; here it is made anew."""
        for each in self.get("persistentvolumes"):
            if each["status"].get("phase") == "Released":
                name = each["metadata"]["name"]
                self.kubectl("delete", "persistentvolume", name, f"--timeout={PATIENCE}")
                self.kubectl("create", "-f", "-", given=volume(int(name.rpartition("-")[2])))


@dataclass(frozen=True)
class Release:
    """The chart as it was installed for a profile."""

    cluster: Cluster
    namespace: str
    profile: str
    secrets: dict[str, dict[str, str]]
    """The Secrets that the hospital made before: name -> key -> value."""

    @contextmanager
    @staticmethod
    def place(
        cluster: Cluster, name: str, namespace: str, *charts: Path, contents: tuple[Manifest, ...] = ()
    ) -> Iterator[Release]:
        """A namespace with the Secrets that these charts ask for; nothing is installed yet."""
        values: dict[str, dict[str, str]] = {}
        given = list(contents)
        for manifests in [render(name, chart=chart, namespace=namespace) for chart in charts or (CHART,)]:
            keys, maps, claims = from_the_hospital(manifests)
            for secret in keys.keys() - values.keys():
                values[secret] = {key: f"secret-{secrets.token_hex(12)}" for key in keys[secret]}
                given.append(_secret(secret, values[secret]))
            given += [_config_map(each, maps[each]) for each in maps] + [_claim(each) for each in claims]
        unique = {(each["kind"], each["metadata"]["name"]): each for each in given}
        with cluster.namespace(namespace, *unique.values()):
            yield Release(cluster, namespace, name, values)

    def run(self, verb: str, chart: Path, *options: str) -> None:
        """`helm install` or `helm upgrade` of a chart, with its own values for the profile, until all of it is ready."""
        values = ("-f", str(profile(self.profile, chart)))
        try:
            self.cluster.helm(
                verb, self.name, str(chart), *self._here, *values, "--wait", "--timeout", PATIENCE, *options
            )
        except Refused as refusal:
            raise Refused(f"{refusal}\n{self.troubles()}") from None

    def install(self, *options: str, chart: Path = CHART) -> None:
        self.run("install", chart, *options)

    def upgrade(self, chart: Path) -> None:
        self.run("upgrade", chart)

    def scale_as_keda_would(self) -> None:
        """KEDA's operator is not here; what it does first is to bring what it scales to its least number. HPA does so by itself."""
        for each in [*self.get("scaledobjects.keda.sh"), *self.get("horizontalpodautoscalers")]:
            spec = each["spec"]
            target = f"deployment/{spec['scaleTargetRef']['name']}"
            if "minReplicaCount" in spec:
                self.kubectl("scale", target, f"--replicas={spec['minReplicaCount']}")
            self.kubectl(
                "wait", target, f"--for=jsonpath={{.status.availableReplicas}}={_least(spec)}", "--timeout=60s"
            )

    def troubles(self) -> str:
        """What an administrator would look at: pods that are not ready and the cluster's warnings."""
        pods = self.kubectl("get", "pods", "-o", "wide")
        events = self.kubectl("get", "events", "--field-selector", "type=Warning")
        return f"{pods}{events}"

    def rollback(self, revision: int) -> None:
        self.cluster.helm("rollback", self.name, str(revision), *self._here, "--wait", "--timeout", PATIENCE)

    def uninstall(self) -> None:
        self.cluster.helm("uninstall", self.name, *self._here, "--wait", "--timeout", PATIENCE)

    def manifests(self) -> list[Manifest]:
        return parsed(self.cluster.helm("get", "manifest", self.name, *self._here))

    def get(self, *arguments: str) -> list[Manifest]:
        return self.cluster.get("-n", self.namespace, *arguments)

    def kubectl(self, *arguments: str, given: Any = None) -> str:
        return self.cluster.kubectl("-n", self.namespace, *arguments, given=given)

    def deployments(self) -> dict[str, Manifest]:
        return {each["metadata"]["name"]: each for each in self.get("deployments")}

    @property
    def name(self) -> str:
        return NAMES.get(self.profile, "longview")

    @property
    def _here(self) -> tuple[str, ...]:
        return ("-n", self.namespace)


def _secret(name: str, values: dict[str, str]) -> Manifest:
    data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data}


def _config_map(name: str, keys: set[str]) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name},
        "data": dict.fromkeys(sorted(keys), "{}"),
    }


def _claim(name: str) -> Manifest:
    spec = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Ti"}}}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec}


def _least(spec: Manifest) -> int:
    return int(spec.get("minReplicaCount", spec.get("minReplicas", 1)))
