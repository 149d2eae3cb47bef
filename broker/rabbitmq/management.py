"""RabbitMQ's management API, where the settings name it: it shows what AMQP does not, bindings and policies among it.

Its numbers are up to five seconds old.
"""

from base64 import b64encode
from collections.abc import Mapping
from typing import Any, TypeVar
from urllib.parse import quote, unquote

import msgspec
from yarl import URL

from hookline.broker.rabbitmq.connection import RabbitMQSettings
from hookline.schemas import topics
from hookline.schemas.errors import Unreachable

_DELETING = ("message-ttl", "expires", "max-length", "max-length-bytes")
_UNAUTHORIZED = 401
_PREFIX = "hookline."

M = TypeVar("M")


class ManagedQueue(msgspec.Struct, frozen=True):
    """A queue as the management API shows it."""

    name: str
    messages_unacknowledged: int = 0
    policy: str | None = None
    effective_policy_definition: Mapping[str, Any] | list[Any] | None = None  # RabbitMQ writes [] for none

    @property
    def deleting(self) -> str:
        """What of its policy makes RabbitMQ delete or refuse messages; empty if nothing does."""
        return ", ".join(key for key in _DELETING if key in (self.effective_policy_definition or ()))


class _Binding(msgspec.Struct, frozen=True):
    destination: str
    routing_key: str


class Management:
    """Asks the API. Each method raises Unreachable."""

    def __init__(self, settings: RabbitMQSettings) -> None:
        self.use(settings)

    def use(self, settings: RabbitMQSettings) -> None:
        """Ask with the address, user and password of these settings from now on."""
        self._timeout_s = settings.connect_timeout_s
        broker = settings.addresses[0].url
        url = URL(settings.management_url)
        user, password = url.user or broker.user or "guest", url.password or broker.password or "guest"
        self._headers = {"Authorization": f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}"}
        self._url = url.with_user(None).with_query(None)
        self._vhost = quote(unquote(broker.raw_path).removeprefix("/") or "/", safe="")

    async def bindings(self) -> frozenset[tuple[str, str]]:
        """The queues that are bound to Hookline's exchange, each with its binding keys."""
        exchange = quote(topics.EXCHANGE, safe="")
        found = await self._get(f"exchanges/{self._vhost}/{exchange}/bindings/source", list[_Binding])
        return frozenset((each.destination, each.routing_key) for each in found)

    async def queues(self) -> Mapping[str, ManagedQueue]:
        """Hookline's queues by their names on the server."""
        found = await self._get(f"queues/{self._vhost}", list[ManagedQueue])
        return {each.name: each for each in found if each.name.startswith(_PREFIX)}

    async def _get(self, path: str, kind: type[M]) -> M:
        import aiohttp  # noqa: PLC0415  loaded only if used

        timeout = aiohttp.ClientTimeout(self._timeout_s)
        url = URL(f"{str(self._url).rstrip('/')}/api/{path}", encoded=True)
        try:
            async with (
                aiohttp.ClientSession(headers=self._headers, timeout=timeout) as session,
                session.get(url) as response,
            ):
                return self._read(response.status, await response.read(), kind)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise self._unreachable(str(error) or f"no answer within {self._timeout_s:g} s") from None

    def _read(self, status: int, body: bytes, kind: type[M]) -> M:
        if status == _UNAUTHORIZED:
            raise self._unreachable("it refuses the user or password, or the user has not the tag `management`")
        try:
            return msgspec.json.decode(body, type=kind)
        except msgspec.DecodeError:
            raise self._unreachable(f"it answers {status}, and not as RabbitMQ's management does") from None

    def _unreachable(self, reason: str) -> Unreachable:
        return Unreachable(f"broker.management_url: {self._url} cannot be used: {reason}")


def management_of(settings: RabbitMQSettings) -> Management | None:
    """The API that the settings name, if they name one."""
    return Management(settings) if settings.management_url else None
