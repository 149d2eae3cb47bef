"""Checks of a store on a server: it is asked for its time and whether it takes writes, and nothing is written."""

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from hookline.doctor.findings import Finding, fault, ok, warning
from hookline.import_errors import optional_libraries
from hookline.schemas.errors import SettingsError
from hookline.settings import Settings
from hookline.settings_sections import REDIS_URLS

_MAX_SKEW_S = 5.0
_SLOW_S = 0.5
_NEARLY_FULL = 0.9
_NO_EVICTION = "noeviction"
_ASK_POSTGRESQL = """
SELECT extract(epoch FROM clock_timestamp())::float8, current_setting('transaction_read_only')::bool
"""


async def check_server(settings: Settings) -> Iterator[Finding]:
    """Whether the store answers and takes writes, and whether its clock and ours agree."""
    try:
        name, answer = await _answer(settings.store.url, settings.store.timeout_s)
    except SettingsError as error:
        return iter([fault("store", str(error))])
    except _Failed as error:
        return iter([fault("store", f"{error}: start the server, or mend store.url")])
    except TimeoutError:
        silent = f"the store did not answer within {settings.store.timeout_s:g} s"
        return iter([fault("store", f"{silent}: look at its load and the network, or mend store.url")])
    skew_s = time.time() - answer.now_s
    if abs(skew_s) > _MAX_SKEW_S:
        ahead = "ahead of" if skew_s > 0 else "behind"
        return iter([fault("clock", f"this machine is {abs(skew_s):.0f} s {ahead} {name}'s: run NTP on both")])
    if answer.took_s > _SLOW_S:
        slow = f"{name} takes {answer.took_s:.1f} s to answer, and each event asks it twice"
        return iter([warning("store", f"{slow}: look at its load and the network"), *answer.findings])
    return iter(answer.findings or [ok("store", f"{name} answers")])


class _Answer(NamedTuple):
    """The time of the server, how long it took to say it on an open connection, and why it may not do its work."""

    now_s: float
    took_s: float
    findings: Sequence[Finding]


async def _answer(url: str, timeout_s: float) -> tuple[str, _Answer]:
    """The name of the server, and its answer."""
    if url.startswith(REDIS_URLS):
        return "Redis", await _ask_redis(url, timeout_s)
    return "PostgreSQL", await _ask_postgresql(url, timeout_s)


class _Failed(Exception):
    """One line about what the server, or the way to it, did."""


async def _ask_redis(url: str, timeout_s: float) -> _Answer:
    with optional_libraries("redis", "store.url: Redis needs a library"):
        import redis.asyncio  # noqa: PLC0415  an extra
    try:
        server = redis.asyncio.Redis.from_url(url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s)
    except ValueError:
        raise SettingsError('store.url: expected "redis://:password@host:6379/0"') from None
    try:
        await server.ping()  # connects
        asked_s = time.monotonic()
        seconds, microseconds = await server.time()
        took_s = time.monotonic() - asked_s
        facts: Mapping[str, Any] = {}
        with suppress(redis.ResponseError):  # its user may not ask
            facts = await server.info("all")
    except redis.TimeoutError:
        raise TimeoutError from None
    except (redis.RedisError, OSError) as error:
        raise _Failed(f"Redis cannot be used: {str(error).rstrip('.')}") from None
    finally:
        with suppress(redis.RedisError, OSError):
            await server.aclose()
    return _Answer(int(seconds) + int(microseconds) / 1e6, took_s, list(redis_findings(facts)))


def redis_findings(facts: Mapping[str, Any]) -> Iterator[Finding]:
    """What the answer to INFO tells."""
    if facts.get("role") == "slave":
        yield fault("store", "Redis is a replica there: name the server that takes writes in store.url")
    limit_bytes, used_bytes = int(facts.get("maxmemory", 0)), int(facts.get("used_memory", 0))
    policy = facts.get("maxmemory_policy", _NO_EVICTION)
    if limit_bytes and policy != _NO_EVICTION:
        lost = f"Redis deletes keys when it is full ({policy}), and what it deletes is handled again"
        yield warning("store", f"{lost}: set maxmemory-policy {_NO_EVICTION}, and watch its memory")
    elif limit_bytes and used_bytes >= limit_bytes:
        used = f"Redis is full ({limit_bytes / 2**20:.0f} MiB, its maxmemory), so that no event is handled"
        yield fault("store", f"{used}: raise maxmemory, or lower store.ttl_s and store.rooms_ttl_s")
    elif used_bytes >= _NEARLY_FULL * limit_bytes > 0:
        used = f"Redis uses {used_bytes / limit_bytes:.0%} of its maxmemory, and handles no event when it is full"
        yield warning("store", f"{used}: raise maxmemory soon")
    if "err" in {facts.get("rdb_last_bgsave_status"), facts.get("aof_last_write_status")}:
        yield warning("store", "Redis could not write its data to disk, and may refuse writes: is its disk full?")


async def _ask_postgresql(url: str, timeout_s: float) -> _Answer:
    with optional_libraries("postgresql", "store.url: PostgreSQL needs a library"):
        import psycopg  # noqa: PLC0415  an extra
    try:
        async with asyncio.timeout(timeout_s), await psycopg.AsyncConnection.connect(url) as connection:
            asked_s = time.monotonic()
            cursor = await connection.execute(_ASK_POSTGRESQL)
            row = await cursor.fetchone()
            took_s = time.monotonic() - asked_s
    except TimeoutError:
        raise
    except (psycopg.Error, OSError) as error:
        text = str(error).strip().splitlines()
        raise _Failed(f"PostgreSQL cannot be used: {text[0] if text else type(error).__name__}") from None
    now_s, is_read_only = row or (0.0, False)
    read_only = (
        "PostgreSQL takes no writes there, as a standby: name the primary in store.url, or end what is read-only"
    )
    return _Answer(float(now_s), took_s, [fault("store", read_only)] if is_read_only else [])
