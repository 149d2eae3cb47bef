"""The operator's port of a supervisor: it asks each of its processes over a Unix socket, and shows all of them."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

import aiohttp
import msgspec

from hookline.admin.metrics import merged
from hookline.admin.pages import PROCESSES, ReadinessPage, socket_of
from hookline.schemas.process_states import ProcessState

_ANSWER_S = 2.0
_NOBODY_LISTENS = (aiohttp.ClientError, OSError, TimeoutError)


class ProcessPages:
    """Implements `admin.pages.Pages` for processes with numbers from 1 to `count`. Their sockets are in `folder`."""

    def __init__(self, folder: Path, count: int) -> None:
        self._sockets: Mapping[int, Path] = {number: socket_of(folder, number) for number in range(1, count + 1)}

    async def metrics(self) -> bytes:
        answers = await self._ask_all("/metrics")
        return merged(body for body in answers if body is not None)

    async def readiness(self) -> ReadinessPage:
        """Ready if one process is: the others may be starting again. All reasons are named."""
        answers = await self._ask_all("/readyz")
        pages = [None if body is None else msgspec.json.decode(body, type=ReadinessPage) for body in answers]
        reasons = [
            reason for number, page in zip(self._sockets, pages, strict=True) for reason in _reasons(number, page)
        ]
        return ReadinessPage(ready=any(page.ready for page in pages if page), role="ingress", reasons=reasons)

    async def processes(self) -> Sequence[ProcessState]:
        """Those that answer."""
        answers = await self._ask_all(PROCESSES)
        pages = [msgspec.json.decode(body, type=list[ProcessState]) for body in answers if body is not None]
        return [state for page in pages for state in page]

    async def _ask_all(self, path: str) -> Sequence[bytes | None]:
        return await asyncio.gather(*(_ask(socket, path) for socket in self._sockets.values()))


def _reasons(number: int, page: ReadinessPage | None) -> Sequence[str]:
    said = ["it does not answer"] if page is None else page.reasons
    return [f"process {number}: {reason}" for reason in said]


async def _ask(socket: Path, path: str) -> bytes | None:
    """What a process answers; None if it does not, or not in time."""
    timeout = aiohttp.ClientTimeout(total=_ANSWER_S)
    connector = aiohttp.UnixConnector(str(socket))
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
            session.get(f"http://localhost{path}") as response,
        ):
            return await response.read()
    except _NOBODY_LISTENS:
        return None
