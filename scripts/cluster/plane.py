"""The processes of a Kubernetes control plane as parts of the launcher: etcd, the API server, the controllers, the scheduler, and kwok,
which says of every node and pod that it is ready. No container runs (ADR-0027).
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from schemas.errors import PartUnavailable
from scripts.cluster.content import objects
from services.parts.environment import cache_folder, part_environment
from services.parts.launcher import Launcher, Report
from services.parts.part import HOST, Command, Launch, Part, Provides
from services.parts.ports import free_port
from services.parts.probes import NotReady
from services.parts.state import PartsFile, write_private
from services.settings import Settings

SECONDS = "60s"
"""How long the API server may take to have what it is given in use."""


def tools() -> Path:
    """Where `scripts/cluster/build.sh` leaves its programs; `PartUnavailable` if it has not been run."""
    folder = cache_folder() / "cluster" / "bin"
    if not (folder / "helm-docs").exists():
        raise PartUnavailable("cluster-tools", "the control plane is not built: run 'make cluster' first.")
    return folder


def kubeconfig(state: Path) -> Path:
    """How the cluster of this state folder is reached, with an administrator's token."""
    return state / "kubeconfig"


def kubectl(state: Path, *arguments: str, given: Any = None) -> str:
    """What kubectl says; `given` (one object or a list of them) is its standard input. `NotReady` with its last line if it fails."""
    if isinstance(given, list):
        given = {"apiVersion": "v1", "kind": "List", "items": given}
    command = [str(tools() / "kubectl"), "--kubeconfig", str(kubeconfig(state)), *arguments]
    done = subprocess.run(
        command, input=json.dumps(given) if given else "", capture_output=True, text=True, timeout=120, check=False
    )
    if done.returncode:
        raise NotReady((done.stderr.strip().splitlines() or ["kubectl ended without a word"])[-1])
    return done.stdout


def control_plane(state: Path, report: Report = lambda outcome: None) -> Launcher:
    """The launcher of a control plane whose data, keys and logs are in `state`."""
    return Launcher(Settings(state_dir=str(state)), parts=PARTS, report=report)


def _program(name: str, *arguments: str) -> Command:
    return Command([str(tools() / name), *arguments], part_environment())


def _etcd(launch: Launch) -> Command:
    """Data that outlives a restart of the cluster and no power cut: nothing is forced to disk."""
    client, peer = f"http://{launch.address}", f"http://{HOST}:{free_port()}"
    return _program(
        "etcd",
        *("--data-dir", str(launch.folder / "data"), "--unsafe-no-fsync", "--log-level", "warn"),
        *("--listen-client-urls", client, "--advertise-client-urls", client),
        *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}"),
    )


def _api_server(launch: Launch) -> Command:
    """Its certificate is made by itself; the key that signs service accounts' tokens and the administrator's token are made here, once."""
    state, folder = launch.settings.state, launch.folder
    tokens, key = folder / "tokens.csv", _signing_key(state)
    if not tokens.exists():
        write_private(tokens, f'{secrets.token_hex(24)},admin,admin,"system:masters"\n'.encode())
    token = tokens.read_text().partition(",")[0]
    write_private(kubeconfig(state), json.dumps(_access(launch.port, folder / "apiserver.crt", token)).encode())
    etcd = PartsFile(state).read()["etcd"].url
    return _program(
        "controlplane",
        *("kube-apiserver", "--etcd-servers", f"http://{etcd}", "--authorization-mode", "Node,RBAC"),
        # Told no address to advertise, it looks for a default route, which a closed machine lacks.
        *("--bind-address", HOST, "--advertise-address", HOST, "--secure-port", str(launch.port)),
        *("--cert-dir", str(folder), "--endpoint-reconciler-type", "none", "--token-auth-file", str(tokens)),
        *("--service-cluster-ip-range", "10.96.0.0/16"),
        *("--service-account-issuer", "https://kubernetes.default.svc"),
        *("--service-account-key-file", str(key), "--service-account-signing-key-file", str(key)),
    )


def _signing_key(state: Path) -> Path:
    path = state / "apiserver" / "service-accounts.key"
    if not path.exists():
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        write_private(path, key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()))
    return path


def _access(port: int, authority: Path, token: str) -> dict[str, Any]:
    """A kubeconfig, which may be JSON."""
    cluster = {"server": f"https://{HOST}:{port}", "certificate-authority": str(authority)}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "longview", "cluster": cluster}],
        "users": [{"name": "admin", "user": {"token": token}}],
        "contexts": [{"name": "longview", "context": {"cluster": "longview", "user": "admin"}}],
        "current-context": "longview",
    }


def _follower(launch: Launch, name: str, *arguments: str) -> Command:
    """The controllers and the scheduler: both follow the API server and ask it whom they may answer."""
    access = str(kubeconfig(launch.settings.state))
    return _program(
        "controlplane",
        *(name, "--kubeconfig", access, "--authentication-kubeconfig", access, "--authorization-kubeconfig", access),
        *("--bind-address", HOST, "--secure-port", str(launch.port), "--cert-dir", str(launch.folder)),
        *("--leader-elect=false", *arguments),
    )


def _controllers(launch: Launch) -> Command:
    state = launch.settings.state
    keys = ("--service-account-private-key-file", str(_signing_key(state)))
    authority = ("--root-ca-file", str(state / "apiserver" / "apiserver.crt"))
    # A node that is not heard of for a while on a busy machine would be taken for dead, and its pods for unready; kwok never says otherwise again.
    patient = ("--node-monitor-grace-period", "1h")
    return _follower(launch, "kube-controller-manager", *keys, *authority, *patient)


def _kwok(launch: Launch) -> Command:
    command = _program(
        "kwok",
        *("--kubeconfig", str(kubeconfig(launch.settings.state)), "--manage-all-nodes=true"),
        *("--node-lease-duration-seconds", "40"),  # it tells of its nodes as kubelets do
        *("--node-ip", HOST, "--server-address", launch.address),
    )
    command.environment["KWOK_WORKDIR"] = str(launch.folder)
    return command


def _listens(launch: Launch) -> None:
    try:
        socket.create_connection((HOST, launch.port), timeout=1).close()
    except OSError as error:
        raise NotReady("it does not listen") from error


def _fill(launch: Launch) -> Provides:
    """Definitions of foreign kinds, nodes and volumes; done once all are in use."""
    state = launch.settings.state
    definitions = sorted(str(file) for file in (tools().parent / "crds").glob("*/definitions.yaml"))
    files = [argument for file in definitions for argument in ("-f", file)]
    kubectl(state, "apply", "--server-side", "--force-conflicts", *files)
    kubectl(state, "apply", "--server-side", "--force-conflicts", "-f", "-", given=objects())
    kubectl(state, "wait", "--for=condition=Established", "crd", "--all", f"--timeout={SECONDS}")
    kubectl(state, "wait", "--for=condition=Ready", "node", "--all", f"--timeout={SECONDS}")
    # Pods are refused before their namespace has its service account, and go to no node that was not ready a moment ago.
    kubectl(state, "wait", "--for=create", "serviceaccount/default", f"--timeout={SECONDS}")
    unready = "{.items[*].spec.taints[?(@.key=='node.kubernetes.io/not-ready')].key}"
    for _ in range(100):
        if not kubectl(state, "get", "nodes", "-o", f"jsonpath={unready}"):
            return {}
    raise NotReady("its nodes stay tainted as not ready")


MEND = "look at its log, or remove the state folder"
ETCD = Part("etcd", "etcd", "etcd", MEND, command=_etcd, healthy=_listens)
API_SERVER = Part(
    "apiserver", "the API server", "kubernetes", MEND,
    needs=("etcd",),
    command=_api_server,
    healthy=lambda launch: _ready(launch.settings.state),
)  # fmt: skip
CONTROLLERS = Part(
    "controllers", "the controller manager", "kubernetes", MEND,
    needs=("apiserver",), command=_controllers, healthy=_listens,
)  # fmt: skip
SCHEDULER = Part(
    "scheduler", "the scheduler", "kubernetes", MEND,
    needs=("apiserver",), command=lambda launch: _follower(launch, "kube-scheduler"), healthy=_listens,
)  # fmt: skip
KWOK = Part("kwok", "kwok", "kwok", MEND, needs=("apiserver",), command=_kwok, healthy=_listens)
CONTENT = Part(
    "content", "the nodes and definitions", "kubernetes", MEND,
    needs=("controllers", "scheduler", "kwok"), step=_fill, has_port=False,
)  # fmt: skip
PARTS = (ETCD, API_SERVER, CONTROLLERS, SCHEDULER, KWOK, CONTENT)


def _ready(state: Path) -> None:
    kubectl(state, "--request-timeout=5s", "get", "--raw", "/readyz")


def environment(state: Path) -> dict[str, str]:
    """What a program needs to reach this cluster, and no other that the user may have."""
    return os.environ | {"KUBECONFIG": str(kubeconfig(state)), "PATH": f"{tools()}{os.pathsep}{os.environ['PATH']}"}
