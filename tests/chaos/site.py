"""Everything that a run needs: servers, four worker processes and an ingress, and a proxy on each of their paths."""

import asyncio
import os
import secrets
import shutil
from collections.abc import Collection
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Self

from tests.chaos.faults import INGRESS, RABBITMQ, STORE, WORKERS, Store
from tests.chaos.processes import Process
from tests.chaos.proxy import Proxy
from tests.chaos.servers import PgBouncer, Server, make_rabbitmq, make_store
from tests.chaos.workers import recording
from tests.services.servers import free_ports

SOURCE = "krtc-main"
_ROOT = Path(__file__).parents[2]
_WORKERS = "tests.chaos.workers"
_SETTINGS = """\
[broker]
url = "{broker}"

[store]
url = "{store}"
max_transactions = 8

[ingress]
host = "127.0.0.1"
port = {port}

[sources.{source}]
provider = "krtc"
secrets = ["{secret}"]
"""


class Site:
    """Use it as a context manager: entered, everything is ready; left, everything has ended."""

    def __init__(self, folder: Path, store: Store, kinds: Collection[str], planted: str | None) -> None:
        self.folder = folder
        self.store_kind: Store = store
        self.secret = secrets.token_urlsafe(24)
        self.rabbitmq = make_rabbitmq()
        self.store = make_store(store, replicated="failover" in kinds)
        self.pgbouncer = PgBouncer(self.store.port) if "pgbouncer" in kinds else None
        self.proxies: dict[tuple[str, str], Proxy] = {}
        self.deploys = "deploy" in kinds
        (self._port,) = free_ports(1)
        (folder / "calls").mkdir()
        program = ["-m", "hookline"] if planted is None else ["-m", "tests.chaos.planted", planted]
        environment = {
            **os.environ,
            recording.FOLDER: str(folder / "calls"),
            "PYTHONPATH": str(_ROOT),
            "PYTHONUNBUFFERED": "1",
        }
        self.processes = {
            name: Process(name, self._make_folder(name), environment, program) for name in (*WORKERS, INGRESS)
        }
        self._open = AsyncExitStack()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/hooks/{SOURCE}"

    @property
    def workers(self) -> list[Process]:
        return [self.processes[name] for name in WORKERS]

    @property
    def queues(self) -> list[str]:
        """The workers of each process."""
        transactional = ["transactional"] if self.store_kind == "postgresql" else []
        return ["plain", "ordered", *transactional, *(["deploy"] if self.deploys else [])]

    def set_version(self, process: Process, version: str) -> None:
        """Which version of the worker that is deployed the process runs from its next start on."""
        modules = [queue if queue != "deploy" else f"deploy_{version}" for queue in self.queues]
        process.arguments = ("worker", *(f"{_WORKERS}.{module}" for module in modules))

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as opening:
            servers: list[Server] = [self.rabbitmq, self.store, *filter(None, [self.pgbouncer])]
            for server in servers:
                opening.callback(server.close)
            opening.callback(self._keep_logs)
            await asyncio.gather(*(asyncio.to_thread(server.start) for server in servers))
            await self._start_processes(opening)
            self._open = opening.pop_all()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._open.aclose()

    async def _start_processes(self, opening: AsyncExitStack) -> None:
        for name, process in self.processes.items():
            await self._connect(name, opening)
            opening.push_async_callback(process.kill)
        for process in self.workers:
            self.set_version(process, "v1")
        self.processes[INGRESS].arguments = ("ingress",)
        for process in self.processes.values():
            await process.start()
            assert await process.ready(), process.life.log.read_text(errors="replace")

    async def _connect(self, name: str, opening: AsyncExitStack) -> None:
        """A proxy for each server that the process uses, and its settings, which lead through them."""
        for server, port in ((RABBITMQ, self.rabbitmq.port), (STORE, self.store.port)):
            proxy = self.proxies[name, server] = Proxy(port)
            await proxy.start()
            opening.push_async_callback(proxy.close)
        text = _SETTINGS.format(
            broker=_through(self.rabbitmq.url, self.rabbitmq.port, self.proxies[name, RABBITMQ]),
            store=_through(self.store.url, self.store.port, self.proxies[name, STORE]),
            port=self._port,
            source=SOURCE,
            secret=self.secret,
        )
        (self.folder / name / "hookline.toml").write_text(text)

    def _keep_logs(self) -> None:
        shutil.copytree(self.rabbitmq.home / "log", self.folder / "rabbitmq", dirs_exist_ok=True)
        if self.pgbouncer is not None:
            shutil.copy(self.pgbouncer.home / "output", self.folder / "pgbouncer")

    def _make_folder(self, name: str) -> Path:
        (self.folder / name).mkdir()
        return self.folder / name


def _through(url: str, port: int, proxy: Proxy) -> str:
    return url.replace(f":{port}/", f":{proxy.port}/")
