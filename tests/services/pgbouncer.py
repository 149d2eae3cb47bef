"""A private PgBouncer in front of this test run's PostgreSQL, which pools by transaction."""

import os
import shutil
from pathlib import Path

import psycopg
import pytest

from tests.services import postgresql, servers

_SERVER: pytest.StashKey["Server"] = pytest.StashKey()


class Server(servers.OwnServer):
    """Few connections to the server, so that clients share them. It refuses to run as root; it is `postgres` then."""

    def __init__(self, program: str, behind: postgresql.Server) -> None:
        super().__init__("PgBouncer", user="postgres" if os.geteuid() == 0 else None)
        self._program = program
        self._behind = behind

    @property
    def url(self) -> str:
        return f"postgresql://hookline:{postgresql.PASSWORD}@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Return once it takes connections."""
        if self.user is not None:
            shutil.chown(self.home, self.user)
        (self.home / "users").write_text(f'"hookline" "{postgresql.PASSWORD}"\n')
        (self.home / "settings").write_text(
            f"""[databases]
* = host=127.0.0.1 port={self._behind.port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {self.port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = users
pool_mode = transaction
default_pool_size = 3
max_client_conn = 500
"""
        )
        self.launch([self._program, "settings"], self._answers)

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url, connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True


def own_server(config: pytest.Config) -> Server:
    """This run's own. It starts with the first call and ends with the run."""
    behind = postgresql.own_server(config)
    return servers.own_server(config, _SERVER, postgresql.VARIABLE, lambda: Server(program(), behind))


def program() -> str:
    """The program; where there is none, the tests skip or fail."""
    found = shutil.which("pgbouncer") or "/usr/sbin/pgbouncer"
    return found if Path(found).exists() else servers.missing("PgBouncer", postgresql.VARIABLE)
