"""Asks the processes of this machine what they are doing, on their operator's ports."""

import asyncio
from collections.abc import Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING

import msgspec

from hookline.admin.pages import PROCESSES
from hookline.admin.settings import PORTS, AdminSettings
from hookline.schemas.process_states import ProcessState

if TYPE_CHECKING:
    from aiohttp import ClientSession

_ANSWER_S = 2.0
_ALL = frozenset({"0.0.0.0", "::"})  # noqa: S104  compared

SILENT = "it does not answer"
CLOSED = "it closes connections without an answer"
TOKEN_REFUSED = "it refuses the token of [admin]"  # noqa: S105  no token


class OnPort(msgspec.Struct, frozen=True):
    """What listens on a port: processes, or why it does not say what they are doing."""

    port: int
    processes: Sequence[ProcessState] = ()
    fault: str = ""


async def processes_here(settings: AdminSettings, broker: str) -> Sequence[OnPort]:
    """What listens on the operator's ports of this machine. Processes with another broker are left out."""
    import aiohttp  # noqa: PLC0415  slow to load, and not needed for help

    host = settings.host
    host = "127.0.0.1" if host in _ALL else f"[{host}]" if ":" in host else host
    headers = {"Authorization": f"Bearer {settings.token}"} if settings.token else {}
    timeout = aiohttp.ClientTimeout(total=_ANSWER_S)
    ports = range(settings.port, min(settings.port + PORTS, 2**16)) if settings.port else ()
    async with aiohttp.ClientSession(headers=headers, timeout=timeout) as session:
        found = await asyncio.gather(*(_ask(session, host, port, broker) for port in ports))
    return [each for each in found if each is not None]


async def _ask(session: "ClientSession", host: str, port: int, broker: str) -> OnPort | None:
    """None if nothing listens there, or another program or installation."""
    from aiohttp import ClientConnectorError, ClientError, ClientOSError, ServerDisconnectedError  # noqa: PLC0415  see above

    try:
        async with session.get(f"http://{host}:{port}{PROCESSES}") as response:
            if response.status == HTTPStatus.UNAUTHORIZED:
                return OnPort(port, fault=TOKEN_REFUSED)
            processes = msgspec.json.decode(await response.read(), type=list[ProcessState])
    except TimeoutError:
        return OnPort(port, fault=SILENT)
    except ClientConnectorError:
        return None
    except (ServerDisconnectedError, ClientOSError):
        return OnPort(port, fault=CLOSED)
    except (ClientError, OSError, msgspec.DecodeError):
        return None
    ours = [each for each in processes if each.broker == broker]
    return OnPort(port, ours) if ours else None
