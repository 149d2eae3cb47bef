"""Checks of a store on a server: it is asked for its time, and nothing else."""

import asyncio
import time
from collections.abc import Iterator
from typing import NamedTuple

from hookline.doctor.findings import Finding, fault, ok, warning
from hookline.import_errors import optional_libraries
from hookline.schemas.errors import SettingsError
from hookline.settings import Settings
from hookline.settings_sections import REDIS_URLS

_MAX_SKEW_S = 5.0
_SLOW_S = 0.5


async def check_server(settings: Settings) -> Iterator[Finding]:
    """Whether the store answers, and whether its clock and ours agree."""
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
        return iter([warning("store", f"{slow}: look at its load and the network")])
    return iter([ok("store", f"{name} answers")])


class _Answer(NamedTuple):
    """The time of the server, and how long it took to say it on an open connection."""

    now_s: float
    took_s: float


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
    except redis.TimeoutError:
        raise TimeoutError from None
    except (redis.RedisError, OSError) as error:
        raise _Failed(f"Redis cannot be used: {str(error).rstrip('.')}") from None
    finally:
        await server.aclose()
    return _Answer(int(seconds) + int(microseconds) / 1e6, took_s)


async def _ask_postgresql(url: str, timeout_s: float) -> _Answer:
    with optional_libraries("postgresql", "store.url: PostgreSQL needs a library"):
        import psycopg  # noqa: PLC0415  an extra
    try:
        async with asyncio.timeout(timeout_s), await psycopg.AsyncConnection.connect(url) as connection:
            asked_s = time.monotonic()
            cursor = await connection.execute("SELECT extract(epoch FROM clock_timestamp())::float8")
            row = await cursor.fetchone()
            took_s = time.monotonic() - asked_s
    except TimeoutError:
        raise
    except (psycopg.Error, OSError) as error:
        text = str(error).strip().splitlines()
        raise _Failed(f"PostgreSQL cannot be used: {text[0] if text else type(error).__name__}") from None
    return _Answer(float(row[0]) if row else 0.0, took_s)
