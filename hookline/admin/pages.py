"""What the operator's port shows."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from hookline.schemas.process_states import ProcessState

PROCESSES = "/processes"
"""Where a process says what it is doing, for `hookline status`."""


class ReadinessPage(msgspec.Struct, frozen=True):
    """Whether a process can do its work now, and what keeps it from that."""

    ready: bool
    role: str
    reasons: Sequence[str] = ()


class Pages(Protocol):
    """The contents of the pages. Each is made when it is asked for."""

    async def metrics(self) -> bytes:
        """In Prometheus' text format."""

    async def readiness(self) -> ReadinessPage: ...

    async def processes(self) -> Sequence[ProcessState]:
        """What each process behind the port is doing."""


def socket_of(folder: Path, number: int) -> Path:
    """Where a process listens for its supervisor."""
    return folder / f"{number}.sock"
