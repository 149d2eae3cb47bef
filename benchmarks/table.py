"""The table that is printed at the end, and the same in JSON."""

import math
import os
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.figures import Measured, Row

_COLUMNS = (
    "row", "unit", "ours", "reference", "", "ratio", "spread", "target", "",
    "CPU µs/event", "RabbitMQ µs", "load µs", "p50/p99 ms", "reference's", "MiB",
)  # fmt: skip
_NARROW = ("row", "unit", "ours", "reference", "ratio", "spread", "target", "CPU µs/event", "p50/p99 ms")
_LATE_MS = 3.0
_LIBRARIES = ("aiohttp", "aio-pika", "aiormq", "msgspec", "uvloop", "redis", "faststream")


def rendered(rows: Sequence[Row]) -> str:
    """The rows in aligned columns."""
    lines = [_COLUMNS, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_COLUMNS))]
    shown = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([shown[0], "-" * max(map(len, shown)), *shown[1:], *_remarks(rows)])


def markdown(rows: Sequence[Row]) -> str:
    """The rows in Markdown: fewer columns, and the name of the reference beside its figure."""
    remarks = "\n".join(_remarks(rows))
    return lined(_NARROW, map(_narrow, rows)) + (f"\n\n{remarks}" if remarks else "")


def lined(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ("---",) * len(head), *lines))


def _narrow(row: Row) -> tuple[str, ...]:
    (name, unit, ours, reference, reference_name, ratio, spread, target, verdict, cpu, _, _, latency, *_) = _cells(row)
    beside = f"{reference} ({reference_name})" if reference else ""
    return name, unit, ours, beside, ratio, spread, f"{target} {verdict}".strip(), cpu, latency


def _remarks(rows: Sequence[Row]) -> list[str]:
    """A remark for each row whose load generator was late, which adds to the latencies."""
    late_ms = {row.name: max(each.load_late_p99_ms for each in (*row.ours, *row.reference)) for row in rows}
    return [f"{name}: the load itself was late by {ms:.0f} ms (p99)" for name, ms in late_ms.items() if ms > _LATE_MS]


def _cells(row: Row) -> tuple[str, ...]:
    ratios = row.ratios
    target = row.target
    return (
        row.name,
        row.unit,
        _number(median(map(row.figure, row.ours))),
        _number(median(map(row.figure, row.reference))) if row.reference else "",
        row.reference_name,
        f"{median(ratios):.2f}" if ratios else "",
        f"{min(ratios):.2f}..{max(ratios):.2f}" if ratios else _spread(row),
        str(target or ""),
        row.verdict,
        _pair(row, lambda measured: measured.cpu_us()),
        _pair(row, lambda measured: measured.cpu_us("rabbitmq")),
        _pair(row, lambda measured: measured.cpu_us("load")),
        _latency(row.ours),
        _latency(row.reference),
        _memory(row.ours),
    )


def _spread(row: Row) -> str:
    figures = [row.figure(each) for each in row.ours]
    return f"{_number(min(figures))}..{_number(max(figures))}"


def _pair(row: Row, figure: Callable[[Measured], float]) -> str:
    """Our figure, and that of the reference where there is one."""
    sides = [side for side in (row.ours, row.reference) if side]
    return " / ".join(_number(median(map(figure, side))) for side in sides)


def _latency(measured: Sequence[Measured]) -> str:
    pairs = [(each.p50_ms, each.p99_ms) for each in measured if each.p50_ms is not None and each.p99_ms is not None]
    if not pairs:
        return ""
    return f"{median(p50 for p50, _ in pairs):.1f}/{median(p99 for _, p99 in pairs):.1f}"


def _memory(measured: Sequence[Measured]) -> str:
    """The highest peak of resident memory of all rounds."""
    peaks = [each.rss_peak_mib for each in measured if each.rss_peak_mib is not None]
    return _number(max(peaks)) if peaks else ""


def _number(value: float) -> str:
    if math.isnan(value):
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}"


def as_json(rows: Sequence[Row], machine: Mapping[str, str]) -> dict[str, Any]:
    """Everything that was measured, and the machine."""
    return {"machine": machine, "rows": [_row(row) for row in rows]}


def missing_libraries() -> Sequence[str]:
    """The libraries of the extras `test` and `bench` that are not installed."""
    return [name for name in _LIBRARIES if find_spec(name.replace("-", "_")) is None]


def machine() -> dict[str, str]:
    """The hardware and the versions that the figures depend on."""
    libraries = {name: version(name) for name in _LIBRARIES}
    cpus = f"{os.cpu_count()} x {_cpu_model()}"
    return {"cpus": cpus, "system": platform.system(), "Python": platform.python_version(), **libraries}


def _cpu_model() -> str:
    try:
        return Path("/proc/cpuinfo").read_text().partition("model name")[2].partition("\n")[0].strip("\t: ")
    except OSError:
        return platform.machine()


def _row(row: Row) -> dict[str, Any]:
    return {
        "name": row.name,
        "unit": row.unit,
        "reference": row.reference_name,
        "values": list(row.judged),
        "target": str(row.target or ""),
        "verdict": row.verdict,
        "ours": [_measured(each) for each in row.ours],
        "references": [_measured(each) for each in row.reference],
    }


def _measured(measured: Measured) -> dict[str, Any]:
    return {
        "events": measured.events,
        "seconds": measured.seconds,
        "per_s": measured.per_s,
        "cpu_us": {group: measured.cpu_us(group) for group in measured.cpu_s},
        "p50_ms": measured.p50_ms,
        "p99_ms": measured.p99_ms,
        "rss_start_mib": measured.rss_start_mib,
        "rss_end_mib": measured.rss_end_mib,
        "rss_peak_mib": measured.rss_peak_mib,
        "max_ms": measured.max_ms,
        "load_late_p99_ms": measured.load_late_p99_ms,
    }
