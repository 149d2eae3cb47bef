"""What a scene showed, as a row of the table, and which promises it broke."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from tests.faults import effects
from tests.faults.scene import Scene

if TYPE_CHECKING:
    from tests.faults.rig import Rig

MAX_ANSWER_S = 1.5
MAX_HANDLED_S = 15.0
MAX_MIB = 200.0
_ANSWER_ON_BUSY_S = 0.1
"""How much longer an answer may take for each second that a second of computing takes beyond one."""
HEAD = ("fault", "sent", "2xx", "503", "other", "p50 ms", "p99 ms", "max ms", "handled", "kept", "lost", "doubled",
        "2xx after s", "handled after s", "MiB", "log lines", "busy", "ready")  # fmt: skip


class Times(NamedTuple):
    began_s: float
    ended_s: float


@dataclass(frozen=True, slots=True)
class Result:
    """`broken` has one sentence for each promise that did not hold. `kept` events are in a queue of RabbitMQ."""

    scene: Scene
    statuses: Counter[int]
    seconds: Sequence[float]
    handled: int
    kept: int
    lost: int
    doubled: int
    first_answer_s: float | None
    first_handled_s: float | None
    peak_mib: float
    log_lines: int
    readiness: str
    slowdown: float

    @property
    def max_answer_s(self) -> float:
        return MAX_ANSWER_S + _ANSWER_ON_BUSY_S * (self.slowdown - 1)

    @property
    def is_slow(self) -> bool:
        return not self.scene.slow and self.seconds[-1] > self.max_answer_s

    @property
    def broken(self) -> list[str]:
        return list(self._broken())

    def _broken(self) -> Iterable[str]:
        if self.lost > self.scene.damages:
            yield f"{self.lost} events are lost after a 2xx"
        if self.kept and not self.scene.keeps:
            yield f"{self.kept} events are in a queue and not handled"
        if self.doubled and not self.scene.repeats:
            yield f"{self.doubled} events had their effect twice"
        if self.is_slow:
            yield f"an answer took {self.seconds[-1]:.2f} s"
        refused = sum(self.statuses.values()) - self.statuses[200]
        if refused and not self.scene.refuses:
            yield f"{refused} callbacks had no 2xx"
        for what, seconds in (("answered with 2xx", self.first_answer_s), ("handled", self.first_handled_s)):
            if seconds is None or seconds > MAX_HANDLED_S + self.slowdown - 1:
                yield f"the first event was {what} {_text(seconds)} s after the fault"
        if self.peak_mib > MAX_MIB:
            yield f"the ingress took {self.peak_mib:.0f} MiB"

    def row(self) -> tuple[str, ...]:
        sent = len(self.seconds)
        refused = self.statuses[503]
        ms = [f"{self.seconds[int((sent - 1) * share)] * 1000:.0f}" for share in (0.5, 0.99, 1.0)]
        counts = (sent, self.statuses[200], refused, sent - self.statuses[200] - refused)
        return (
            self.scene.name,
            *map(str, counts),
            *ms,
            *map(str, (self.handled, self.kept, self.lost, self.doubled)),
            _text(self.first_answer_s),
            _text(self.first_handled_s),
            f"{self.peak_mib:.0f}",
            str(self.log_lines),
            f"{self.slowdown:.1f}",
            self.readiness,
        )


async def result_of(rig: "Rig", times: Times, slowdown: float) -> Result:
    done, missing = await rig.effects(), await rig.missing()
    kept = await rig.kept()
    answers = [answer for sent in rig.sent for answer in sent.answers]
    after = [each.at_s - times.ended_s for each in answers if each.status == 200 and each.at_s > times.ended_s]
    logs = [*rig.ingresses, *rig.workers]
    return Result(
        scene=rig.scene,
        statuses=Counter(each.status for each in answers),
        seconds=sorted(each.seconds for each in answers),
        handled=len({each.number for each in done}),
        kept=len(missing & kept),
        lost=len(missing - kept),
        doubled=effects.doubled(done),
        first_answer_s=min(after, default=None),
        first_handled_s=effects.first_after(done, times.ended_s),
        peak_mib=rig.peak_mib,
        log_lines=sum(len(process.output) for process in logs),
        readiness=_readiness(rig.readiness),
        slowdown=slowdown,
    )


def table(rows: Sequence[Sequence[str]]) -> str:
    """The rows below their head; the last column is text of any length."""
    lines = [HEAD, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEAD) - 1)]
    return "\n".join(
        "  ".join([*(cell.rjust(width) for cell, width in zip(line, widths, strict=False)), line[-1]]) for line in lines
    )


def _readiness(looks: Sequence[tuple[float, str]]) -> str:
    """What `/readyz` said, in its order, and for how long what was not `ready`."""
    parts = []
    for text, group in groupby(looks, key=lambda look: look[1]):
        times = [at_s for at_s, _ in group]
        parts.append(text if text == "ready" else f"{text} {times[-1] - times[0]:.0f} s")
    return ", ".join(parts[:5])


def _text(seconds: float | None) -> str:
    return "never" if seconds is None else f"{seconds:.1f}"
