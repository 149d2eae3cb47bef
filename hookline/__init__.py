"""Queue-backed ingestion of the callbacks of real-time audio/video clouds.

Write a handler once, and it works for every provider:

    from hookline import worker
    from hookline.events import ParticipantJoined

    @worker(ParticipantJoined, queue="attendance")
    async def attendance(event: ParticipantJoined) -> None: ...
"""

import sys

TYPE_CHECKING = False  # that of `typing`, which takes a moment to load
if TYPE_CHECKING:
    from typing import Any

    from hookline.workers.api import Backoff, Call, Delivery, Middleware, Opener, Poisoned, Retry, Worker
    from hookline.workers.declare import worker

__all__ = ["Backoff", "Call", "Delivery", "Middleware", "Opener", "Poisoned", "Retry", "Worker", "worker"]


def __getattr__(name: str) -> "Any":
    """Import a public name when it is first used, so that a command handles Ctrl-C before anything slow is loaded."""
    if name not in __all__:
        raise AttributeError(f"module 'hookline' has no attribute {name!r}", name=name, obj=sys.modules[__name__])
    from hookline.workers import api, declare  # noqa: PLC0415  see above

    return declare.worker if name == "worker" else getattr(api, name)
