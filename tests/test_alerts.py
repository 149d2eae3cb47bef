"""Dashboard, alert rules and runbook: they use only metrics that exist, and Prometheus accepts them."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hookline.schemas.metrics import METRICS

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
ALERTS = DEPLOY / "prometheus" / "alerts.yml"
DASHBOARD = DEPLOY / "grafana" / "hookline.json"
RUNBOOK = ROOT / "docs" / "runbook.md"
_SELECTOR = re.compile(r"\b(hookline_\w+)(?:\{([^}]*)\})?")
_GROUPED = re.compile(r"by \(([^)]*)\)")
_OF_A_SCRAPE = {"job", "instance", "process", "le"}
PROMTOOL = shutil.which("promtool")


def names() -> set[str]:
    """Every name that a query may use."""
    found = set()
    for metric in METRICS.values():
        parts = ("_bucket", "_sum", "_count") if metric.kind == "histogram" else ("",)
        found |= {f"{metric.name}{part}" for part in parts}
    return found


def queries() -> Iterator[str]:
    yield from re.split(r"(?m)^      - alert: ", ALERTS.read_text())[1:]
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        yield from (target["expr"] for target in panel.get("targets", ()))


def labels_of(name: str) -> set[str]:
    base = re.sub(r"_(bucket|sum|count)$", "", name) if name not in METRICS else name
    return {*METRICS[base].labels, *_OF_A_SCRAPE}


@pytest.mark.parametrize("query", list(queries()))
def test_a_query_uses_only_metrics_and_labels_that_exist(query: str) -> None:
    expr = query.partition("annotations:")[0]
    used = {found[1] for found in _SELECTOR.finditer(expr)}
    assert used <= names()
    for found in _SELECTOR.finditer(expr):
        filtered = set(re.findall(r"(\w+)\s*[=!]", found[2] or ""))
        assert filtered <= labels_of(found[1])
    if len(used) == 1:
        grouped = {word for group in _GROUPED.findall(expr) for word in re.split(r",\s*", group)}
        assert grouped <= labels_of(next(iter(used)))


def test_every_alert_has_a_paragraph_in_the_runbook() -> None:
    alerts = re.findall(r"(?m)^      - alert: (\w+)$", ALERTS.read_text())
    assert re.findall(r"(?m)^## (\w+)$", RUNBOOK.read_text()) == alerts
    links = re.findall(r"runbook: docs/runbook.md#(\w+)", ALERTS.read_text())
    assert links == [alert.lower() for alert in alerts]


def test_every_paragraph_says_where_to_look_and_what_to_do() -> None:
    for paragraph in re.split(r"(?m)^## ", RUNBOOK.read_text())[1:]:
        assert "**Look:**" in paragraph, paragraph[:40]
        assert "**Do:**" in paragraph, paragraph[:40]


def test_the_dashboard_is_the_one_that_its_script_writes() -> None:
    command = [sys.executable, "-c", "import grafana_dashboard; print(grafana_dashboard.text(), end='')"]
    done = subprocess.run(command, cwd=DEPLOY, capture_output=True, text=True, check=True)  # noqa: S603  our own script
    assert done.stdout == DASHBOARD.read_text()


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is missing: apt-get install prometheus")
@pytest.mark.parametrize(
    "arguments",
    [("check", "rules", "alerts.yml"), ("check", "config", "prometheus.yml"), ("test", "rules", "alerts_test.yml")],
)
def test_prometheus_accepts_the_rules_and_they_fire_when_they_should(arguments: tuple[str, ...]) -> None:
    assert PROMTOOL is not None
    done = subprocess.run(  # noqa: S603  a program of the test machine
        [PROMTOOL, *arguments], cwd=ALERTS.parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
