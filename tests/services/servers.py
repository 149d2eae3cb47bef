"""What the private servers of a test run have in common: started when first asked for, ended with the run."""

import os
import random
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, Protocol, TypeVar

import pytest


class Startable(Protocol):
    def start(self) -> None: ...

    def close(self) -> None: ...


S = TypeVar("S", bound=Startable)

_PORTS = range(12_000, 32_000)


def own_server(config: pytest.Config, key: pytest.StashKey[S], variable: str, make: Callable[[], S]) -> S:
    """This run's own server; skips the test where the environment names another, which a test must not control."""
    if os.environ.get(variable):
        pytest.skip(f"{variable} is set, and this test has to control the server itself")
    if key not in config.stash:
        server = make()
        config.add_cleanup(server.close)  # before it starts, so that one that does not is cleared away as well
        server.start()
        config.stash[key] = server
    return config.stash[key]


def await_start(
    name: str, home: Path, started: Callable[[], bool], running: Callable[[], bool], within_s: float
) -> None:
    """Return once the server has started; fails with the end of what it wrote to `output` if it ends or takes long."""
    deadline = time.monotonic() + within_s
    while not started():
        if time.monotonic() > deadline or not running():
            pytest.fail(f"{name} did not start: {(home / 'output').read_text(errors='replace')[-2000:]}")
        time.sleep(0.05)


def missing(name: str, variable: str) -> NoReturn:
    """A server that is not installed: fails in CI, and skips on a laptop."""
    reason = f"{name} is not installed: run tests/services/install.sh, or set {variable}"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, outside the range from which the system takes those of connections.

    Chosen at random, so that test runs side by side choose others.
    """
    ports: list[int] = []
    while len(ports) < count:
        port = random.choice(_PORTS)  # noqa: S311  # no secret
        if port not in ports and _is_free(port):
            ports.append(port)
    return ports


def _is_free(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True
