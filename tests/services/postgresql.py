"""A private PostgreSQL for tests: own port, own directory; never the machine's default cluster.

HOOKLINE_TEST_POSTGRESQL_URL names a server to use instead; tests that must stop or freeze it skip then. Without either,
tests skip on a laptop and fail where CI is set.
"""

import os
import pwd
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from uuid import uuid4

import psycopg
import pytest

from tests.services import servers
from tests.services.commands import output_of

PASSWORD = "hookline-test"
_FOLDERS = (
    "/usr/lib/postgresql/*/bin",
    "/opt/homebrew/opt/postgresql*/bin",
    "/usr/local/opt/postgresql*/bin",
)
VARIABLE = "HOOKLINE_TEST_POSTGRESQL_URL"
_INITDB_S = 60.0
_SERVER: pytest.StashKey["Server"] = pytest.StashKey()


class Server(servers.OwnServer):
    """A server on this machine that belongs to the test run. PostgreSQL refuses to run as root; it is `postgres` then.

    After a kill, the next start recovers from its log.
    """

    def __init__(self, programs: Path, more: Mapping[str, str] = MappingProxyType({})) -> None:
        super().__init__("PostgreSQL", user="postgres" if os.geteuid() == 0 else None)
        self._programs = programs
        self._more = more
        self._make_cluster()

    @property
    def url(self) -> str:
        return f"postgresql://hookline:{PASSWORD}@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Return once the server takes connections."""
        settings = {
            "port": str(self.port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "max_connections": "100",
            "shared_buffers": "32MB",
            "restart_after_crash": "off",
            **self._more,
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        self.launch([self._programs / "postgres", "-D", self.home / "data", *options], self._answers)

    def take(self, file: Path, name: str) -> None:
        """Copy a file into the server's folder, for the server's user alone."""
        copy = self.home / name
        copy.write_bytes(file.read_bytes())
        copy.chmod(0o600)
        if self.user is not None:
            user = pwd.getpwnam(self.user)
            os.chown(copy, user.pw_uid, user.pw_gid)

    def _make_cluster(self) -> None:
        (self.home / "password").write_text(PASSWORD)
        if self.user is not None:
            user = pwd.getpwnam(self.user)
            for path in (self.home, self.home / "password"):
                os.chown(path, user.pw_uid, user.pw_gid)
        owner = ["-U", "hookline", "--pwfile", "password", "--auth", "scram-sha-256"]
        form = ["--encoding", "UTF8", "--no-locale", "--no-sync"]
        command = [str(self._programs / "initdb"), "-D", "data", *owner, *form]
        output_of(command, folder=self.home, user=self.user, timeout_s=_INITDB_S)

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url, connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True


def server_url(config: pytest.Config) -> str:
    """A PostgreSQL: the one in the environment, or this run's own."""
    return os.environ.get(VARIABLE) or own_server(config).url


@contextmanager
def own_database(config: pytest.Config) -> Iterator[str]:
    """The URL of a database that no other test uses."""
    url, name = server_url(config), f"hookline_{uuid4().hex[:10]}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
        yield f"{url.rpartition('/')[0]}/{name}"
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def own_server(config: pytest.Config) -> Server:
    """This run's own server. It starts with the first call and ends with the run."""
    return servers.own_server(config, _SERVER, VARIABLE, lambda: Server(programs()))


def programs() -> Path:
    """The folder of the server's programs; where there is none, the tests skip or fail."""
    found = shutil.which("initdb")
    folders = [Path(found).parent] if found else []
    for pattern in _FOLDERS:
        folders += sorted(Path("/").glob(pattern.removeprefix("/")), reverse=True)
    for folder in folders:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    return servers.missing("PostgreSQL", VARIABLE)
