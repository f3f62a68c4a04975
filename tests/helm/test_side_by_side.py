"""Workers of several versions, and what scales them."""

from __future__ import annotations

from schemas.events import INBOUND_TOPICS
from schemas.identifiers import background_queue
from services.adapters import GATEWAY_GROUP
from tests.helm.tools import (
    KEDA,
    environment,
    of_kind,
    render,
)

REGISTRY, DIGEST = "registry.general-hospital.example", f"sha256:{'0' * 64}"
BUILD = f"0.2.0-{'0' * 12}"
"""The profile's example."""


def test_workers_of_two_versions_live_side_by_side() -> None:
    """Without a cluster to ask (GitOps) the earlier version is named; its Pods run its own image under its own build id."""
    earlier = (
        "--set",
        "worker.previousVersions[0].buildId=0.1.9",
        "--set",
        "worker.previousVersions[0].image=hub/longview:0.1.9",
    )
    workers = {
        name: each
        for name, each in of_kind(render("hospital", *earlier), "Deployment").items()
        if name.startswith("worker-")
    }
    assert len(workers) == 4
    running = set()
    for worker in workers.values():
        (container,) = worker["spec"]["template"]["spec"]["containers"]
        told = environment(container)
        running.add((told["LONGVIEW_WORKER_BUILD_ID"], told["LONGVIEW_WORKER_QUEUES"], container["image"]))
        assert told["LONGVIEW_WORKER_DEPLOYMENT"] == "reading-lv-longview"
        assert worker["metadata"]["annotations"]["longview.example.org/build-id"] == told["LONGVIEW_WORKER_BUILD_ID"]
        assert worker["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep", "a rollback must not take them"
    assert running == {
        (build, queue, image)
        for build, image in ((BUILD, f"{REGISTRY}/longview@{DIGEST}"), ("0.1.9", "hub/longview:0.1.9"))
        for queue in ("reading", "background")
    }
    (promote,) = of_kind(render("hospital", *earlier), "Job")["promote"]["spec"]["template"]["spec"]["containers"]
    assert environment(promote)["LONGVIEW_WORKER_BUILD_ID"] == BUILD


def test_a_version_that_has_drained_is_taken_away_when_it_is_named() -> None:
    named = (
        "--set",
        "worker.previousVersions[0].buildId=0.1.9",
        "--set",
        "worker.previousVersions[0].image=i",
        "--set",
        "worker.retire={0.1.9}",
    )
    assert of_kind(render("hospital", *named), "Deployment").keys() == of_kind(render("hospital"), "Deployment").keys()


def test_another_image_is_another_version_and_the_digest_wins() -> None:
    digest = "sha256:" + "a" * 64
    names = []
    for given in (("image.tag=0.2.1",), ("image.tag=0.2.2",), ("image.tag=0.2.1", f"image.digest={digest}")):
        deployments = of_kind(render("hospital", *(word for each in given for word in ("--set", each))), "Deployment")
        (name,) = [each for each in deployments if each.startswith("worker-reading-")]
        names.append(name)
    (container,) = deployments[name]["spec"]["template"]["spec"]["containers"]
    assert len(set(names)) == 3
    assert container["image"] == f"{REGISTRY}/longview@{digest}"
    assert environment(container)["LONGVIEW_WORKER_BUILD_ID"] == "0.2.1-aaaaaaaaaaaa"


def test_keda_asks_for_what_our_processes_serve() -> None:
    earlier = ("--set", "worker.previousVersions[0].buildId=0.1.9", "--set", "worker.previousVersions[0].image=i")
    manifests = render("hospital", *KEDA, *earlier)
    scaled, deployments = of_kind(manifests, "ScaledObject"), of_kind(manifests, "Deployment")
    for name, each in scaled.items():
        assert each["spec"]["scaleTargetRef"]["name"] == each["metadata"]["name"]
        assert "replicas" not in deployments[name]["spec"], "helm would undo at each upgrade what KEDA has decided"
    kafka = scaled["gateway"]["spec"]["triggers"][0]["metadata"]
    assert set(kafka["topic"].split(",")) == set(INBOUND_TOPICS)
    assert kafka["consumerGroup"] == GATEWAY_GROUP
    queues = {}
    for name, each in scaled.items():
        if name.startswith("worker-"):
            trigger = each["spec"]["triggers"][0]["metadata"]
            queues[trigger["workerDeploymentBuildId"], trigger["taskQueue"]] = each["spec"]["minReplicaCount"]
            assert (trigger.get("includeRunningWorkflowCount") == "true") is (
                trigger["workerDeploymentBuildId"] == "0.1.9"
            )
    reading, background = "longview", background_queue("longview")
    assert queues == {(BUILD, reading): 1, (BUILD, background): 1, ("0.1.9", reading): 0, ("0.1.9", background): 0}
    assert "vllm:num_requests_waiting" in scaled["model"]["spec"]["triggers"][0]["metadata"]["query"]
    assert not of_kind(manifests, "HorizontalPodAutoscaler")


def test_where_keda_is_absent_nothing_asks_for_it() -> None:
    manifests = render("hospital", "--set", "autoscaling.provider=hpa")
    assert {each["apiVersion"].split("/")[0] for each in manifests} <= {
        "v1", "apps", "batch", "policy", "autoscaling", "networking.k8s.io", "monitoring.coreos.com",
    }  # fmt: skip
    assert len(of_kind(manifests, "HorizontalPodAutoscaler")) == 4
