"""A verdict as a table for people, and as JSON for programs."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from tests.chaos.checker import Findings, Verdict
from tests.chaos.explanations import Explanations
from tests.chaos.history import History

_SHOWN = 10
_HEAD = ("worker", "expected", "handled", "waiting", "dead", "unrouted", "lost", "doubled", "unexplained",
         "blamed", "out of order", "standstill s", "slowest s", "drained after s")  # fmt: skip


def table(verdict: Verdict, slowest_answer_s: float) -> str:
    """One line for each worker, then what the numbers stand for, then the promises that did not hold."""
    rows = [_HEAD, *(_row(findings) for findings in verdict.findings)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    counts = (
        f"sent {verdict.sent}, acked with 2xx {verdict.acked}, slowest answer {slowest_answer_s:.1f} s, "
        f"longest time without a 2xx {verdict.ingress_standstill_s:.1f} s, "
        f"longest standstill allowed on a machine as busy as this {verdict.max_standstill_s:.1f} s"
    )
    return "\n".join(["", *lines, "", counts, *_details(verdict), *_promises(verdict), ""])


def as_json(history: History, verdict: Verdict, slowest_answer_s: float) -> str:
    explanations = Explanations(history)
    faults = [
        {
            "fault": str(happened.fault),
            "began": explanations.since(happened.period.began_at),
            "ended": explanations.since(happened.period.ended_at),
        }
        for happened in history.happened
    ]
    document: dict[str, Any] = {**asdict(verdict), "slowest_answer_s": slowest_answer_s, "faults": faults}
    return json.dumps(document, indent=2)


def _row(findings: Findings) -> tuple[str, ...]:
    doubled = ", ".join(f"{count} {why}" for why, count in sorted(findings.doubled.items()))
    return (
        findings.worker,
        str(findings.expected),
        str(findings.handled),
        str(findings.waiting),
        str(findings.dead),
        str(findings.unrouted),
        str(len(findings.lost)),
        doubled or "0",
        str(len(findings.unexplained)),
        str(len(findings.blamed)),
        str(len(findings.out_of_order)),
        f"{findings.standstill_s:.1f}",
        f"{findings.slowest_s:.1f}",
        "never" if findings.drained_s is None else f"{findings.drained_s:.1f}",
    )


def _details(verdict: Verdict) -> list[str]:
    lines: list[str] = []
    for findings in verdict.findings:
        lines += _some(f"{findings.worker}, lost", findings.lost)
        lines += _some(f"{findings.worker}, repeated and unexplained", findings.unexplained)
        lines += _some(f"{findings.worker}, blamed for what no handler did", findings.blamed)
        lines += _some(f"{findings.worker}, out of order", findings.out_of_order)
    return lines


def _some(title: str, sentences: Sequence[str]) -> list[str]:
    if not sentences:
        return []
    rest = [f"  and {len(sentences) - _SHOWN} more"] if len(sentences) > _SHOWN else []
    return [f"{title}:", *(f"  {sentence}" for sentence in sentences[:_SHOWN]), *rest]


def _promises(verdict: Verdict) -> list[str]:
    if not verdict.broken:
        return ["Every promise held."]
    return ["Broken promises:", *(f"  {sentence}" for sentence in verdict.broken)]
