"""Alerts, runbooks and dashboards: each names only what exists, and none is without the others."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from services.cli import main
from services.operations.metric import Metric
from services.operations.metrics import BY_NAME

ROOT = Path(__file__).parents[2]
RULES = ROOT / "helm" / "longview" / "alerts" / "longview.yaml"
TESTS = ROOT / "tests" / "alerts" / "longview_test.yaml"
RUNBOOKS = ROOT / "docs" / "runbooks"
DASHBOARDS = sorted((ROOT / "helm" / "longview" / "dashboards").glob("*.json"))
BASE = "https://runbooks.example.org/longview/"
HEADINGS = ("What it means for patients", "Look at", "Mend", "Whom to wake", "It is over when")

RULE: list[dict[str, Any]] = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def kebab(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "-", name).lower()


def series() -> dict[str, Metric]:
    """Every name that a query may use, with the metric that it is of."""
    found = {}
    for metric in BY_NAME.values():
        suffixes = ("_bucket", "_sum", "_count") if metric.kind == "histogram" else ("",)
        found |= {metric.name + suffix: metric for suffix in suffixes}
    return found


def names_in(expression: str) -> list[str]:
    """Metrics that a PromQL expression asks for."""
    bare = re.sub(r'"[^"]*"', '""', expression)
    return re.findall(r"\b(?:longview|temporal|vllm)[_:][a-z0-9_:]+", bare)


def selectors(expression: str) -> Iterator[tuple[str, str, str]]:
    """(metric, label, values) of each matcher."""
    for name, matchers in re.findall(r"\b((?:longview|temporal|vllm)[_:][a-z0-9_:]+)\{([^}]*)\}", expression):
        for label, _, told in re.findall(r'(\w+)(=~|!~|!=|=)"([^"]*)"', matchers):
            yield name, label, told


def expressions() -> list[tuple[str, str]]:
    found = [(rule["alert"], rule["expr"]) for rule in RULE]
    for file in DASHBOARDS:
        for panel in json.loads(file.read_text())["panels"]:
            found += [(f"{file.name}: {panel['title']}", target["expr"]) for target in panel["targets"]]
    return found


# -- queries -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("place", "expression"), expressions())
def test_a_query_asks_only_for_metrics_and_labels_of_the_list(place: str, expression: str) -> None:
    known, given = series(), {"namespace", "pod", "instance"}
    assert names_in(expression)
    for name in names_in(expression):
        assert name in known, f"{place} asks for {name}"
    for name, label, told in selectors(expression):
        if label in given or label == "le":
            continue
        [listed] = [each for each in known[name].labels if each.name == label]
        for value in told.split("|"):
            assert not listed.values or value in listed.values, f"{place}: {label}={value}"
    for grouped in re.findall(r"\bby \(([^)]*)\)", expression):
        labels = {label.name for name in names_in(expression) for label in known[name].labels}
        assert {each.strip() for each in grouped.split(",")} <= labels | given | {"le"}, place


def test_a_share_of_a_histogram_is_asked_for_at_one_of_its_bounds() -> None:
    for place, expression in expressions():
        for name, label, told in selectors(expression):
            if label == "le":
                assert float(told) in series()[name].buckets, place


# -- alerts and runbooks -------------------------------------------------------------------------------------------------


def test_every_alert_has_its_runbook_and_every_runbook_its_alert() -> None:
    assert {f"{kebab(rule['alert'])}.md" for rule in RULE} == {f.name for f in RUNBOOKS.glob("*.md")} - {"README.md"}
    assert len({rule["alert"] for rule in RULE}) == len(RULE)


@pytest.mark.parametrize("rule", RULE, ids=lambda rule: rule["alert"])
def test_an_alert_says_what_a_person_needs(rule: dict[str, Any]) -> None:
    name, told = rule["alert"], rule["annotations"]
    assert name.startswith("Longview")
    assert rule["labels"] in ({"severity": "critical"}, {"severity": "warning"})
    assert set(told) == {"summary", "description", "runbook_url"}
    assert told["summary"].endswith(".")
    assert told["description"].endswith(".")
    assert told["runbook_url"] == f"{BASE}{kebab(name)}.md"


@pytest.mark.parametrize("rule", RULE, ids=lambda rule: rule["alert"])
def test_a_runbook_can_be_followed_by_whoever_has_the_shift(rule: dict[str, Any]) -> None:
    text = (RUNBOOKS / f"{kebab(rule['alert'])}.md").read_text()
    assert text.startswith(f"# {rule['alert']}\n")
    assert tuple(re.findall(r"^## (.+)$", text, re.M)) == HEADINGS
    assert text.split("\n\n")[1].lower().startswith(rule["labels"]["severity"])
    assert f"[{rule['alert']}]({kebab(rule['alert'])}.md) | {rule['labels']['severity']}" in index()


def index() -> str:
    return (RUNBOOKS / "README.md").read_text()


@pytest.mark.parametrize("file", sorted(RUNBOOKS.glob("*.md")), ids=lambda file: file.stem)
def test_what_a_runbook_names_exists(file: Path) -> None:
    """Other pages, sections of the operator's handbook, commands of ours with their options, and metrics."""
    text = file.read_text()
    for target in re.findall(r"\]\(([a-z-]+\.md)\)", text):
        assert (RUNBOOKS / target).exists(), target
    handbook = (ROOT / "docs" / "operations.md").read_text()
    for title in re.findall(r'docs/operations\.md, "([^"]+)"', text):
        assert f"\n## {title}\n" in handbook, title
    for name in re.findall(r"`((?:longview_|vllm:|temporal_)[a-z0-9_]+)`", text):
        assert name in series(), name
    for line in commands(text):
        parse(shlex.split(line))


def commands(text: str) -> list[str]:
    """Ours: in a block, in the text, or inside a Pod."""
    blocks = "\n".join(re.findall(r"```sh\n(.*?)```", text, re.S))
    in_blocks = re.findall(r"(?:^|-- )(longview .+)$", blocks, re.M)
    return in_blocks + re.findall(r"`(longview [^`]+)`", text)


def parse(words: list[str]) -> None:
    """As click does it, to the last option, without running anything."""
    command: click.Command = main
    context = click.Context(main, info_name="longview")
    rest = words[1:]
    while isinstance(command, click.Group):
        found = command.get_command(context, rest[0])
        assert found is not None, f"there is no {' '.join(words)}"
        command, rest = found, rest[1:]
    command.make_context(words[-1], rest, parent=context)


def test_a_command_or_option_that_does_not_exist_would_be_found() -> None:
    with pytest.raises(AssertionError, match="there is no"):
        parse(["longview", "restart-everything"])
    with pytest.raises(click.NoSuchOption):
        parse(["longview", "runs", "--succeeded"])
    with pytest.raises(click.MissingParameter):
        parse(["longview", "replay"])


def test_every_alert_is_tested_firing_and_quiet() -> None:
    """The cases themselves are promtool's: tests/real/test_prometheus.py runs them."""
    proven: dict[str, set[bool]] = {}
    for case in yaml.safe_load(TESTS.read_text())["tests"]:
        for check in case.get("promql_expr_test", []):
            [name] = re.findall(r'alertname="(\w+)"', check["expr"])
            proven.setdefault(name, set()).add(bool(check["exp_samples"]))
    assert proven == {rule["alert"]: {True, False} for rule in RULE}


# -- dashboards ----------------------------------------------------------------------------------------------------------


def test_the_dashboards_are_what_the_script_writes() -> None:
    spec = importlib.util.spec_from_file_location("dashboards", ROOT / "scripts" / "dashboards.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    import sys

    sys.modules[spec.name] = script
    try:
        spec.loader.exec_module(script)
        assert {file.name: file.read_text() for file in DASHBOARDS} == script.files(), (
            "run: python scripts/dashboards.py"
        )
    finally:
        del sys.modules[spec.name]


@pytest.mark.parametrize("file", DASHBOARDS, ids=lambda file: file.stem)
def test_a_dashboard_asks_the_chosen_source_and_says_what_it_shows(file: Path) -> None:
    page = json.loads(file.read_text())
    assert [variable["name"] for variable in page["templating"]["list"]] == ["datasource", "namespace"]
    taken: set[tuple[int, int]] = set()
    for panel in page["panels"]:
        assert panel["datasource"]["uid"] == "${datasource}"
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["description"].endswith((".", "`."))
        for target in panel["targets"]:
            assert target["datasource"]["uid"] == "${datasource}"
            assert 'namespace=~"$namespace"' in target["expr"]
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
