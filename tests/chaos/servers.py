"""The servers of a run: RabbitMQ, and a store that can fail over to a replica or hide behind a connection pooler."""

import os
import pwd
import shutil
import socket
import subprocess
import time
from contextlib import suppress
from typing import Any, Protocol

import redis

from tests.chaos.faults import KINDS, Store
from tests.services import postgresql, rabbitmq
from tests.services import redis as redis_service
from tests.services.servers import OwnServer

_FAILOVER_S = 30.0
_PATIENCE = 5


class Server(Protocol):
    """A server that starts when it is told to."""

    def start(self) -> None: ...

    def close(self) -> None: ...


class StoreServer(Server, Protocol):
    """A store, as faults see it."""

    @property
    def port(self) -> int: ...

    @property
    def url(self) -> str: ...

    def freeze(self) -> None: ...

    def thaw(self) -> None: ...

    def kill(self) -> None: ...


class RedisPair:
    """A Redis, and where it can fail over, a replica. Faults hit whichever is the master."""

    def __init__(self, *, replicated: bool) -> None:
        self._master = redis_service.Server(redis_service.program())
        self._replica = redis_service.Server(redis_service.program()) if replicated else None

    @property
    def port(self) -> int:
        return self._master.port

    @property
    def url(self) -> str:
        return self._master.url

    def start(self) -> None:
        self._start(self._master)
        if self._replica is not None and self._replica.pid is None:
            self._start(self._replica)
            _command(self._replica, "REPLICAOF", "127.0.0.1", self._master.port)

    def freeze(self) -> None:
        self._master.freeze()

    def thaw(self) -> None:
        self._master.thaw()

    def kill(self) -> None:
        self._master.kill()

    def close(self) -> None:
        for server in filter(None, (self._master, self._replica)):
            server.close()

    def fail_over(self) -> None:
        """The replica becomes the master with every write that was acknowledged; the master becomes its replica."""
        assert self._replica is not None
        deadline = time.monotonic() + _FAILOVER_S
        while _command(self._replica, "ROLE")[3] != b"connected":
            assert time.monotonic() < deadline, "the replica does not follow its master"
            time.sleep(0.1)
        self._order_failover(self._replica.port, deadline)
        while _command(self._replica, "ROLE")[0] != b"master":
            assert time.monotonic() < deadline, "the replica was not promoted"
            time.sleep(0.05)
        self._master, self._replica = self._replica, self._master

    def _order_failover(self, port: int, deadline: float) -> None:
        """The master sees its replica only after the replica has loaded its data and said so."""
        while True:
            try:
                _command(self._master, "FAILOVER", "TO", "127.0.0.1", port, "TIMEOUT", 10_000)
            except redis.ResponseError as error:
                if "not online" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
            else:
                return

    def _start(self, server: redis_service.Server) -> None:
        server.start()
        _command(server, "CONFIG", "SET", "masterauth", redis_service.PASSWORD)


class PgBouncer(OwnServer):
    """A pooler in transaction mode before a PostgreSQL. It refuses to run as root; it is `postgres` then."""

    def __init__(self, target_port: int) -> None:
        super().__init__("PgBouncer", user="postgres" if os.geteuid() == 0 else None)
        self._target_port = target_port

    def start(self) -> None:
        (self.home / "users").write_text(f'"hookline" "{postgresql.PASSWORD}"\n')
        (self.home / "pgbouncer.ini").write_text(
            f"[databases]\npostgres = host=127.0.0.1 port={self._target_port}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {self.port}\nunix_socket_dir =\n"
            "pool_mode = transaction\nauth_type = scram-sha-256\nauth_file = users\n"
            "default_pool_size = 20\nmax_client_conn = 500\nserver_login_retry = 1\n"
        )
        if self.user is not None:
            user = pwd.getpwnam(self.user)
            for path in (self.home, *self.home.iterdir()):
                os.chown(path, user.pw_uid, user.pw_gid)
        self.launch([program_of_pgbouncer() or "pgbouncer", "pgbouncer.ini"], self._accepts)

    def start_again(self) -> bool:
        """Start it again if it has ended, as its service would: version 1.18 ends when it loses track of a client."""
        if self._is_running():
            return False
        self.start()
        return True

    def _accepts(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=2).close()
        except OSError:
            return False
        return True


def program_of_pgbouncer() -> str | None:
    return shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


def possible_kinds(store: Store) -> list[str]:
    """The kinds of faults that this store and this machine can have."""
    possible = [name for name, kind in KINDS.items() if store in kind.stores]
    if program_of_pgbouncer() is None and "pgbouncer" in possible:
        possible.remove("pgbouncer")
    return possible


def control(node: rabbitmq.Node, *arguments: str) -> str:
    """What `rabbitmqctl` says, however long the node takes: a command that is cut off goes on in the node."""
    for _ in range(_PATIENCE):
        with suppress(subprocess.TimeoutExpired):
            return node.control(*arguments)
    raise AssertionError(f"rabbitmqctl {arguments[0]} does not end")


def make_rabbitmq() -> rabbitmq.Node:
    return rabbitmq.Node(rabbitmq.programs())


def make_store(store: Store, *, replicated: bool) -> StoreServer:
    if store == "redis":
        return RedisPair(replicated=replicated)
    return postgresql.Server(postgresql.programs())


def _command(server: redis_service.Server, *words: str | int) -> Any:
    with redis.Redis.from_url(server.url, socket_timeout=10) as client:
        answer: Any = client.execute_command(*words)
        return answer
