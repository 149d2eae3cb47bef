"""Checks of a store on a server: it is asked for its time, and nothing else."""

import asyncio
import time
from collections.abc import Iterator

from hookline.doctor.findings import Finding, fault, ok, warning
from hookline.import_errors import optional_libraries
from hookline.schemas.errors import SettingsError
from hookline.settings import REDIS_URLS, Settings

_MAX_SKEW_S = 5.0
_SLOW_S = 1.0


async def check_server(settings: Settings) -> Iterator[Finding]:
    """Whether the store answers, and whether its clock and ours agree."""
    asked_s = time.monotonic()
    try:
        name, now_s = await _time(settings.store.url, settings.store.timeout_s)
    except SettingsError as error:
        return iter([fault("store", str(error))])
    except _Failed as error:
        return iter([fault("store", f"{error}: start the server, or mend store.url")])
    answer_s, skew_s = time.monotonic() - asked_s, time.time() - now_s
    if abs(skew_s) > _MAX_SKEW_S:
        ahead = "ahead of" if skew_s > 0 else "behind"
        return iter([fault("clock", f"this machine is {abs(skew_s):.0f} s {ahead} {name}'s: run NTP on both")])
    if answer_s > _SLOW_S:
        text = (
            f"{name} takes {answer_s:.1f} s to answer, and each event asks it twice: look at its load and the network"
        )
        return iter([warning("store", text)])
    return iter([ok("store", f"{name} answers")])


async def _time(url: str, timeout_s: float) -> tuple[str, float]:
    """The name of the server, and its time."""
    if url.startswith(REDIS_URLS):
        return "Redis", await _redis_time(url, timeout_s)
    return "PostgreSQL", await _postgresql_time(url, timeout_s)


class _Failed(Exception):
    """One line about what the server, or the way to it, did."""


async def _redis_time(url: str, timeout_s: float) -> float:
    with optional_libraries("redis", "store.url: Redis needs a library"):
        import redis.asyncio  # noqa: PLC0415  an extra
    try:
        server = redis.asyncio.Redis.from_url(url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s)
    except ValueError:
        raise SettingsError('store.url: expected "redis://:password@host:6379/0"') from None
    try:
        seconds, microseconds = await server.time()
    except (redis.RedisError, OSError, TimeoutError) as error:
        raise _Failed(f"Redis cannot be used: {str(error).rstrip('.')}") from None
    finally:
        await server.aclose()
    return int(seconds) + int(microseconds) / 1e6


async def _postgresql_time(url: str, timeout_s: float) -> float:
    with optional_libraries("postgresql", "store.url: PostgreSQL needs a library"):
        import psycopg  # noqa: PLC0415  an extra
    try:
        async with asyncio.timeout(timeout_s), await psycopg.AsyncConnection.connect(url) as connection:
            cursor = await connection.execute("SELECT extract(epoch FROM clock_timestamp())::float8")
            row = await cursor.fetchone()
    except (psycopg.Error, OSError, TimeoutError) as error:
        text = str(error).strip().splitlines()
        raise _Failed(f"PostgreSQL cannot be used: {text[0] if text else type(error).__name__}") from None
    return float(row[0]) if row else 0.0
