"""A private RabbitMQ node for tests: own ports, own directories, own cookie; never the machine's default node.

HOOKLINE_TEST_RABBITMQ_PROGRAMS names the folder of `rabbitmq-server` and `rabbitmqctl` to start; without it, the
installed ones start. HOOKLINE_TEST_AMQP_URL names a server to use instead; tests that must stop, freeze or choke the
node skip then. Without any of them, tests skip on a laptop and fail where CI is set.
"""

import os
import re
import shutil
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import pytest

from tests.services import servers
from tests.services.commands import output_of

_FOLDERS = ("/usr/lib/rabbitmq/bin", "/opt/homebrew/opt/rabbitmq/sbin", "/usr/local/opt/rabbitmq/sbin")
VARIABLE = "HOOKLINE_TEST_AMQP_URL"
PROGRAMS_VARIABLE = "HOOKLINE_TEST_RABBITMQ_PROGRAMS"
_CONTROL_S = 60.0
_ADVANCED = Path(__file__).parents[2] / "deploy" / "rabbitmq-advanced.config"
_SETTING = re.compile(r"\{(\w+), (\d+)\}")
_NODE: pytest.StashKey["Node"] = pytest.StashKey()


class Node(servers.OwnServer):
    """A server on this machine that belongs to the test run.

    `settings` are numbers for its application `rabbit`, besides those of deploy/rabbitmq-advanced.config.
    `configuration` is added to `rabbitmq.conf`. `plugins` are switched on.
    """

    environment: dict[str, str]

    def __init__(
        self,
        programs: Path,
        settings: Mapping[str, int] = MappingProxyType({}),
        configuration: str = "",
        plugins: Sequence[str] = (),
    ) -> None:
        super().__init__("RabbitMQ")
        self.environment = _environment(self.home, self.port)
        with (self.home / "rabbitmq.conf").open("a") as file:
            file.write(configuration)
        numbers: Mapping[str, object] = {**dict(_SETTING.findall(_ADVANCED.read_text())), **settings}
        pairs = ", ".join(f"{{{name}, {value}}}" for name, value in numbers.items())
        (self.home / "enabled_plugins").write_text(f"[{', '.join(plugins)}].\n")
        (self.home / "advanced.config").write_text(f"[{{rabbit, [{pairs}]}}].\n")
        self._programs = programs

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}/"

    def start(self) -> None:
        """Return once the server accepts connections."""
        port = int(self.environment["ERL_EPMD_PORT"])
        if self._companion is None and not _listens(port):  # the nodes of a cluster share one
            # Its port is in the environment. The server would start one of its own, and leave it behind.
            self.launch_companion([_epmd(self._programs)], lambda: _listens(port))
        self.launch([self._programs / "rabbitmq-server"], lambda: _greets(self.port))

    def control(self, *arguments: str) -> str:
        """What `rabbitmqctl` says."""
        command = [str(self._programs / "rabbitmqctl"), "-q", *arguments]
        return output_of(command, environment=self.environment, timeout_s=_CONTROL_S)


def server_url(config: pytest.Config) -> str:
    """A server that speaks AMQP: the one in the environment, or this run's own node."""
    return os.environ.get(VARIABLE) or own_node(config).url


def own_node(config: pytest.Config) -> Node:
    """This run's own node. It starts with the first call and ends with the run."""
    return servers.own_server(config, _NODE, VARIABLE, lambda: Node(programs()))


def programs() -> Path:
    """The folder of the server's programs; where there is none, the tests skip or fail."""
    if named := os.environ.get(PROGRAMS_VARIABLE):
        return _named_programs(Path(named))
    found = shutil.which("rabbitmq-server")
    for folder in (*_FOLDERS, *([str(Path(found).parent)] if found else [])):
        if (Path(folder) / "rabbitmq-server").exists():
            return Path(folder)
    return servers.missing("RabbitMQ", VARIABLE)


def _named_programs(folder: Path) -> Path:
    for name in ("rabbitmq-server", "rabbitmqctl"):
        if shutil.which(name, path=folder) is None:
            pytest.fail(f"{PROGRAMS_VARIABLE} is {folder}, and no program {name} is there")
    return folder


def _epmd(programs: Path) -> str:
    """The one beside the server's programs, or the machine's."""
    found = shutil.which("epmd", path=programs) or shutil.which("epmd")
    return found or pytest.fail("epmd, which comes with Erlang, is not on PATH")


def _environment(home: Path, port: int) -> dict[str, str]:
    dist_port, epmd_port = servers.free_ports(2)
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
        "RABBITMQ_ADVANCED_CONFIG_FILE": str(home / "advanced.config"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "enabled_plugins"),
    }


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=2).close()
    except OSError:
        return False
    return True


def _greets(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            connection.sendall(b"AMQP\0\0\x09\x01")
            return bool(connection.recv(1))
    except OSError:
        return False
