"""A Redis server: commands and scripts, bounded in time, and the signs of life of this process."""

import uuid
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError
from redis.retry import Retry

from hookline.schemas.errors import SettingsError, Unreachable
from hookline.workers.stores.heartbeat import LEASE_S

T = TypeVar("T")

CONNECTIONS = 8
_OWNER = "hookline:owner:"


class Client:
    """At most eight connections, and one more for the heartbeat's thread. Nothing is tried again here."""

    def __init__(self, url: str, timeout_s: float) -> None:
        self.owner = uuid.uuid4().hex
        limits: dict[str, Any] = {"socket_timeout": timeout_s, "socket_connect_timeout": timeout_s}
        try:
            pool = redis.asyncio.BlockingConnectionPool.from_url(
                url,
                max_connections=CONNECTIONS,
                timeout=timeout_s,
                retry=AsyncRetry(NoBackoff(), 0),
                decode_responses=True,
                **limits,
            )
            self._beating = redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0), **limits)
        except ValueError:
            raise SettingsError('store.url: expected "redis://:password@host:6379/0"') from None
        self._server = redis.asyncio.Redis.from_pool(pool)
        self._digests: dict[str, str] = {}

    async def run(self, work: "Callable[[redis.asyncio.Redis], Awaitable[T]]") -> T:
        """What `work` returns. Raises Unreachable, also for a server that is full or may not be written to."""
        try:
            return await work(self._server)
        except (RedisError, OSError, TimeoutError) as error:
            raise _unreachable(error) from error

    async def script(self, text: str, keys: Sequence[str], arguments: Sequence[str | float]) -> Any:
        """What a script returns, which the server runs as one step."""

        async def work(server: redis.asyncio.Redis) -> Any:
            digest = self._digests.get(text) or await self._load(server, text)
            try:
                return await server.evalsha(digest, len(keys), *keys, *map(str, arguments))
            except NoScriptError:  # the server was started again
                return await server.evalsha(await self._load(server, text), len(keys), *keys, *map(str, arguments))

        return await self.run(work)

    def beat(self) -> None:
        """Blocks. Raises Unreachable."""
        try:
            self._beating.set(_OWNER + self.owner, "", px=round(1000 * LEASE_S))
        except (RedisError, OSError) as error:
            raise _unreachable(error) from error

    def end(self) -> None:
        """Die at once rather than of age."""
        with suppress(RedisError, OSError):
            self._beating.delete(_OWNER + self.owner)
        self._beating.close()

    async def close(self) -> None:
        await self._server.aclose(close_connection_pool=True)

    async def _load(self, server: redis.asyncio.Redis, text: str) -> str:
        digest = self._digests[text] = str(await server.script_load(text))
        return digest


def _unreachable(error: Exception) -> Unreachable:
    return Unreachable(f"Redis: {str(error) or type(error).__name__}")
