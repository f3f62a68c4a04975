"""The chart's templates, profile by profile: what the manifests tell our processes is what these understand, and nothing is open that need not be."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from click.testing import CliRunner

from model_runtime.__main__ import main as model_runtime
from model_runtime.settings import PREFIX as MODEL_PREFIX
from model_runtime.settings import ServerSettings, options, refuse_unknown
from schemas.events import INBOUND_TOPICS
from schemas.identifiers import background_queue
from services.bootstrap import GATEWAY_GROUP
from services.cli import main as longview
from services.settings import PREFIX, Settings
from services.worker.service import GRACE
from tests.helm.tools import (
    CHART,
    PROFILES,
    Manifest,
    containers,
    environment,
    helm,
    helm_program,
    of_kind,
    parsed,
    pods,
    render,
)

pytestmark = [
    pytest.mark.helm,
    pytest.mark.skipif(helm_program() is None, reason="helm is not here: run 'make cluster' first"),
]
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
    ("trial", ("--set", "worker.versioning=true")),
    ("hospital", MUTUAL),
    ("hospital", ("--set", "model.checkpoint.existingClaim=", "--set", "model.checkpoint.image.reference=models/medgemma@sha256:1")),
]  # fmt: skip
variants = pytest.mark.parametrize(("profile", "asked"), EVERYTHING)


def _with_files(told: dict[str, str], pod: Manifest, container: Manifest, folder: Path) -> dict[str, str]:
    """The same environment with the files of mounted Secrets and ConfigMaps made in `folder`, as the kubelet would; only those."""
    volumes = {each["name"]: each for each in pod["spec"]["volumes"]}
    for mount in container["volumeMounts"]:
        for source in volumes[mount["name"]].get("projected", {}).get("sources", []):
            (described,) = source.values()
            for item in described["items"]:
                file = folder / mount["mountPath"].lstrip("/") / item["path"]
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text("x" * 40)
    return {name: str(folder / value[1:]) if value.startswith("/etc/") else value for name, value in told.items()}


@variants
def test_every_process_understands_what_it_is_told(profile: str, asked: tuple[str, ...], tmp_path: Path) -> None:
    """A name that is no setting, or a secret's file that is not mounted, ends a process at its start."""
    seen = 0
    for name, pod in pods(render(profile, *asked)).items():
        for container in containers(pod):
            told = _with_files(environment(container), pod, container, tmp_path / name / container["name"])
            if container["command"] == ["longview"]:
                settings = Settings.from_environment(told)
                files = [value for value in told.values() if value.startswith(str(tmp_path))]
                assert all(Path(file).is_file() for file in files), name
                assert settings.store_dir.startswith(("/var/lib/longview/store", "/tmp/store"))
                seen += 1
            else:
                refuse_unknown(told)
                assert not any(
                    variable.startswith(PREFIX) and not variable.startswith(MODEL_PREFIX) for variable in told
                )
    assert seen or profile == "shared-model"


@pytest.mark.parametrize(
    ("profile", "asked"), [("trial", ()), ("hospital", ()), ("shared-model", ()), ("hospital", MUTUAL)]
)
def test_the_model_server_understands_what_it_is_told(
    profile: str, asked: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    manifests = render(profile, *asked)
    (container,) = of_kind(manifests, "Deployment")["model"]["spec"]["template"]["spec"]["containers"]
    for variable, value in environment(container).items():
        monkeypatch.setenv(variable, value)
    given: dict[str, Any] = {}
    command = click.command()(options(lambda **values: given.update(values)))
    assert CliRunner().invoke(command, [], catch_exceptions=False).exit_code == 0
    settings = ServerSettings(**given)
    mounts = {each["mountPath"] for each in container["volumeMounts"]}
    assert str(settings.media_dir) in mounts
    assert str(settings.checkpoint).startswith("/models/")
    assert str(settings.token_file) == "/etc/longview/secrets/model_token"
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    assert (settings.host, settings.port, settings.probe_port) == ("0.0.0.0", ports["http"], ports.get("operations", 0))
    urls = {
        environment(each)["LONGVIEW_MODEL_URL"]
        for pod in pods(manifests).values()
        for each in containers(pod)
        if "LONGVIEW_MODEL_URL" in environment(each)
    }
    assert urls == (
        set() if profile == "shared-model" else {f"{'https' if asked else 'http'}://lv-longview-model:8000"}
    )


@variants
def test_every_process_is_started_by_a_command_that_exists(profile: str, asked: tuple[str, ...]) -> None:
    for name, pod in pods(render(profile, *asked)).items():
        for container in containers(pod):
            if container["command"] == ["longview"]:
                _parse(longview, container["args"])
            else:
                assert container["command"] == ["python", "-P", "-m", "model_runtime"], name
                _parse(model_runtime, container["args"])


def _parse(group: click.Command, arguments: list[str]) -> None:
    """Take the arguments as click would, without doing anything."""
    context = click.Context(group)
    rest = list(arguments)
    while isinstance(group, click.Group):
        name, command, rest = group.resolve_command(context, rest)
        assert command is not None
        group, context = command, click.Context(command, parent=context, info_name=name)
    group.make_context(context.info_name, rest, parent=context.parent)


def test_every_setting_can_be_given_in_one_way() -> None:
    """As a value, a Secret, a file, or because the chart itself decides; a setting that is forgotten here could not be used in a cluster."""
    schema = json.loads((CHART / "values.schema.json").read_text())["properties"]
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    texts = "\n".join(path.read_text() for path in (CHART / "templates").rglob("*") if path.is_file())
    named = {name.lower() for name in re.findall(r'"LONGVIEW_((?!MODEL_SERVER_)[A-Z_]+[A-Z])"', texts)}
    decided = named - {"model_release", "inbox_url"}  # a file unless the checkpoint brings it; taken from `helm test`
    unused = {"ready_file", "worker_current", "model_token_file"}
    ways = [set(schema["settings"]["properties"]), set(values["secrets"]), set(values["files"]), decided, unused]
    assert set().union(*ways) == {each.name for each in fields(Settings)}
    assert sum(map(len, ways)) == len(set().union(*ways))
    secret = {each.name for each in fields(Settings) if each.metadata["secret"]}
    assert secret <= set(values["secrets"])


def test_every_setting_of_the_model_server_can_be_given_in_one_way() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())["properties"]["model"]["properties"]["settings"]
    given = set(schema["properties"])
    templates = "\n".join(path.read_text() for path in (CHART / "templates").glob("*model*"))
    decided = {name.lower() for name in re.findall(r'"LONGVIEW_MODEL_SERVER_([A-Z_]+)"', templates)} | {
        "log_format",
        "traces_url",
    }
    unused = {"family", "ready_file"}
    known = {each.name for each in fields(ServerSettings)}
    assert given <= known <= given | decided | unused
    assert not given & (decided | unused)


def test_who_logs_in_nowhere_is_not_told_where() -> None:
    """A setting that goes with a secret is told to those alone who have the secret: the others would refuse one without the other."""
    told = {name: set(environment(containers(pod)[0])) for name, pod in pods(render("hospital", *CODEC)).items()}
    (worker,) = [name for name in told if name.startswith("Deployment worker-reading-")]
    assert {"LONGVIEW_KAFKA_SECURITY", "LONGVIEW_KAFKA_PASSWORD_FILE"} <= told["Deployment gateway"]
    assert {"LONGVIEW_FHIR_CLIENT_ID", "LONGVIEW_FHIR_KEY_FILE", "LONGVIEW_MODEL_URL"} <= told[worker]
    assert {"LONGVIEW_OIDC_ISSUER", "LONGVIEW_OIDC_CLIENT_SECRET_FILE", "LONGVIEW_INBOX_LOGIN"} <= told[
        "Deployment inbox"
    ]
    for name, variables in told.items():
        for one, other in (
            ("KAFKA_SECURITY", "KAFKA_PASSWORD_FILE"),
            ("FHIR_CLIENT_ID", "FHIR_KEY_FILE"),
            ("OIDC_ISSUER", "OIDC_CLIENT_SECRET_FILE"),
        ):
            assert (PREFIX + one in variables) is (PREFIX + other in variables), name


@variants
def test_every_pod_is_hardened(profile: str, asked: tuple[str, ...]) -> None:
    """What Pod Security `restricted` asks for, and more: a root file system that nobody writes, and no token for Kubernetes."""
    for name, pod in pods(render(profile, *asked)).items():
        spec, security = pod["spec"], pod["spec"]["securityContext"]
        assert security["runAsNonRoot"] is True, name
        assert security["runAsUser"] == security["fsGroup"] == 10001
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False, "Kubernetes would invent LONGVIEW_ variables for Services"
        for container in containers(pod):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "runAsNonRoot": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert {"requests", "limits"} <= set(container["resources"])
            assert any(mount["mountPath"] == "/tmp" for mount in container["volumeMounts"])


@variants
def test_each_component_has_an_account_of_its_own_without_a_token(profile: str, asked: tuple[str, ...]) -> None:
    manifests = render(profile, *asked)
    accounts = of_kind(manifests, "ServiceAccount")
    used = {}
    for name, pod in pods(manifests).items():
        account = pod["spec"]["serviceAccountName"].removeprefix("lv-longview-")
        assert accounts[account]["automountServiceAccountToken"] is False, name
        used.setdefault(account, set()).add(pod["metadata"]["labels"]["app.kubernetes.io/component"])
    assert set(used) == set(accounts)
    assert all(components == {account} for account, components in used.items())
    assert not {"Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding", "Secret"} & {
        each["kind"] for each in manifests
    }


@variants
def test_no_secret_stands_in_a_manifest(profile: str, asked: tuple[str, ...]) -> None:
    secret = {f"{PREFIX}{each.name.upper()}" for each in fields(Settings) if each.metadata["secret"]} | {
        MODEL_PREFIX + "TOKEN"
    }
    for pod in pods(render(profile, *asked)).values():
        for container in containers(pod):
            assert not secret & set(environment(container))
            assert all(set(each) == {"name", "value"} for each in container.get("env", []))


def test_a_process_mounts_no_secret_that_it_does_not_need() -> None:
    def mounted(name: str) -> set[str]:
        for volume in found[name]["spec"]["volumes"]:
            if volume["name"] == "secrets":
                return {item["path"] for source in volume["projected"]["sources"] for item in source["secret"]["items"]}
        return set()

    found = pods(render("hospital", *CODEC))
    assert mounted("Deployment gateway") == {"database_url", "payload_key_file", "kafka_password"}
    assert mounted("Deployment inbox") == {"database_url", "payload_key_file", "oidc_client_secret"}
    assert mounted("Deployment codec") == {"database_url", "payload_key_file", "codec_operators_file"}
    assert mounted("Deployment model") == {"model_token"}
    assert mounted("Job migrate") == {"database_url"}
    (worker,) = [name for name in found if name.startswith("Deployment worker-reading-")]
    assert "kafka_password" not in mounted(worker)


@variants
def test_nothing_is_open_that_is_not_named(profile: str, asked: tuple[str, ...]) -> None:
    """Each Pod has a policy of its own beside the one that closes everything, and no rule is without an end or a port: that would open all."""
    manifests = render(profile, *asked)
    policies = of_kind(manifests, "NetworkPolicy")
    deny = policies.pop("deny")["spec"]
    assert deny["policyTypes"] == ["Ingress", "Egress"]
    assert not {"ingress", "egress"} & set(deny)
    for name, pod in pods(manifests).items():
        labels = pod["metadata"]["labels"].items()
        assert deny["podSelector"]["matchLabels"].items() <= labels
        assert (
            policies[pod["metadata"]["labels"]["app.kubernetes.io/component"]]["spec"]["podSelector"][
                "matchLabels"
            ].items()
            <= labels
        ), name
    for policy in policies.values():
        for rule in policy["spec"]["ingress"]:
            assert rule["from"]
            assert rule["ports"]
        for rule in policy["spec"]["egress"]:
            assert rule["to"]
            assert rule["ports"]
            assert all(peer.get("ipBlock", {}).get("cidr") != "0.0.0.0/0" for peer in rule["to"])


def test_the_gateway_reaches_the_bus_and_not_the_archive() -> None:
    def places(component: str) -> set[str]:
        rules = policies[component]["spec"]["egress"]
        return {str(peer["ipBlock"]["cidr"]) for rule in rules for peer in rule["to"] if "ipBlock" in peer}

    policies = of_kind(render("hospital"), "NetworkPolicy")
    kafka, fhir, archive, database, issuer = (f"10.20.{number}.0/24" for number in range(1, 6))
    assert places("gateway") == {kafka, database}
    assert places("worker-reading") == places("worker-background") == {fhir, archive, database}
    assert places("inbox") == {database, issuer}
    assert places("migrate") == {database}
    assert places("model") == places("schedules") == set()


def test_helm_test_asks_the_inbox_where_a_way_leads_there() -> None:
    def asked(*options: str) -> str:
        return environment(pods(render("hospital", *options))["Pod test"]["spec"]["containers"][0])[
            "LONGVIEW_INBOX_URL"
        ]

    assert asked() == "https://longview.general-hospital.example"
    assert asked("--set", "networkPolicy.egress.inbox=null") == ""
    assert asked("--set", "networkPolicy.egress.inbox=null,networkPolicy.enabled=false") == asked()


def test_both_ends_of_a_way_within_the_release_are_open() -> None:
    """A worker's way out to the model server is a way in there, by the same port and for that worker's Pods alone."""
    policies = of_kind(render("trial"), "NetworkPolicy")
    for caller, called, port in (
        ("worker-reading", "model", 8000),
        ("gateway", "trial-broker", 9092),
        ("inbox", "trial-temporal", 7233),
        ("worker-background", "trial-fhir", 8080),
        ("test", "trial-archive", 8081),
    ):
        ways = [(rule["ports"], _components(rule["to"])) for rule in policies[caller]["spec"]["egress"]]
        assert ([{"protocol": "TCP", "port": port}], {called}) in ways
        (entry,) = [rule for rule in policies[called]["spec"]["ingress"] if rule["ports"][0]["port"] == port]
        assert caller in _components(entry["from"])
    assert "gateway" not in _components(policies["model"]["spec"]["ingress"][0]["from"])


def _components(peers: list[Manifest]) -> set[str]:
    expressions = [each for peer in peers for each in peer.get("podSelector", {}).get("matchExpressions", [])]
    return {value for each in expressions for value in each["values"]}


@variants
def test_probes_ask_what_the_process_says_of_itself(profile: str, asked: tuple[str, ...]) -> None:
    for name, deployment in of_kind(render(profile, *asked), "Deployment").items():
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        ports = {each["name"]: each["containerPort"] for each in container["ports"]}
        if name.startswith("trial-"):
            assert all("part" in str(container[f"{probe}Probe"]) for probe in ("startup", "readiness", "liveness"))
            continue
        told, port = environment(container), "http" if name == "model" and "operations" not in ports else "operations"
        assert ports[port] == int(
            told.get(f"{MODEL_PREFIX}PROBE_PORT") or told.get(f"{MODEL_PREFIX}PORT") or told["LONGVIEW_OPERATIONS_PORT"]
        )
        assert (told.get(f"{MODEL_PREFIX}HOST") or told["LONGVIEW_OPERATIONS_HOST"]) == "0.0.0.0"
        assert container["readinessProbe"]["httpGet"] == {"path": "/ready", "port": port}
        assert container["livenessProbe"]["httpGet"] == {"path": "/health", "port": port}
        assert "startupProbe" in container


def test_a_pod_has_more_time_to_end_than_its_process_takes() -> None:
    deployments = of_kind(render("hospital", "--set", "model.settings.drain_seconds=120", *CODEC), "Deployment")
    for name, deployment in deployments.items():
        spec = deployment["spec"]["template"]["spec"]
        waits = spec["containers"][0].get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        ours = 120 if name == "model" else GRACE.total_seconds()
        assert spec["terminationGracePeriodSeconds"] >= waits + ours + 10, name
        assert waits == (5 if name in ("inbox", "codec", "model") else 0), (
            "who has a Service answers while it is taken off"
        )


@variants
def test_nothing_of_a_release_takes_pods_of_another_part(profile: str, asked: tuple[str, ...]) -> None:
    manifests = render(profile, *asked)
    deployments = of_kind(manifests, "Deployment")
    for name, deployment in deployments.items():
        wanted = deployment["spec"]["selector"]["matchLabels"].items()
        takes = [
            other
            for other, each in deployments.items()
            if wanted <= each["spec"]["template"]["metadata"]["labels"].items()
        ]
        assert takes == [name]
    for each in manifests:
        assert len(each["metadata"]["name"]) <= 63
        if each["kind"] == "PodDisruptionBudget":
            assert each["spec"]["maxUnavailable"] == 1


def test_without_a_login_the_inbox_is_on_its_pods_loopback_alone() -> None:
    trial = render("trial")
    (container,) = of_kind(trial, "Deployment")["inbox"]["spec"]["template"]["spec"]["containers"]
    assert environment(container)["LONGVIEW_INBOX_HOST"] == "127.0.0.1"
    assert "inbox" not in of_kind(trial, "Service")
    assert not of_kind(trial, "Ingress")
    hospital = render("hospital")
    assert of_kind(hospital, "Service")["inbox"]["spec"]["ports"][0]["targetPort"] == "http"
    (ingress,) = of_kind(hospital, "Ingress").values()
    assert ingress["spec"]["tls"] == [{"hosts": ["longview.general-hospital.example"], "secretName": "longview-tls"}]


def test_workers_of_two_versions_live_side_by_side() -> None:
    """Without a cluster to ask (GitOps) the earlier version is named; its Pods run its own image under its own build id."""
    earlier = (
        "--set",
        "worker.previousVersions[0].buildId=0.1.9",
        "--set",
        "worker.previousVersions[0].image=hub/longview/services:0.1.9",
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
        (build, queue, f"{image}:{build}")
        for build, image in (("0.2.0", "longview/services"), ("0.1.9", "hub/longview/services"))
        for queue in ("reading", "background")
    }
    (promote,) = of_kind(render("hospital", *earlier), "Job")["promote"]["spec"]["template"]["spec"]["containers"]
    assert environment(promote)["LONGVIEW_WORKER_BUILD_ID"] == "0.2.0"


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
    assert container["image"] == f"longview/services@{digest}"
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
    assert queues == {("0.2.0", reading): 1, ("0.2.0", background): 1, ("0.1.9", reading): 0, ("0.1.9", background): 0}
    assert "vllm:num_requests_waiting" in scaled["model"]["spec"]["triggers"][0]["metadata"]["query"]
    assert not of_kind(manifests, "HorizontalPodAutoscaler")


def test_where_keda_is_absent_nothing_asks_for_it() -> None:
    manifests = render("hospital", "--set", "autoscaling.provider=hpa")
    assert {each["apiVersion"].split("/")[0] for each in manifests} <= {
        "v1", "apps", "batch", "policy", "autoscaling", "networking.k8s.io", "monitoring.coreos.com",
    }  # fmt: skip
    assert len(of_kind(manifests, "HorizontalPodAutoscaler")) == 4


def test_external_secrets_fetch_every_secret_that_is_mounted() -> None:
    values = yaml.safe_load((CHART / "values-hospital.yaml").read_text())["secrets"]
    remote = [word for name in values for word in ("--set", f"secrets.{name}.remote.key=kv/{name}")]
    manifests = render(
        "hospital", *remote, "--set", "externalSecrets.enabled=true", "--set", "externalSecrets.store.name=vault"
    )
    fetched = {
        (name, entry["secretKey"]) for name, each in _external(manifests).items() for entry in each["spec"]["data"]
    }
    mounted = set()
    for pod in pods(manifests).values():
        for volume in pod["spec"]["volumes"]:
            for source in volume.get("projected", {}).get("sources", []):
                if "secret" in source:
                    mounted |= {(source["secret"]["name"], item["key"]) for item in source["secret"]["items"]}
    assert mounted == fetched
    migrate = of_kind(manifests, "Job")["migrate"]["metadata"]["annotations"]
    for each in _external(manifests).values():
        assert int(each["metadata"]["annotations"]["helm.sh/hook-weight"]) < int(migrate["helm.sh/hook-weight"])


def _external(manifests: list[Manifest]) -> dict[str, Manifest]:
    return {each["metadata"]["name"]: each for each in manifests if each["kind"] == "ExternalSecret"}


def test_gpus_are_asked_for_and_shared_by_one_model() -> None:
    (container,) = of_kind(render("hospital", "--set", "model.gpus=2"), "Deployment")["model"]["spec"]["template"][
        "spec"
    ]["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 2
    assert environment(container)[f"{MODEL_PREFIX}TENSOR_PARALLEL"] == "2"
    store = next(mount for mount in container["volumeMounts"] if mount["name"] == "store")
    assert store["readOnly"] is True
    (shared,) = of_kind(render("shared-model"), "Deployment").values()
    assert "store" not in {each["name"] for each in shared["spec"]["template"]["spec"]["volumes"]}, (
        "no site's disk is mounted"
    )


def test_a_new_escalation_policy_is_a_new_rollout(tmp_path: Path) -> None:
    def checksums(policy: str) -> dict[str, str]:
        values = tmp_path / "more.yaml"
        values.write_text(yaml.safe_dump({"files": {"escalation_file": {"inline": policy}}}))
        text = helm("template", "lv", str(CHART), "-f", str(CHART / "values-hospital.yaml"), "-f", str(values))
        found = of_kind(parsed(text), "Deployment")
        (worker,) = [each for name, each in found.items() if name.startswith("worker-reading-")]
        return {
            each["metadata"]["name"]: each["spec"]["template"]["metadata"]["annotations"]["checksum/files"]
            for each in (worker, found["gateway"])
        }

    before, after = checksums("{}"), checksums('{"stat": {}}')
    changed = {name for name in before if before[name] != after[name]}
    assert len(changed) == 1
    assert "worker-reading" in changed.pop(), "a gateway does not read it"


def test_a_package_of_the_same_chart_holds_the_same_files(tmp_path: Path) -> None:
    import tarfile

    contents = []
    for folder in (tmp_path / "one", tmp_path / "two"):
        helm("package", str(CHART), "-d", str(folder))
        with tarfile.open(next(folder.glob("longview-*.tgz"))) as package:
            contents.append(
                {each.name: (reader.read() if (reader := package.extractfile(each)) else b"") for each in package}
            )
    assert contents[0] == contents[1]
    assert not any(name.endswith(".gotmpl") for name in contents[0])
