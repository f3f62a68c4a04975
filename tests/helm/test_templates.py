"""The chart's templates, profile by profile: what the manifests tell our processes is what these understand."""

from __future__ import annotations

import json
import re
import tarfile
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
from scripts.images.catalog import TAGS
from services.cli import main as longview
from services.settings import PREFIX, Settings
from tests.helm.tools import (
    CHART,
    CODEC,
    MUTUAL,
    Manifest,
    containers,
    environment,
    helm,
    of_kind,
    parsed,
    pods,
    render,
    variants,
)


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
    decided = named - {"model_release", "inbox_url"}  # given, and filled in or left out in one place
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
        ours = 125 if name == "model" else int(environment(spec["containers"][0])["LONGVIEW_GRACE_SECONDS"])
        assert spec["terminationGracePeriodSeconds"] >= waits + ours + 5, name
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


@pytest.mark.parametrize("name", ["escalation_file", "critical_list_file"])
def test_what_decides_who_is_told_is_a_new_rollout_of_the_workers(tmp_path: Path, name: str) -> None:
    def checksums(policy: str) -> dict[str, str]:
        values = tmp_path / "more.yaml"
        values.write_text(yaml.safe_dump({"files": {name: {"inline": policy}}}))
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
    contents = []
    for folder in (tmp_path / "one", tmp_path / "two"):
        helm("package", str(CHART), "-d", str(folder))
        with tarfile.open(next(folder.glob("longview-*.tgz"))) as package:
            contents.append(
                {each.name: (reader.read() if (reader := package.extractfile(each)) else b"") for each in package}
            )
    assert contents[0] == contents[1]
    assert not any(name.endswith(".gotmpl") for name in contents[0])


def test_images_are_called_what_they_are_called_where_they_are_built() -> None:
    """One table: a name that nobody builds is a Pod that never starts."""
    deployments = of_kind(render("trial"), "Deployment") | of_kind(
        render("trial", "--set", "model.device=gpu"), "Deployment"
    )
    used = {
        container["image"].rpartition(":")[0]
        for each in deployments.values()
        for container in containers(each["spec"]["template"])
    }
    assert used | {TAGS["cpu"]} == set(TAGS.values())
    (text,) = [path.read_text() for path in [CHART / "templates" / "_names.tpl"]]
    table = json.loads(re.search(r'imageNames" -}}\n(.*)\n', text)[1])  # type: ignore[index]
    assert table == TAGS


def test_nothing_that_runs_before_the_release_waits_for_a_part_of_it() -> None:
    """A file that is given in the values is a ConfigMap of the release, which is not there yet when the migration runs."""
    inline = ("--set", "files.ca_file.configMap=", "--set", "files.ca_file.inline=PEM")
    manifests = render("hospital", *inline)
    early = [
        each for each in manifests if "pre-install" in each["metadata"].get("annotations", {}).get("helm.sh/hook", "")
    ]
    made = {(each["kind"], each["metadata"]["name"]) for each in manifests if each not in early}
    seen = 0
    for name, pod in pods(early).items():
        for volume in pod["spec"]["volumes"]:
            for source in volume.get("projected", {}).get("sources", []):
                for kind, described in source.items():
                    seen += 1
                    wanted = (kind[0].upper() + kind[1:], described["name"])
                    assert wanted not in made, f"{name} mounts {wanted}, which is not there before it"
    assert seen
    weights = {each["kind"]: int(each["metadata"]["annotations"]["helm.sh/hook-weight"]) for each in early}
    assert weights["ConfigMap"] < weights["Job"]


MONITORED = ("--set", "monitoring.enabled=true", "--api-versions", "monitoring.coreos.com/v1/PrometheusRule")


def _alerts(*asked: str) -> dict[str, str]:
    """Expression of each alert."""
    (rules,) = of_kind(render("hospital", *MONITORED, *asked), "PrometheusRule").values()
    return {rule["alert"]: rule["expr"] for group in rules["spec"]["groups"] for rule in group["rules"]}


def test_alarms_are_of_this_installation_and_of_what_it_runs() -> None:
    """Of two installations in one Prometheus, one that is well must not stand in for one that is gone."""
    alerts = _alerts()
    assert 'absent(longview_build_info{namespace="reading", process="gateway"})' in alerts["LongviewProcessGone"]
    assert alerts["LongviewModelGone"] == 'absent(vllm:num_requests_running{namespace="reading"})'
    assert 'process="codec"' not in alerts["LongviewProcessGone"], "it is not run, and would be missed for ever"
    assert 'process="codec"' in _alerts(*CODEC)["LongviewProcessGone"]
    assert "absent" not in " ".join(expression for name, expression in alerts.items() if not name.endswith("Gone"))
    elsewhere = (
        "--set",
        "networkPolicy.enabled=false,model.enabled=false,model.url=https://m.example,model.checkpoint.existingClaim=",
        "--set",
        "files.model_release.configMap=r",
    )
    assert "LongviewModelGone" not in _alerts(*elsewhere)


def test_workers_fetch_no_weights_for_a_page_of_json() -> None:
    def mounts(*asked: str) -> set[str]:
        return {
            name.partition("-")[0].partition(" ")[2]
            for name, pod in pods(render("hospital", *asked)).items()
            if any(volume["name"] == "checkpoint" for volume in pod["spec"]["volumes"])
        }

    assert mounts() == {"model"}
    assert mounts("--set", "files.model_release.configMap=") == {"model", "worker", "test"}
