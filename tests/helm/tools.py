"""Where helm is, and what it makes of the chart."""

from __future__ import annotations

import functools
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.cluster.plane import tools

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm" / "longview"
PROFILES = ("trial", "hospital", "multi-site", "shared-model")
Manifest = dict[str, Any]

KEDA = ("--set", "autoscaling.provider=keda", "--set", "autoscaling.prometheusAddress=http://prometheus:9090")
CODEC = ("--set", "codec.enabled=true", "--set", "secrets.codec_operators_file.name=operators")
MUTUAL = (
    "--set",
    "model.tls.secret=model-tls,model.tls.clients=true",
    "--set",
    "secrets.client_cert_file.name=us,secrets.client_key_file.name=us",
)
EVERYTHING = [
    *((profile, ()) for profile in PROFILES),
    ("hospital", (*KEDA, *CODEC)),
    ("trial", ("--set", "worker.versioning=false")),
    ("hospital", MUTUAL),
    ("hospital", ("--set", "model.checkpoint.existingClaim=", "--set", "model.checkpoint.image.reference=models/medgemma@sha256:1")),
]  # fmt: skip
"""Profiles and options that together make every template."""
variants = pytest.mark.parametrize(("profile", "asked"), EVERYTHING)


class Refused(AssertionError):
    """helm said no; the text is what it said."""


def helm(*arguments: str, environment: dict[str, str] | None = None, patience: float = 60.0) -> str:
    """What helm prints; `Refused` with its words if it fails. `environment` (ours) names the cluster."""
    command = [str(tools() / "helm"), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=patience, check=False)
    if done.returncode:
        raise Refused(done.stderr.strip() or done.stdout.strip())
    return done.stdout


@functools.cache
def _rendered(profile: str, options: tuple[str, ...]) -> str:
    values = ("-f", str(CHART / f"values-{profile}.yaml")) if profile else ()
    return helm("template", "lv", str(CHART), "-n", "reading", *values, *options)


def render(profile: str, *options: str) -> list[Manifest]:
    """Every object of a profile, hooks and tests included; `options` are helm's own, as --set name=value."""
    return parsed(_rendered(profile, options))


def parsed(text: str) -> list[Manifest]:
    return [each for each in yaml.load_all(text, yaml.CSafeLoader) if each]


def of_kind(manifests: list[Manifest], kind: str) -> dict[str, Manifest]:
    """Those of a kind, by name without the release's and the chart's."""
    return {each["metadata"]["name"].removeprefix("lv-longview-"): each for each in manifests if each["kind"] == kind}


def pods(manifests: list[Manifest]) -> dict[str, Manifest]:
    """Every Pod (metadata and spec) that the objects make, by name and kind."""
    found = {}
    for each in manifests:
        name = f"{each['kind']} {each['metadata']['name'].removeprefix('lv-longview-')}"
        if each["kind"] == "Pod":
            found[name] = each
        elif "template" in each.get("spec", {}):
            found[name] = each["spec"]["template"]
    return found


def containers(pod: Manifest) -> list[Manifest]:
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


def environment(container: Manifest) -> dict[str, str]:
    return {each["name"]: each["value"] for each in container.get("env", [])}
