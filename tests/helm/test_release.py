"""Each profile, installed as it stands: what an administrator of the cluster would look at before letting it in."""

from __future__ import annotations

import json
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields

import pytest

from scripts.cluster.content import GPU, ROOMS
from scripts.cluster.plane import environment, kubectl
from services.parts.probes import NotReady
from services.settings import PREFIX, Settings
from tests.helm.cluster import Cluster, Release
from tests.helm.manifests import render, workloads
from tests.helm.tools import Manifest

SECRET_VARIABLES = {PREFIX + each.name.upper() for each in fields(Settings) if each.metadata["secret"]}
OUR_LABEL = "app.kubernetes.io/instance=longview"


def test_everything_is_ready_and_nothing_was_refused(installed: Release) -> None:
    short = {
        name: each["status"].get("availableReplicas", 0)
        for name, each in installed.deployments().items()
        if each["status"].get("availableReplicas", 0) < each["spec"]["replicas"]
    }
    refused = [
        f"{e['reason']}: {e['message']}"
        for e in installed.get("events")
        if e["reason"] in ("FailedCreate", "FailedScheduling")
    ]
    assert installed.deployments()
    assert short == {}
    assert refused == []


def test_replicas_stand_in_both_zones(installed: Release) -> None:
    for name, deployment in installed.deployments().items():
        zones = Counter(ROOMS[pod["spec"]["nodeName"]] for pod in _pods_of(installed, deployment))
        if deployment["spec"]["replicas"] > 1:
            assert len(zones) == 2, f"all pods of {name} stand in one zone: {zones}"
            assert max(zones.values()) - min(zones.values()) <= 1, f"{name}: {zones}"


def test_a_drained_node_takes_no_service_with_it(installed: Release, cluster: Cluster) -> None:
    """While no replacement can start, the first of two pods may be evicted and the second may not."""
    budgets = {
        json.dumps(b["spec"]["selector"]["matchLabels"], sort_keys=True): b
        for b in installed.get("poddisruptionbudgets")
    }
    several = {n: d for n, d in installed.deployments().items() if d["spec"]["replicas"] > 1}
    for name, deployment in several.items():
        covering = [
            b
            for b in budgets.values()
            if b["spec"]["selector"]["matchLabels"].items()
            <= deployment["spec"]["template"]["metadata"]["labels"].items()
        ]
        assert len(covering) == 1, f"{name} has {len(covering)} disruption budgets"
        assert covering[0]["status"]["disruptionsAllowed"] >= 1, f"no node under {name} could ever be drained"
    if not several:
        pytest.skip("this profile runs one of each")
    name, deployment = next(iter(several.items()))
    with _cordoned(cluster):
        answers = [_evict(cluster, pod) for pod in _pods_of(installed, deployment)]
    assert answers[0] == "evicted"
    assert "violate the pod's disruption budget" in answers[-1]
    cluster.kubectl("-n", installed.namespace, "rollout", "status", f"deployment/{name}", "--timeout=60s")


def test_no_pod_carries_a_token_of_the_api_server(installed: Release) -> None:
    for pod in installed.get("pods"):
        sources = [s for v in pod["spec"].get("volumes", []) for s in v.get("projected", {}).get("sources", [])]
        assert not [s for s in sources if "serviceAccountToken" in s], pod["metadata"]["name"]
        assert pod["spec"]["serviceAccountName"] != "default", pod["metadata"]["name"]


@pytest.mark.parametrize(
    "action",
    [
        "get secrets",
        "list pods",
        "create pods",
        "get configmaps",
        "create jobs",
        "patch deployments",
        "create pods/exec",
    ],
)
def test_our_service_accounts_may_do_nothing(installed: Release, action: str) -> None:
    accounts = {pod["spec"]["serviceAccountName"] for pod in installed.get("pods")}
    assert accounts
    for account in accounts:
        assert _may(installed, f"system:serviceaccount:{installed.namespace}:{account}", action) == "no"
    assert _may(installed, "admin", action) == "yes", "the question itself is one that somebody may"


def test_no_secret_stands_in_a_manifest(installed: Release) -> None:
    manifests = installed.manifests()
    text = json.dumps(manifests)
    for name, values in installed.secrets.items():
        assert not [key for key, value in values.items() if value in text], (
            f"the value of a key of {name} stands in a manifest"
        )
    assert not [m["metadata"]["name"] for m in manifests if m["kind"] == "Secret"]
    for workload in workloads(manifests):
        for container in workload.containers:
            told = {entry["name"] for entry in container.get("env", [])}
            assert not told & SECRET_VARIABLES, f"{workload} has a secret as an environment variable"


def test_every_pod_is_under_a_network_policy_both_ways(installed: Release) -> None:
    """That a policy holds is the network plugin's to show; that one is there, and selects the pod, is seen here."""
    policies = installed.get("networkpolicies")
    for pod in installed.get("pods"):
        labels = pod["metadata"]["labels"]
        ways = {
            way
            for policy in policies
            if _selects(policy["spec"]["podSelector"], labels)
            for way in policy["spec"]["policyTypes"]
        }
        assert ways == {"Ingress", "Egress"}, pod["metadata"]["name"]


def test_models_stand_on_nodes_with_gpus_and_nothing_else_does(installed: Release) -> None:
    for pod in installed.get("pods"):
        asks = sum(int(c.get("resources", {}).get("limits", {}).get(GPU, 0)) for c in pod["spec"]["containers"])
        assert (asks > 0) == pod["spec"]["nodeName"].startswith("gpu"), pod["metadata"]["name"]


def test_services_find_pods(installed: Release) -> None:
    """Every Service selects ready pods, and each of its ports is one that a container names."""
    slices = {s["metadata"]["labels"]["kubernetes.io/service-name"]: s for s in installed.get("endpointslices")}
    for service in installed.get("services"):
        name = service["metadata"]["name"]
        assert slices[name]["endpoints"], f"no pod is behind {name}"
        assert len(slices[name]["ports"]) == len(service["spec"]["ports"]), f"{name} has a port that no container names"


def test_the_api_server_knows_every_field(installed: Release, cluster: Cluster) -> None:
    """Strict field validation of everything, hooks and tests included, against a server that has the foreign kinds too."""
    manifests = render(installed.profile, namespace=installed.namespace)
    cluster.kubectl(
        "apply",
        "-n",
        installed.namespace,
        "--dry-run=server",
        "--validate=strict",
        "--force-conflicts",
        "--server-side",
        "-f",
        "-",
        given=manifests,
    )


def test_the_namespace_refuses_a_pod_that_is_not_hardened(installed: Release, cluster: Cluster) -> None:
    """Else the tests before this one would say nothing about ours."""
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "loose"},
        "spec": {"containers": [{"name": "a", "image": "a"}]},
    }
    with pytest.raises(NotReady, match=r'violates PodSecurity "restricted'):
        cluster.kubectl("create", "-n", installed.namespace, "-f", "-", given=pod)


def _pods_of(release: Release, deployment: Manifest) -> list[Manifest]:
    selector = ",".join(f"{k}={v}" for k, v in deployment["spec"]["selector"]["matchLabels"].items())
    return [pod for pod in release.get("pods", "-l", selector) if "deletionTimestamp" not in pod["metadata"]]


def _selects(selector: Manifest, labels: dict[str, str]) -> bool:
    """A label selector (equalities and the four set operators)."""
    tests = {
        "In": lambda key, values: labels.get(key) in values,
        "NotIn": lambda key, values: labels.get(key) not in values,
        "Exists": lambda key, values: key in labels,
        "DoesNotExist": lambda key, values: key not in labels,
    }
    return selector.get("matchLabels", {}).items() <= labels.items() and all(
        tests[e["operator"]](e["key"], e.get("values", [])) for e in selector.get("matchExpressions", [])
    )


def _may(release: Release, who: str, action: str) -> str:
    verb, kind = action.split()
    command = ["kubectl", "auth", "can-i", verb, kind, "-n", release.namespace, "--as", who]
    if who == "admin":
        command[-2:] = []
    done = subprocess.run(command, env=environment(release.cluster.state), capture_output=True, text=True, check=False)
    return done.stdout.strip()


@contextmanager
def _cordoned(cluster: Cluster) -> Iterator[None]:
    cluster.kubectl("cordon", *ROOMS)
    try:
        yield
    finally:
        cluster.kubectl("uncordon", *ROOMS)


def _evict(cluster: Cluster, pod: Manifest) -> str:
    """What the API server says to an eviction, as `kubectl drain` asks for it."""
    name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": namespace}}
    path = f"/api/v1/namespaces/{namespace}/pods/{name}/eviction"
    try:
        kubectl(cluster.state, "create", "--raw", path, "-f", "-", given=eviction)
    except NotReady as refusal:
        return str(refusal)
    deadline = time.monotonic() + 30  # the budget's controller counts what is left
    while time.monotonic() < deadline:
        pods = {each["metadata"]["name"] for each in cluster.get("pods", "-n", namespace)}
        if name not in pods:
            break
        time.sleep(0.2)
    return "evicted"
