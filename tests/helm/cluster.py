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
from tests.helm.manifests import CHART, Manifest, Refused, helm, objects, profile, render, secret_keys

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
        return helm(*arguments, environment=environment(self.state))

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
        made: dict[str, dict[str, str]] = {}
        for chart in charts or (CHART,):
            for secret, keys in secret_keys(render(name, chart=chart, namespace=namespace)).items():
                values = made.setdefault(secret, {})
                values.update({key: f"secret-{secrets.token_hex(12)}" for key in keys - set(values)})
        with cluster.namespace(namespace, *contents, *(_secret(secret, values) for secret, values in made.items())):
            yield Release(cluster, namespace, name, made)

    def run(self, verb: str, chart: Path, *options: str) -> None:
        """`helm install` or `helm upgrade` of a chart, with its own values for the profile, until all of it is ready."""
        values = ("-f", str(profile(self.profile, chart)))
        try:
            self.cluster.helm(
                verb, "longview", str(chart), *self._here, *values, "--wait", "--timeout", PATIENCE, *options
            )
        except Refused as refusal:
            raise Refused(f"{refusal}\n{self.troubles()}") from None

    def install(self, *options: str, chart: Path = CHART) -> None:
        self.run("install", chart, *options)

    def upgrade(self, chart: Path) -> None:
        self.run("upgrade", chart)

    def troubles(self) -> str:
        """What an administrator would look at: pods that are not ready and the cluster's warnings."""
        pods = self.cluster.kubectl("get", "pods", "-n", self.namespace, "-o", "wide")
        events = self.cluster.kubectl("get", "events", "-n", self.namespace, "--field-selector", "type=Warning")
        return f"{pods}{events}"

    def rollback(self, revision: int) -> None:
        self.cluster.helm("rollback", "longview", str(revision), *self._here, "--wait", "--timeout", PATIENCE)

    def uninstall(self) -> None:
        self.cluster.helm("uninstall", "longview", *self._here, "--wait", "--timeout", PATIENCE)

    def manifests(self) -> list[Manifest]:
        return list(objects(self.cluster.helm("get", "manifest", "longview", *self._here)))

    def get(self, *arguments: str) -> list[Manifest]:
        return self.cluster.get("-n", self.namespace, *arguments)

    def deployments(self) -> dict[str, Manifest]:
        return {each["metadata"]["name"]: each for each in self.get("deployments")}

    @property
    def _here(self) -> tuple[str, ...]:
        return ("-n", self.namespace)


def _secret(name: str, values: dict[str, str]) -> Manifest:
    data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data}
