"""The proxies that we ship settings for, as real programs in front of an ingress."""

import asyncio
import grp
import os
import pwd
import shutil
import socket
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.ingress.callbacks import GOOD
from tests.services.servers import free_ports

DEPLOY = Path(__file__).parents[2] / "deploy"
WITHIN_S = 60
OK = b"HTTP/1.1 200 OK\r\n"

Changes: TypeAlias = Mapping[str, str]
"""Texts of the settings, each of which occurs once, and what replaces them."""
InFront: TypeAlias = Callable[[Path, int, Changes], AbstractAsyncContextManager[int]]
"""Runs a proxy in front of the ingress at a port, with its files in a folder. Yields the proxy's port."""


def program(name: str) -> str:
    """The path of a proxy. Skips the test where it is not installed; fails in CI."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None:
        reason = f"{name} is not installed: run tests/services/install.sh"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


def _replaced(text: str, changes: Changes) -> str:
    for ours, other in changes.items():
        assert text.count(ours) == 1, ours
        text = text.replace(ours, other)
    return text


@asynccontextmanager
async def haproxy(folder: Path, ingress: int, changes: Changes) -> AsyncIterator[int]:
    listener = socket.create_server(("127.0.0.1", 0))  # HAProxy would share a port with the one of another test
    port, file = listener.getsockname()[1], listener.fileno()
    ours = {
        "bind :8080\n": f"bind fd@{file}\n",
        "server ingress-1 ingress-1:8080": f"server ingress-1 127.0.0.1:{ingress}",
        "server ingress-2 ingress-2:8080": "",
        "log stdout format raw local0 info\n": "\n",
    }
    settings = folder / "haproxy.cfg"
    settings.write_text(_replaced((DEPLOY / "haproxy.cfg").read_text(), {**ours, **changes}))
    with listener:
        async with _running([program("haproxy"), "-db", "-f", str(settings)], port, [file]):
            yield port


@asynccontextmanager
async def nginx(folder: Path, ingress: int, changes: Changes) -> AsyncIterator[int]:
    (port,) = free_ports(1)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = "".join(f"    {kind}_temp_path {folder}/{kind};\n" for kind in kinds)  # its own need root
    ours = {
        "events {": f"pid {folder}/pid;\nuser {_user()};\nevents {{",
        "http {\n": f"http {{\n{paths}",
        "listen 8080 default_server": f"listen 127.0.0.1:{port} default_server",
        "server ingress-1:8080": f"server 127.0.0.1:{ingress}",
        "        server ingress-2:8080 max_fails=1 fail_timeout=2s;\n": "",
        "access_log /dev/stdout callbacks;": f"access_log {folder}/access.log callbacks;",
        "worker_processes auto;": "worker_processes 1;\ndaemon off;",
    }
    settings = folder / "nginx.conf"
    settings.write_text(_replaced((DEPLOY / "nginx.conf").read_text(), {**ours, **changes}))
    async with _running([program("nginx"), "-e", "stderr", "-p", str(folder), "-c", str(settings)], port):
        yield port


def _user() -> str:
    """The user and the group of the test, so that nginx started by root can write to the test's folders."""
    return f"{pwd.getpwuid(os.getuid()).pw_name} {grp.getgrgid(os.getgid()).gr_name}"


PROXIES: Mapping[str, InFront] = {"haproxy": haproxy, "nginx": nginx}


@asynccontextmanager
async def _running(command: Sequence[str], port: int, files: Sequence[int] = ()) -> AsyncIterator[None]:
    """Run a proxy, which accepts the good callback once it is ready."""
    process = await asyncio.create_subprocess_exec(*command, pass_fds=files, stdout=sys.stderr)
    try:
        async with asyncio.timeout(WITHIN_S):
            while await call(port) != OK:
                assert process.returncode is None
                await asyncio.sleep(0.1)
        yield
    finally:
        if process.returncode is None:
            process.terminate()  # nginx ends its worker processes; both drop the connections
        await process.wait()


async def call(port: int, host: str = "127.0.0.1") -> bytes:
    """The first line of the answer to a genuine callback from this address; nothing if the connection is closed."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(host, 0))
    except OSError:
        return b""
    try:
        writer.write(GOOD)
        return await reader.readline()
    except ConnectionError:
        return b""
    finally:
        writer.transport.abort()
