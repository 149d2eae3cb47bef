"""A private PostgreSQL for tests: own port, own directory; never the machine's default cluster.

HOOKLINE_TEST_POSTGRESQL_URL names a server to use instead; tests that must stop or freeze it skip then. Without either,
tests skip on a laptop and fail where CI is set.
"""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest

from tests.services import servers

PASSWORD = "hookline-test"
_PLACES = (
    "/usr/lib/postgresql/*/bin",
    "/opt/homebrew/opt/postgresql*/bin",
    "/usr/local/opt/postgresql*/bin",
)
VARIABLE = "HOOKLINE_TEST_POSTGRESQL_URL"
_START_S = 60.0
_SERVER: pytest.StashKey["Server"] = pytest.StashKey()


class Server:
    """A server on this machine that belongs to the test run. It refuses to run as root, and then is `postgres`."""

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        self._user = "postgres" if os.geteuid() == 0 else None
        self._home = Path(tempfile.mkdtemp(prefix="hookline-postgresql-"))
        (self._port,) = servers.free_ports(1)
        self._server: subprocess.Popen[bytes] | None = None
        self._make_cluster()

    @property
    def url(self) -> str:
        return f"postgresql://hookline:{PASSWORD}@127.0.0.1:{self._port}/postgres"

    def start(self) -> None:
        """Return once the server takes connections."""
        settings = {
            "port": str(self._port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "max_connections": "100",
            "shared_buffers": "32MB",
            "restart_after_crash": "off",
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with (self._home / "output").open("ab") as output:
            self._server = subprocess.Popen(  # noqa: S603  the server's own program
                [self._programs / "postgres", "-D", self._home / "data", *options],
                user=self._user,
                cwd=self._home,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        servers.await_start("PostgreSQL", self._home, self._answers, self._is_running, _START_S)

    def freeze(self) -> None:
        """Stop every process of the server: what connects is taken by the kernel, and nobody answers."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it without a shutdown; the next start recovers from its log."""
        if self._server is not None and self._server.poll() is None:
            self._signal(signal.SIGKILL)
            self._server.wait()
        self._server = None

    def close(self) -> None:
        self.kill()
        shutil.rmtree(self._home, ignore_errors=True)

    def _make_cluster(self) -> None:
        (self._home / "password").write_text(PASSWORD)
        if self._user is not None:
            user = pwd.getpwnam(self._user)
            for path in (self._home, self._home / "password"):
                os.chown(path, user.pw_uid, user.pw_gid)
        command = ["initdb", "-D", "data", "-U", "hookline", "--pwfile", "password", "--auth", "scram-sha-256"]
        done = subprocess.run(  # noqa: S603  likewise
            [self._programs / command[0], *command[1:], "--encoding", "UTF8", "--no-locale", "--no-sync"],
            user=self._user,
            cwd=self._home,
            capture_output=True,
            text=True,
            timeout=_START_S,
            check=False,
        )
        assert done.returncode == 0, f"initdb: {done.stdout}{done.stderr}"

    def _is_running(self) -> bool:
        return self._server is not None and self._server.poll() is None

    def _signal(self, number: signal.Signals) -> None:
        for pid in self._pids():
            with suppress(ProcessLookupError):  # it has just ended by itself
                os.kill(pid, number)

    def _pids(self) -> list[int]:
        """The server's first process, and those that it started, each of which leads a session of its own."""
        if self._server is None or self._server.poll() is not None:
            return []
        ps = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True)  # noqa: S607
        pairs = [tuple(map(int, line.split())) for line in ps.stdout.splitlines()]
        return [self._server.pid, *(pid for pid, parent in pairs if parent == self._server.pid)]

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url, connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True


def server_url(config: pytest.Config) -> str:
    """A PostgreSQL: the one in the environment, or this run's own."""
    return os.environ.get(VARIABLE) or own_server(config).url


def own_server(config: pytest.Config) -> Server:
    """This run's own server, started when it is first asked for and ended with the run."""
    return servers.own_server(config, _SERVER, VARIABLE, lambda: Server(_programs()))


def _programs() -> Path:
    found = shutil.which("initdb")
    places = [Path(found).parent] if found else []
    for pattern in _PLACES:
        places += sorted(Path("/").glob(pattern.removeprefix("/")), reverse=True)
    for place in places:
        if (place / "initdb").exists() and (place / "postgres").exists():
            return place
    return servers.missing("PostgreSQL", VARIABLE)
