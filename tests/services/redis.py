"""A private Redis for tests: own port, own directory; never the machine's default one.

HOOKLINE_TEST_REDIS_URL names a server to use instead; tests that must stop or freeze it skip then. Without either,
tests skip on a laptop and fail where CI is set.
"""

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Literal

import pytest
import redis

from tests.services import servers

PASSWORD = "hookline-test"
VARIABLE = "HOOKLINE_TEST_REDIS_URL"
_START_S = 30.0
_SERVER: pytest.StashKey["Server"] = pytest.StashKey()


class Server:
    """A server on this machine that belongs to the test run, and that keeps what it is told when it is killed."""

    def __init__(self, program: str, fsync: Literal["always", "everysec"] = "always") -> None:
        self._program = program
        self._fsync = fsync
        self._home = Path(tempfile.mkdtemp(prefix="hookline-redis-"))
        (self._port,) = servers.free_ports(1)
        self._server: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://:{PASSWORD}@127.0.0.1:{self._port}/0"

    @property
    def pid(self) -> int | None:
        """The server's process, while it runs."""
        return None if self._server is None else self._server.pid

    def start(self) -> None:
        """Return once the server answers."""
        settings = {
            "port": str(self._port),
            "bind": "127.0.0.1",
            "dir": str(self._home),
            "requirepass": PASSWORD,
            "appendonly": "yes",
            "appendfsync": self._fsync,
            "save": "",
        }
        command = [self._program, *(word for name, value in settings.items() for word in (f"--{name}", value))]
        with (self._home / "output").open("ab") as output:
            self._server = subprocess.Popen(  # noqa: S603  the server's own program
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        servers.await_start("Redis", self._home, self._answers, self._is_running, _START_S)

    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)
        if self._server is not None:
            self._server.wait()
            self._server = None

    def close(self) -> None:
        self.kill()
        shutil.rmtree(self._home, ignore_errors=True)

    def _is_running(self) -> bool:
        return self._server is not None and self._server.poll() is None

    def _signal(self, number: signal.Signals) -> None:
        if self._server is not None and self._server.poll() is None:
            self._server.send_signal(number)

    def _answers(self) -> bool:
        try:
            with redis.Redis.from_url(self.url, socket_timeout=2) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False


def server_url(config: pytest.Config) -> str:
    """A Redis: the one in the environment, or this run's own."""
    return os.environ.get(VARIABLE) or own_server(config).url


def own_server(config: pytest.Config) -> Server:
    """This run's own server, started when it is first asked for and ended with the run."""
    return servers.own_server(config, _SERVER, VARIABLE, lambda: Server(program()))


def program() -> str:
    """The server's program; where there is none, the tests skip or fail."""
    found = shutil.which("redis-server")
    if found:
        return found
    return servers.missing("Redis", VARIABLE)
