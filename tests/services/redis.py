"""A private Redis for tests: own port, own directory; never the machine's default one.

HOOKLINE_TEST_REDIS_URL names a server to use instead; tests that must stop or freeze it skip then. Without either,
tests skip on a laptop and fail where CI is set.
"""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Literal

import pytest
import redis

from tests.services import servers

PASSWORD = "hookline-test"
VARIABLE = "HOOKLINE_TEST_REDIS_URL"
_SERVER: pytest.StashKey["Server"] = pytest.StashKey()


class Server(servers.OwnServer):
    """A server on this machine that belongs to the test run. It keeps its data when it is killed."""

    def __init__(
        self,
        program: str,
        fsync: Literal["always", "everysec"] = "always",
        more: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        super().__init__("Redis")
        self._program = program
        self.more = more
        self._fsync = fsync

    @property
    def url(self) -> str:
        return f"redis://:{PASSWORD}@127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Return once the server answers."""
        settings = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "dir": str(self.home),
            "requirepass": PASSWORD,
            "appendonly": "yes",
            "appendfsync": self._fsync,
            "save": "",
            **self.more,
        }
        options = [word for name, value in settings.items() for word in (f"--{name}", value)]
        self.launch([self._program, *options], self._answers)

    def _answers(self) -> bool:
        try:
            with redis.Redis.from_url(self.url, socket_timeout=2) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False


def server_url(config: pytest.Config) -> str:
    """A Redis: the one in the environment, or this run's own."""
    return os.environ.get(VARIABLE) or own_server(config).url


@contextmanager
def own_database(config: pytest.Config) -> Iterator[str]:
    """The URL of a database that no other test uses at the same time. It is empty."""
    own = f"{server_url(config).rpartition('/')[0]}/15"
    with redis.Redis.from_url(own) as client:
        client.flushdb()
        yield own
        client.flushdb()


def own_server(config: pytest.Config) -> Server:
    """This run's own server. It starts with the first call and ends with the run."""
    return servers.own_server(config, _SERVER, VARIABLE, lambda: Server(program()))


def program() -> str:
    """The server's program; where there is none, the tests skip or fail."""
    return shutil.which("redis-server") or servers.missing("Redis", VARIABLE)
