"""A real Prometheus scrapes a process and evaluates the alert rules that come with Hookline."""

import json
import re
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.processes import Project, until
from tests.end_to_end.test_operators_port import operators_url
from tests.services.servers import OwnServer

PROMETHEUS = shutil.which("prometheus")
DEPLOY = Path(__file__).parents[2] / "deploy" / "prometheus"

DASHBOARD = DEPLOY.parent / "grafana" / "hookline.json"

pytestmark = pytest.mark.skipif(PROMETHEUS is None, reason="Prometheus is missing: apt-get install prometheus")


class Prometheus(OwnServer):
    """Scrapes one address every second."""

    def __init__(self, target: str) -> None:
        super().__init__("Prometheus")
        shutil.copy(DEPLOY / "alerts.yml", self.home)
        text = (DEPLOY / "prometheus.yml").read_text().replace("scrape_interval: 15s", "scrape_interval: 1s")
        (self.home / "prometheus.yml").write_text(re.sub(r"targets: \[.*\]", f'targets: ["{target}"]', text))

    def start(self) -> None:
        assert PROMETHEUS is not None
        address = f"127.0.0.1:{self.port}"
        self.launch(
            [
                PROMETHEUS,
                f"--config.file={self.home / 'prometheus.yml'}",
                f"--storage.tsdb.path={self.home / 'data'}",
                f"--web.listen-address={address}",
            ],
            self._answers,
        )

    def ask(self, path: str, **parameters: str) -> Any:
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=30) as response:
            return json.load(response)["data"]

    def value(self, query: str) -> float | None:
        found = self.ask("query", query=query)["result"]
        return float(found[0]["value"][1]) if found else None

    def _answers(self) -> bool:
        try:
            return bool(self.ask("status/buildinfo"))
        except OSError:
            return False


@pytest.fixture
def scraped(embedded_project: Project) -> Iterator[Prometheus]:
    url = operators_url(embedded_project.start("run", "counter.py"))
    prometheus = Prometheus(url.removeprefix("http://"))
    try:
        prometheus.start()
        yield prometheus
    finally:
        prometheus.close()


def test_it_reads_every_metric_and_evaluates_every_rule(scraped: Prometheus, embedded_project: Project) -> None:
    assert embedded_project.call("send", "krtc-main", "--count", "30").returncode == 0
    until(lambda: scraped.value('up{job="hookline"}') == 1)
    until(lambda: scraped.value('sum(hookline_settled_total{queue="counter",outcome="done"})') == 30)
    assert scraped.value("hookline_ready") == 1
    assert scraped.value('hookline_received_total{source="krtc-main"}') == 30
    until(lambda: scraped.value("histogram_quantile(0.99, sum by (le) (hookline_answer_seconds_bucket))") is not None)
    rules = [rule for group in scraped.ask("rules")["groups"] for rule in group["rules"]]
    assert len(rules) > 20
    assert [rule["name"] for rule in rules if rule.get("lastError")] == []


def test_every_panel_of_the_dashboard_has_data(scraped: Prometheus, embedded_project: Project) -> None:
    """Only what the embedded queue has not is missing: consumers, and a spool."""
    assert embedded_project.call("send", "krtc-main", "--count", "30").returncode == 0
    until(lambda: (scraped.value('sum(hookline_settled_total{queue="counter",outcome="done"})') or 0) > 0)
    panels = [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel.get("targets")]
    queries = {panel["title"]: panel["targets"][0]["expr"].replace("$__rate_interval", "1m") for panel in panels}
    assert len(queries) > 20

    def empty() -> set[str]:
        return {title for title, query in queries.items() if scraped.value(query) is None}

    assert embedded_project.call("send", "krtc-main", "--url", f"{embedded_project.url('krtc-main')}x").returncode == 1
    until(lambda: empty() <= {"Consumers", "Events in the spool"})


def test_what_it_reads_is_valid_by_its_own_checker(embedded_project: Project) -> None:
    promtool = shutil.which("promtool")
    assert promtool is not None
    url = operators_url(embedded_project.start("run", "counter.py"))
    assert embedded_project.call("send", "krtc-main").returncode == 0
    with urllib.request.urlopen(f"{url}/metrics", timeout=30) as response:  # noqa: S310  our own port
        text = response.read()
    done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, check=False)  # noqa: S603
    assert done.returncode == 0, done.stdout + done.stderr
