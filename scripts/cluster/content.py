"""What a hospital's cluster holds before Longview comes: nodes in two zones, nodes with GPUs, volumes that many nodes may mount."""

from __future__ import annotations

from typing import Any

ZONE = "topology.kubernetes.io/zone"
GPU = "nvidia.com/gpu"
ROOMS = {"cpu-a-1": "room-a", "cpu-a-2": "room-a", "cpu-b-1": "room-b", "gpu-a-1": "room-a", "gpu-b-1": "room-b"}
"""Node -> zone. Nodes whose name begins with `gpu` have four GPUs each and are kept, by a taint, for pods that tolerate it."""
VOLUMES = 16


def node(name: str, zone: str) -> dict[str, Any]:
    """A node that kwok reports as ready; nothing runs on it."""
    resources = {"cpu": "16", "memory": "64Gi", "pods": "110", "ephemeral-storage": "1Ti"}
    labels = {
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/hostname": name,
        "topology.kubernetes.io/region": "site",
        ZONE: zone,
    }
    taints = []
    if name.startswith("gpu"):
        resources |= {"cpu": "64", "memory": "512Gi", GPU: "4"}
        labels[f"{GPU}.present"] = "true"  # as NVIDIA's feature discovery does
        taints = [{"key": GPU, "value": "present", "effect": "NoSchedule"}]
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "spec": {"taints": taints},
        "status": {"capacity": resources, "allocatable": resources},
    }


def storage_class() -> dict[str, Any]:
    """The class that claims get when they name none; its volumes are made by hand (`volume`)."""
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": "shared-disk",
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "Immediate",
    }


def volume(number: int) -> dict[str, Any]:
    """A volume that takes any claim of up to 20 TiB; nothing is ever mounted from it."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"shared-{number}"},
        "spec": {
            "storageClassName": "shared-disk",
            "capacity": {"storage": "20Ti"},
            "accessModes": ["ReadWriteOnce", "ReadWriteMany", "ReadOnlyMany"],
            "persistentVolumeReclaimPolicy": "Retain",
            "nfs": {"server": "nowhere.invalid", "path": f"/{number}"},
        },
    }


def objects() -> list[dict[str, Any]]:
    return [*(node(name, zone) for name, zone in ROOMS.items()), storage_class(), *map(volume, range(VOLUMES))]
