"""A department's namespace has a budget: the chart says what it needs, fits into it, and does not start beyond it."""

from __future__ import annotations

from collections import defaultdict

import pytest

from tests.helm.cluster import Cluster, Release
from tests.helm.tools import Manifest, Refused

BUDGETED = ("requests.cpu", "requests.memory", "limits.memory")


def test_the_trial_fits_into_a_budget_and_into_the_limits_of_a_container(cluster: Cluster) -> None:
    """Under such a quota a container without requests and a limit of memory is refused: none of ours is, hooks included."""
    contents = (_quota({"requests.cpu": "64", "requests.memory": "256Gi", "limits.memory": "256Gi"}), _limits())
    with Release.place(cluster, "trial", "budget", contents=contents) as release:
        release.install()
        (quota,) = release.get("resourcequota")
        assert all(quota["status"]["used"][name] != "0" for name in BUDGETED), quota["status"]["used"]


def test_beyond_the_budget_the_installation_fails_and_says_why(cluster: Cluster) -> None:
    contents = (_quota({"requests.cpu": "1", "requests.memory": "1Gi", "limits.memory": "1Gi"}),)
    with Release.place(cluster, "trial", "poor", contents=contents) as release:
        with pytest.raises(Refused, match=r"timed out|deadline|not ready"):
            release.install(*_hurry())
        reasons = defaultdict(list)
        for event in release.get("events"):
            reasons[event["reason"]].append(event["message"])
        assert any("exceeded quota: budget" in message for message in reasons["FailedCreate"])


def _hurry() -> tuple[str, ...]:
    return ("--timeout", "15s")


def _quota(hard: dict[str, str]) -> Manifest:
    return {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "budget"}, "spec": {"hard": hard}}


def _limits() -> Manifest:
    most = {"type": "Container", "max": {"cpu": "32", "memory": "128Gi"}, "min": {"cpu": "10m", "memory": "16Mi"}}
    return {"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "container"}, "spec": {"limits": [most]}}
