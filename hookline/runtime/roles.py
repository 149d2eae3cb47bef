"""What one process runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hookline.runtime.supervised import Pipes
from hookline.workers.api import Worker


@dataclass(frozen=True, slots=True)
class Roles:
    """The parts of a process, and whether it ends if a server is away.

    One that a supervisor started has a number, and pipes to it. On `admin_socket` it tells the supervisor its metrics
    and whether it is ready.
    """

    ingress: bool = False
    workers: Sequence[Worker[Any]] = ()
    rooms: bool = False
    process: int | None = None
    pipes: Pipes | None = None
    admin_socket: Path | None = None
    fail_fast: bool = False

    @property
    def supervised(self) -> bool:
        """Whether a supervisor started the process."""
        return self.process is not None

    @property
    def name(self) -> str:
        """The command that runs these parts."""
        if not self.ingress:
            return "worker"
        return "run" if self.rooms or self.workers else "ingress"
