"""A private RabbitMQ node for tests: own ports, own directories, own cookie; never the machine's default node.

HOOKLINE_TEST_AMQP_URL names a server to use instead; tests that must stop, freeze or choke the node skip then. Without
either, tests skip on a laptop and fail where CI is set.
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.services import servers

_PLACES = ("/usr/lib/rabbitmq/bin", "/opt/homebrew/opt/rabbitmq/sbin", "/usr/local/opt/rabbitmq/sbin")
VARIABLE = "HOOKLINE_TEST_AMQP_URL"
_START_S = 60.0
_CONTROL_S = 60.0
_NODE: pytest.StashKey["Node"] = pytest.StashKey()


class Node:
    """A server on this machine that belongs to the test run."""

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        self._home = Path(tempfile.mkdtemp(prefix="hookline-rabbitmq-"))
        self._port, dist_port, epmd_port = servers.free_ports(3)
        self._environment = _environment(self._home, self._port, dist_port, epmd_port)
        self._epmd: subprocess.Popen[bytes] | None = None
        self._server: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self._port}/"

    @property
    def pid(self) -> int | None:
        """The first of the server's processes, while it runs."""
        return None if self._server is None else self._server.pid

    def start(self) -> None:
        """Return once the server accepts connections."""
        if self._epmd is None:
            self._epmd = self._spawn([_epmd(), "-port", self._environment["ERL_EPMD_PORT"]])
        self._server = self._spawn([str(self._programs / "rabbitmq-server")])
        servers.await_start("RabbitMQ", self._home, lambda: _greets(self._port), self._is_running, _START_S)

    def control(self, *arguments: str) -> str:
        """What `rabbitmqctl` says."""
        done = subprocess.run(  # noqa: S603  # the server's own program
            [self._programs / "rabbitmqctl", "-q", *arguments],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=_CONTROL_S,
            check=False,
        )
        assert done.returncode == 0, f"rabbitmqctl {arguments[0]}: {done.stdout}{done.stderr}"
        return done.stdout

    def freeze(self) -> None:
        """Return once the server stands still: it runs on until one of its threads is given the processor."""
        self._signal(signal.SIGSTOP)
        while self._is_running() and self._server is not None and _moves(self._server.pid):
            time.sleep(0.01)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """End the server as a power cut would, as far as its memory is concerned."""
        self._signal(signal.SIGKILL)
        if self._server is not None:
            self._server.wait()
            self._server = None

    def close(self) -> None:
        self.kill()
        if self._epmd is not None:
            self._epmd.kill()
            self._epmd.wait()
        shutil.rmtree(self._home, ignore_errors=True)

    def _spawn(self, command: list[str]) -> subprocess.Popen[bytes]:
        with (self._home / "output").open("ab") as output:
            return subprocess.Popen(  # noqa: S603  # likewise
                command,
                env=self._environment,
                cwd=self._home,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def _signal(self, number: signal.Signals) -> None:
        if self._server is not None and self._server.poll() is None:
            os.killpg(self._server.pid, number)

    def _is_running(self) -> bool:
        return self._server is not None and self._server.poll() is None


def server_url(config: pytest.Config) -> str:
    """A server that speaks AMQP: the one in the environment, or this run's own node."""
    return os.environ.get(VARIABLE) or own_node(config).url


def own_node(config: pytest.Config) -> Node:
    """This run's own node, started when it is first asked for and ended with the run."""
    return servers.own_server(config, _NODE, VARIABLE, lambda: Node(programs()))


def programs() -> Path:
    """The folder of the server's programs; where there is none, the tests skip or fail."""
    found = shutil.which("rabbitmq-server")
    for place in (*_PLACES, *([str(Path(found).parent)] if found else [])):
        if (Path(place) / "rabbitmq-server").exists():
            return Path(place)
    return servers.missing("RabbitMQ", VARIABLE)


def _epmd() -> str:
    return shutil.which("epmd") or pytest.fail("epmd, which comes with Erlang, is not on PATH")


def _environment(home: Path, port: int, dist_port: int, epmd_port: int) -> dict[str, str]:
    (home / "enabled_plugins").write_text("[].\n")
    (home / "rabbitmq.conf").write_text(
        f"listeners.tcp.1 = 127.0.0.1:{port}\n"
        "disk_free_limit.absolute = 50MB\n"
        "vm_memory_high_watermark.relative = 0.4\n"
        "log.console = false\n"
    )
    return {
        "PATH": os.environ["PATH"],
        "LANG": "C.UTF-8",
        "HOME": str(home),
        "ERL_EPMD_PORT": str(epmd_port),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODENAME": f"hookline-{os.getpid()}@localhost",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(dist_port),
        "RABBITMQ_MNESIA_BASE": str(home / "data"),
        "RABBITMQ_LOG_BASE": str(home / "log"),
        "RABBITMQ_CONFIG_FILE": str(home / "rabbitmq.conf"),
        "RABBITMQ_CONF_ENV_FILE": str(home / "none"),
        "RABBITMQ_ADVANCED_CONFIG_FILE": str(home / "none.config"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "enabled_plugins"),
    }


def _moves(group: int) -> bool:
    """Whether a thread of the process group is not stopped; of no use where there is no /proc."""
    for stat in Path("/proc").glob("[0-9]*/task/[0-9]*/stat"):
        with suppress(OSError):  # it has ended
            state, _, of = stat.read_text(errors="replace").rpartition(")")[2].split()[:3]
            if int(of) == group and state not in "TtZX":
                return True
    return False


def _greets(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            connection.sendall(b"AMQP\0\0\x09\x01")
            return bool(connection.recv(1))
    except OSError:
        return False
