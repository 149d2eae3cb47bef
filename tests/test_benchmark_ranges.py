"""The runs that are kept, and what they say together."""

from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from benchmarks import ranges, table
from benchmarks.figures import Measured, Row, Target, per_s
from benchmarks.processes import ROOT


def measured(events: int) -> Measured:
    return Measured(events=events, seconds=1, cpu_s={"program": 0.5})


def test_a_target_is_met_only_if_every_round_of_every_kept_run_meets_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranges, "RUNS", tmp_path / "runs")
    result = tmp_path / "result.json"
    for day, version, target, together in (
        ("2026-01-01", "3.10.8", 1.0, {"RabbitMQ 3.10": "2.00 (1.00 to 3.00), 1 run"}),
        ("2026-01-02", "3.10.9", 1.0, {"RabbitMQ 3.10": "2.00 (1.00 to 3.00), 2 runs"}),
        (
            "2026-01-03",
            "4.0.5",
            1.5,
            {"RabbitMQ 3.10": "2.00 (1.00 to 3.00), 2 runs", "RabbitMQ 4.0": "2.00 (1.00 to 3.00), 1 run"},
        ),
    ):
        row = Row(
            name="ingress", unit="events/s", figure=per_s, target=Target(">=", target), reference_name="bare",
            ours=[measured(100), measured(300), measured(400)], reference=[measured(100), measured(100), measured(200)],
        )  # fmt: skip
        result.write_bytes(msgspec.json.encode(table.as_json([row], {"cpus": "2", "RabbitMQ": version})))
        shown = CliRunner().invoke(ranges.main, ["--keep", day, str(result)], catch_exceptions=False).output
        head, _, line = shown.splitlines()[:3]
        cells = dict(zip(head.strip("| ").split(" | "), line.strip("| ").split(" | "), strict=True))
        assert cells == {
            "row": "ingress",
            "unit": "events/s / bare",
            **together,
            "target": f">= {target:g} {'met' if target == 1.0 else 'MISSED'}",
        }
    assert list(ranges.kept_runs()) == ["2026-01-01", "2026-01-02", "2026-01-03"]


def test_the_page_on_performance_shows_the_kept_runs() -> None:
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    assert page.partition("<!-- ranges -->\n")[2].partition("\n<!-- /ranges -->")[0] == ranges.markdown(
        ranges.kept_runs()
    )
