"""Writes the Grafana dashboard, `deploy/grafana/hookline.json`, when it is run.

The dashboard is a table of panels here, so that a reader sees the queries at a glance.
"""

import json
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

PATH = Path(__file__).parent / "grafana" / "hookline.json"
_WIDTH, _COLUMNS = 6, 4
_HEIGHT = 8


class Panel(NamedTuple):
    """A panel with one query; `legend` names its lines."""

    title: str
    expr: str
    unit: str = "short"
    legend: str = ""


def _quantile(quantile: float, metric: str, *by: str) -> str:
    labels = ", ".join([*by, "le"])
    return f"histogram_quantile({quantile}, sum by ({labels}) (rate({metric}_bucket[$__rate_interval])))"


ROWS: Sequence[tuple[str, Sequence[Panel]]] = (
    (
        "Four numbers",
        (
            Panel("Answer time, p99", _quantile(0.99, "hookline_answer_seconds"), "s"),
            Panel("Oldest waiting event", "min by (queue) (hookline_queue_oldest_seconds)", "s", "{{queue}}"),
            Panel("Events in the spool", "sum by (instance) (hookline_spool_events)", "short", "{{instance}}"),
            Panel(
                "Provider's delay, p90", _quantile(0.9, "hookline_provider_delay_seconds", "source"), "s", "{{source}}"
            ),
        ),
    ),
    (
        "Callbacks",
        (
            Panel(
                "Received", "sum by (source) (rate(hookline_received_total[$__rate_interval]))", "reqps", "{{source}}"
            ),
            Panel(
                "Refused",
                "sum by (source, reason) (rate(hookline_refused_total[$__rate_interval]))",
                "reqps",
                "{{source}} {{reason}}",
            ),
            Panel("Silence", "min by (source) (hookline_last_received_seconds)", "s", "{{source}}"),
            Panel(
                "Made durable by", "sum by (via) (rate(hookline_published_total[$__rate_interval]))", "reqps", "{{via}}"
            ),
        ),
    ),
    (
        "Queues",
        (
            Panel("Waiting", "max by (queue) (hookline_queue_ready)", "short", "{{queue}}"),
            Panel("Consumers", "max by (queue) (hookline_consumers)", "short", "{{queue}}"),
            Panel("Dead letters", "max by (queue) (hookline_dead_letters)", "short", "{{queue}}"),
            Panel("Unrouted", "max(hookline_unrouted)"),
        ),
    ),
    (
        "Workers",
        (
            Panel(
                "Outcomes",
                "sum by (queue, outcome, reason) (rate(hookline_settled_total[$__rate_interval]))",
                "ops",
                "{{queue}} {{outcome}} {{reason}}",
            ),
            Panel("Function, p95", _quantile(0.95, "hookline_handler_seconds", "queue"), "s", "{{queue}}"),
            Panel(
                "From receipt to end, p95", _quantile(0.95, "hookline_done_after_seconds", "queue"), "s", "{{queue}}"
            ),
            Panel(
                "Calls running",
                "sum by (queue) (hookline_running_calls) / sum by (queue) (hookline_concurrency)",
                "percentunit",
                "{{queue}}",
            ),
            Panel(
                "Oldest call",
                "max by (queue, instance) (hookline_oldest_call_seconds)",
                "s",
                "{{queue}} {{instance}}",
            ),
            Panel("Not settled", "sum by (queue) (hookline_unsettled)", "short", "{{queue}}"),
            Panel(
                "Wait in a process",
                "sum by (queue, instance) (hookline_unsettled - hookline_running_calls) / "
                "sum by (queue, instance) (rate(hookline_settled_total[$__rate_interval]))",
                "s",
                "{{queue}} {{instance}}",
            ),
        ),
    ),
    (
        "Underneath",
        (
            Panel("Confirm, p99", _quantile(0.99, "hookline_confirm_seconds"), "s"),
            Panel("Store, p99", _quantile(0.99, "hookline_store_seconds", "operation"), "s", "{{operation}}"),
            Panel("Ready", "hookline_ready", "short", "{{instance}} {{process}}"),
            Panel(
                "CPU",
                'rate(process_cpu_seconds_total{job="hookline"}[$__rate_interval])',
                "short",
                "{{instance}} {{process}}",
            ),
        ),
    ),
)


def dashboard() -> dict[str, Any]:
    """The dashboard as Grafana imports it. It asks for the Prometheus to use."""
    return {
        "title": "Hookline",
        "uid": "hookline",
        "tags": ["hookline"],
        "schemaVersion": 39,
        "timezone": "browser",
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {
            "list": [{"name": "prometheus", "label": "Prometheus", "type": "datasource", "query": "prometheus"}]
        },
        "panels": list(_panels()),
    }


def _panels() -> Iterator[dict[str, Any]]:
    number, y = 0, 0
    for title, panels in ROWS:
        number += 1
        yield {"id": number, "type": "row", "title": title, "gridPos": {"x": 0, "y": y, "w": 24, "h": 1}, "panels": []}
        y += 1
        for place, panel in enumerate(panels):
            number += 1
            line, column = divmod(place, _COLUMNS)
            yield _panel(number, panel, {"x": column * _WIDTH, "y": y + line * _HEIGHT, "w": _WIDTH, "h": _HEIGHT})
        y += math.ceil(len(panels) / _COLUMNS) * _HEIGHT


def _panel(number: int, panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    source = {"type": "prometheus", "uid": "${prometheus}"}
    return {
        "id": number,
        "type": "timeseries",
        "title": panel.title,
        "datasource": source,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": [{"refId": "A", "datasource": source, "expr": panel.expr, "legendFormat": panel.legend or "__auto"}],
    }


def text() -> str:
    return json.dumps(dashboard(), indent=1) + "\n"


if __name__ == "__main__":
    PATH.write_text(text())
    sys.exit(0)
