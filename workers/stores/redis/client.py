"""A Redis server: commands and scripts, bounded in time, and the heartbeat of this process."""

import uuid
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlsplit

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.exceptions import NoPermissionError, NoScriptError, ReadOnlyError, RedisError
from redis.retry import Retry

from hookline.aio.cancellation import cancellation_kept
from hookline.aio.certificates import client_context
from hookline.schemas.errors import SettingsError, Unreachable
from hookline.workers.stores.redis import scripts
from hookline.workers.stores.redis.scripts import SCHEMA_VERSION

T = TypeVar("T")

CONNECTIONS = 8
_LEASES = "hookline:leases"
_SCHEMA = "hookline:schema"
_OF_EARLIER_VERSIONS = "hookline:members:*"
_SCANNED_AT_ONCE = 1000

# KEYS: the schema's version. ARGV: our version. Returns the higher one.
_NOTE_SCHEMA = """
local found = tonumber(redis.call('GET', KEYS[1]) or 0)
if found >= tonumber(ARGV[1]) then return found end
redis.call('SET', KEYS[1], ARGV[1])
return tonumber(ARGV[1])
"""


class Client:
    """At most eight connections, and one more for the heartbeat's thread. Nothing is retried here."""

    def __init__(self, url: str, timeout_s: float) -> None:
        self.owner = uuid.uuid4().hex
        limits: dict[str, Any] = {"socket_timeout": timeout_s, "socket_connect_timeout": timeout_s}
        if url.startswith("rediss:"):
            _check_files(url)
            limits["ssl_password"] = ""  # unless the URL has one: OpenSSL would ask at the terminal, and wait
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
            self._beat = self._beating.register_script(scripts.BEAT)
            pool.make_connection()  # type: ignore[no-untyped-call]  # of redis-py; only for its errors
        except ValueError:
            raise SettingsError('store.url: expected "redis://:password@host:6379/0"') from None
        except TypeError as error:
            option = str(error).rpartition(" ")[2]
            raise SettingsError(f"store.url: redis-py has no option {option}") from None
        self._server = redis.asyncio.Redis.from_pool(pool)
        self._digests: dict[str, str] = {}

    async def run(self, work: "Callable[[redis.asyncio.Redis], Awaitable[T]]") -> T:
        """What `work` returns. Raises Unreachable, also for a server that is full or read-only.

        After an error no connection is used again: a server that was demoted would answer READONLY on each for ever,
        while another has taken its place at the same address.
        """
        try:
            with cancellation_kept():
                return await work(self._server)
        except (RedisError, OSError, TimeoutError, RuntimeError) as error:  # uvloop: RuntimeError is "closed"
            with suppress(RedisError, OSError, RuntimeError):  # one that is not closed in time is forgotten, too
                await self._server.connection_pool.disconnect(inuse_connections=False)
            raise _unreachable(error) from error

    async def script(self, text: str, keys: Sequence[str], arguments: Sequence[str | float]) -> Any:
        """What a script returns. The server runs it as one step."""

        async def work(server: redis.asyncio.Redis) -> Any:
            digest = self._digests.get(text) or await self._load(server, text)
            try:
                return await server.evalsha(digest, len(keys), *keys, *map(str, arguments))
            except NoScriptError:  # the server has restarted
                return await server.evalsha(await self._load(server, text), len(keys), *keys, *map(str, arguments))

        return await self.run(work)

    async def check_schema(self) -> None:
        """Note the version of the schema, and delete what only earlier ones used.

        Raises Unreachable, or SettingsError for a newer one.
        """
        if int(await self.run(lambda server: server.get(_SCHEMA)) or 0) < SCHEMA_VERSION:
            await self.run(_delete_unused)
        found = int(await self.script(_NOTE_SCHEMA, [_SCHEMA], [SCHEMA_VERSION]))
        if found > SCHEMA_VERSION:
            raise SettingsError(
                f"store.url: the keys hookline:* in Redis were written by a newer version of Hookline (their schema "
                f"version is {found}, and this version knows {SCHEMA_VERSION}): "
                "install the newer version, or name another database"
            )

    def beat(self, before: int, known: str) -> int:
        """Send a heartbeat, as `scripts.BEAT` says. Blocks. Raises Unreachable."""
        try:
            return int(self._beat(args=[self.owner, before, known]))
        except (RedisError, OSError) as error:
            self._beating.connection_pool.disconnect()
            raise _unreachable(error) from error

    def end(self) -> None:
        """End the lease at once."""
        with suppress(RedisError, OSError):
            self._beating.hdel(_LEASES, self.owner)
        self._beating.close()

    async def close(self) -> None:
        await self._server.aclose(close_connection_pool=True)

    async def _load(self, server: redis.asyncio.Redis, text: str) -> str:
        digest = self._digests[text] = str(await server.script_load(text))
        return digest


async def _delete_unused(server: "redis.asyncio.Redis") -> None:
    async for key in server.scan_iter(match=_OF_EARLIER_VERSIONS, count=_SCANNED_AT_ONCE):
        await server.unlink(key)


def _check_files(url: str) -> None:
    """Raise SettingsError if TLS cannot use a file that the URL names: redis-py would not say which."""
    query = dict(parse_qsl(urlsplit(url).query))
    authority, certificate, key = (query.get(name, "") for name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile"))
    if "ssl_password" in query:
        certificate = ""
    try:
        client_context(authority, certificate, key, ("ssl_ca_certs", "ssl_certfile"))
    except ValueError as error:
        raise SettingsError(f"store.url: {error}") from None


def _unreachable(error: Exception) -> Unreachable:
    hint = ""
    if isinstance(error, ReadOnlyError):
        hint = "; store.url must name a server that accepts writes"
    elif isinstance(error, NoPermissionError):
        hint = "; the user in store.url needs all commands on the keys hookline:*"
    return Unreachable(f"Redis: {str(error).rstrip('.') or type(error).__name__}{hint}")
