"""Prometheus itself on what is shipped: promtool reads and tests the rules and every query, and a server scrapes the processes and evaluates them."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from services.operations.metrics import BY_NAME
from services.parts.ports import free_port
from tests.integration.journeys import phantom
from tests.integration.system import until
from tests.integration.watched import House, house
from tests.real import parts

pytestmark = pytest.mark.real

ROOT = Path(__file__).parents[2]
RULES = ROOT / "helm" / "longview" / "alerts" / "longview.yaml"
DASHBOARDS = sorted((ROOT / "helm" / "longview" / "dashboards").glob("*.json"))
QUIET_WITHOUT_MODEL = {"LongviewModelGone"}
"""The scripted model has no metrics: this alert is right to wait."""


def program(name: str) -> str:
    """Of Debian's Prometheus in the cache, or a skip that says how to get it."""
    file = parts.CACHE / "prometheus" / "usr" / "bin" / name
    if not file.exists():
        pytest.skip("Prometheus cannot be had here: run 'scripts/prometheus.sh'")
    return str(file)


def promtool(*arguments: str, page: str | None = None) -> str:
    done = subprocess.run([program("promtool"), *arguments], input=page, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# -- what is written -----------------------------------------------------------------------------------------------------


def test_the_rules_are_rules() -> None:
    rules = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    assert f"{len(rules)} rules found" in promtool("check", "rules", str(RULES))


def test_every_alert_fires_where_it_should_and_nowhere_else() -> None:
    promtool("test", "rules", str(ROOT / "tests" / "alerts" / "longview_test.yaml"))


def test_every_query_of_a_dashboard_can_be_read(tmp_path: Path) -> None:
    """As recording rules, with Grafana's variables filled in as Grafana does."""
    queries = [
        target["expr"].replace("$__rate_interval", "5m").replace("$namespace", ".*")
        for file in DASHBOARDS
        for panel in json.loads(file.read_text())["panels"]
        for target in panel["targets"]
    ]
    rules = [{"record": f"dashboard:query:{number}", "expr": query} for number, query in enumerate(queries)]
    file = tmp_path / "queries.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboards", "rules": rules}]}))
    assert f"{len(queries)} rules found" in promtool("check", "rules", str(file))


# -- what runs -----------------------------------------------------------------------------------------------------------


class Prometheus:
    """A server that scrapes every second."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/api/v1"

    def ask(self, path: str, **parameters: str) -> Any:
        answer = httpx.get(f"{self._url}/{path}", params=parameters, timeout=10, trust_env=False)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    def value(self, query: str) -> float:
        """The sum of all that the query finds."""
        return sum(float(each["value"][1]) for each in self.ask("query", query=query)["result"])


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    program("prometheus")
    with house(tmp_path_factory.mktemp("watched")) as made:
        yield made


def _without_codec(folder: Path) -> Path:
    """The rules of an installation that runs no codec server, as the chart renders them."""
    rules = [line for line in RULES.read_text().splitlines() if 'process="codec"' not in line]
    (folder / "rules.yaml").write_text("\n".join(rules))
    return folder / "rules.yaml"


@pytest.fixture(scope="module")
def prometheus(watched: House, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    folder, port = tmp_path_factory.mktemp("prometheus"), free_port()
    targets = [
        {"targets": [f"127.0.0.1:{process.port}"], "labels": {"namespace": "longview", "pod": process.name}}
        for process in watched.watched
    ]
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(_without_codec(folder))],
        "scrape_configs": [{"job_name": "longview", "static_configs": targets}],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    command = [
        program("prometheus"),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    log = folder / "prometheus.log"
    with parts.process(command, log, lambda: parts.answers(f"http://127.0.0.1:{port}/-/ready"), 30):
        yield Prometheus(port)


def test_promtool_has_nothing_to_say_about_our_pages(watched: House) -> None:
    """Of our own metrics: names, units and help as Prometheus wants them."""
    for process in watched.watched:
        page = process.get("/metrics").text
        ours = "\n".join(line for line in page.splitlines() if re.match(r"(# \w+ )?longview_", line)) + "\n"
        assert promtool("check", "metrics", page=ours) == "", process.name


def test_a_study_is_followed_by_prometheus_alone(watched: House, prometheus: Prometheus) -> None:
    system = watched.system
    subject = phantom(system)
    system.load(subject)
    system.result(system.announce(subject).workflow_id)
    until(lambda: prometheus.value('longview_studies_total{outcome="read"}') or None, "the study", 30)
    assert prometheus.value("up") == 3
    assert prometheus.value("longview_ready") == 3
    assert until(lambda: prometheus.value("longview_inbox_open_results") or None, "the inbox", 30) >= 1
    for metric in BY_NAME.values():
        if "model" not in metric.processes:
            prometheus.ask("query", query=metric.name)


def test_no_alert_fires_in_a_system_that_is_well_and_every_rule_is_evaluated(prometheus: Prometheus) -> None:
    def evaluated() -> list[dict[str, Any]] | None:
        rules = [rule for group in prometheus.ask("rules")["groups"] for rule in group["rules"]]
        return rules if rules and all(rule["health"] == "ok" for rule in rules) else None

    def quiet() -> bool | None:
        """Before the first scrape everything is missed, for a second."""
        loud = {rule["name"] for rule in evaluated() or [] if rule["state"] != "inactive"}
        return loud <= QUIET_WITHOUT_MODEL or None

    until(evaluated, "every rule to be evaluated", 60)
    until(quiet, "every alert but that of the model to be quiet", 30)


def test_an_outage_is_on_its_way_to_an_alert_within_a_minute(watched: House, prometheus: Prometheus) -> None:
    """The bus hangs: the gateway says so, and LongviewPartAway waits out its two minutes; it is withdrawn when the bus is back."""

    def state() -> str:
        rules = [rule for group in prometheus.ask("rules")["groups"] for rule in group["rules"]]
        [rule] = [rule for rule in rules if rule["name"] == "LongviewPartAway"]
        return str(rule["state"])

    with watched.system.held("broker"):
        until(lambda: state() in ("pending", "firing") or None, "the alert", 70)
        [pending] = [a for a in prometheus.ask("alerts")["alerts"] if a["labels"]["alertname"] == "LongviewPartAway"]
        assert pending["labels"]["process"] == "gateway"
        assert pending["labels"]["need"] == "bus"
    until(lambda: state() == "inactive" or None, "the alert to be withdrawn", 60)
