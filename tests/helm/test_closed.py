"""Nothing of the chart is open that need not be: Pods, accounts, secrets, the network, the inbox."""

from __future__ import annotations

from dataclasses import fields

import yaml

from model_runtime.settings import PREFIX as MODEL_PREFIX
from services.settings import PREFIX, Settings
from tests.helm.tools import (
    CHART,
    CODEC,
    Manifest,
    containers,
    environment,
    of_kind,
    pods,
    render,
    variants,
)


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
