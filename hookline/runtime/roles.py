"""What one process runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hookline.workers.api import Worker


@dataclass(frozen=True, slots=True)
class Roles:
    """The parts of a process, whether a supervisor started it, and whether it ends if a server is away."""

    ingress: bool = False
    workers: Sequence[Worker[Any]] = ()
    rooms: bool = False
    supervised: bool = False
    fail_fast: bool = False
