"""What a runbook tells whoever has the shift to type works in what the chart makes: the objects exist, and their Pods have the settings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.cli import main as longview
from tests.helm.tools import CODEC, ROOT, Manifest, containers, environment, of_kind, pods, render

PAGES = [*sorted((ROOT / "docs" / "runbooks").glob("*.md")), ROOT / "docs" / "security.md"]
NEEDS = {
    "dead-letters": {"DATABASE_URL", "STORE_DIR"},
    "replay": {"DATABASE_URL", "KAFKA_BOOTSTRAP"},
    "publish": {"KAFKA_BOOTSTRAP"},
    "runs": {"DATABASE_URL"},
    "keys": {"PAYLOAD_KEY_FILE"},
    "reconcile": {"TEMPORAL_ADDRESS", "DATABASE_URL"},
    "report": {"DATABASE_URL"},
    "timeline": {"FHIR_URL", "DICOMWEB_URL", "DATABASE_URL"},
    "workers": {"TEMPORAL_ADDRESS", "WORKER_DEPLOYMENT", "WORKER_BUILD_ID"},
}
"""What each command cannot do without."""
_EXEC = re.compile(
    r"exec (?:deploy/(?P<deploy>[\w-]+)|\"\$\(.*?component=(?P<component>[\w-]+).*?\)\") -- longview (?P<command>[\w-]+)"
)
_SELECTED = re.compile(r"-l (app\.kubernetes\.io/[\w-]+)=([\w-]+)")
_SAID = re.compile(r"`longview ([a-z-]+)[^`]*`")
_LISTED = re.compile(r"\(((?:`[a-z-]+`(?:, )?)+)\)")


@pytest.fixture(scope="module")
def manifests() -> list[Manifest]:
    """A hospital's, as the runbooks call it."""
    return render("hospital", *CODEC)


def told(pod: Manifest) -> set[str]:
    """Names of the settings that a Pod's processes have, without LONGVIEW_; a secret's file is the setting."""
    names = {name for container in containers(pod) for name in environment(container)}
    return {name.removeprefix("LONGVIEW_") for name in names} | {
        name.removeprefix("LONGVIEW_").removesuffix("_FILE") for name in names
    }


def pod_of(manifests: list[Manifest], component: str) -> Manifest:
    labelled = [
        pod for pod in pods(manifests).values() if pod["metadata"]["labels"]["app.kubernetes.io/component"] == component
    ]
    assert labelled, f"no Pod has component={component}"
    return labelled[0]


def commands() -> Iterator[tuple[Path, re.Match[str]]]:
    for page in PAGES:
        for found in _EXEC.finditer(page.read_text()):
            yield page, found


def test_each_command_runs_where_its_settings_are(manifests: list[Manifest]) -> None:
    seen = 0
    deployments = of_kind(manifests, "Deployment")
    for page, found in commands():
        seen += 1
        if name := found["deploy"]:
            assert name.removeprefix("longview-") in deployments, f"{page.name}: there is no deploy/{name}"
            pod = deployments[name.removeprefix("longview-")]["spec"]["template"]
        else:
            pod = pod_of(manifests, found["component"])
        missing = NEEDS[found["command"]] - told(pod)
        assert not missing, f"{page.name}: longview {found['command']} has no {', '.join(sorted(missing))} there"
    assert seen >= 4


def test_each_command_that_a_runbook_names_is_one_and_the_first_page_says_where_it_runs(
    manifests: list[Manifest],
) -> None:
    first = (ROOT / "docs" / "runbooks" / "README.md").read_text()
    gateway, workers = (set(re.findall("`([a-z-]+)`", listed[1])) for listed in _LISTED.finditer(first))
    for component, listed in (("gateway", gateway), ("worker-background", workers)):
        settings = told(pod_of(manifests, component))
        for command in listed:
            assert NEEDS[command] <= settings, f"{command} does not run in the Pod of {component}"
    for page in PAGES[:-1]:
        for command in _SAID.findall(page.read_text()):
            assert command in longview.commands, f"{page.name}: longview {command} is no command"
            assert command in gateway | workers, f"{page.name}: nobody says where longview {command} runs"


def test_what_is_selected_is_there(manifests: list[Manifest]) -> None:
    labels = {pair for pod in pods(manifests).values() for pair in pod["metadata"]["labels"].items()}
    for page in PAGES:
        for name, value in _SELECTED.findall(page.read_text()):
            assert (name, value) in labels, f"{page.name}: no Pod has {name}={value}"


def test_the_release_looks_at_itself(manifests: list[Manifest]) -> None:
    """`helm test`, which the first page begins with, has what `longview doctor --deployed` asks for."""
    [pod] = [
        each
        for each in manifests
        if each["metadata"].get("annotations", {}).get("helm.sh/hook") == "test" and each["kind"] == "Pod"
    ]
    assert (
        "helm -n longview test longview --logs" in PAGES[0].read_text() + (ROOT / "docs/runbooks/README.md").read_text()
    )
    assert {
        "FHIR_URL",
        "DICOMWEB_URL",
        "KAFKA_BOOTSTRAP",
        "TEMPORAL_ADDRESS",
        "DATABASE_URL",
        "MODEL_URL",
        "OIDC_ISSUER",
    } <= told(pod)
