"""An installation under a fault: servers, an ingress and a worker as users start them, and a user who asks once."""

import asyncio
import json
import os
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, redirect_stdout, suppress
from pathlib import Path
from typing import Self

import aiohttp
import aiormq
import psutil

from hookline.schemas import topics
from tests.contract.installations import RabbitMQInstallation, raw_channel
from tests.end_to_end.outage_user import NetEaseUser, Sent
from tests.end_to_end.processes import Process, Project
from tests.faults import effects
from tests.faults.effects import Effect
from tests.faults.lines import Line
from tests.faults.scene import Scene
from tests.faults.world import World
from tests.services.rabbitmq import Node

RATE = float(os.environ.get("HOOKLINE_FAULTS_RATE", "40"))
_LOOK_S = 0.5
_ENVIRONMENT = {"PYTHONPATH": str(Path(__file__).parents[2])}
_LATER = 1_000_000


class Rig:
    """Use it as a context manager: entered, ingress and worker are ready; left, both have ended.

    `line` leads from the ingress to RabbitMQ, `worker_line` from the worker to it.
    """

    def __init__(self, scene: Scene, world: World, folder: Path, module: Sequence[str] = ("hookline",)) -> None:
        self.scene = scene
        self.world = world
        self.folder = folder
        self.ingresses: list[Process] = []
        self.workers: list[Process] = []
        self.readiness: list[tuple[float, str]] = []
        self.peak_mib = 0.0
        self.front: Line | None = None
        self._module = module
        self._users: list[NetEaseUser] = []
        self.opened = AsyncExitStack()

    @property
    def node(self) -> Node:
        return self.world.cluster.nodes[0] if self.scene.servers == "cluster" else self.world.node

    @property
    def ingress(self) -> Process:
        return self.ingresses[-1]

    @property
    def worker(self) -> Process:
        return self.workers[-1]

    @property
    def spool(self) -> Path:
        return self.folder / "hookline-spool"

    @property
    def is_transactional(self) -> bool:
        return self.scene.servers == "postgresql"

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as opening:
            await RabbitMQInstallation(self.node.url).clear()
            self.line, self.worker_line = Line(self.node.port), Line(self.node.port)
            for line in (self.line, self.worker_line):
                await line.start()
                opening.push_async_callback(line.close)
            await self._configure(opening)
            opening.callback(self._close_project)
            await self.start_worker()
            await self.start_ingress()
            watching = asyncio.create_task(self._watch())
            opening.push_async_callback(_ended, watching)
            self.opened = opening.pop_all()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.opened.aclose()

    def _close_project(self) -> None:
        with (self.folder / "logs").open("w") as file, redirect_stdout(file):
            self.project.close()

    async def _configure(self, opening: AsyncExitStack) -> None:
        store = "sqlite:hookline.db"
        if self.is_transactional:
            self.store_line = Line(self.world.store.port)
            await self.store_line.start()
            opening.push_async_callback(self.store_line.close)
            store = self.world.store.url.replace(f":{self.world.store.port}/", f":{self.store_line.port}/")
            await asyncio.to_thread(effects.make_table, self.world.store.url)
        self.project = Project(self.folder, _through(self.node, self.line), store)
        if self.scene.servers == "cluster":
            self.change(f'"{_through(self.node, self.line)}"', json.dumps(self.world.cluster.urls))
        url = json.dumps(_through(self.node, self.line) if self.scene.url is None else self.scene.url(self))
        if self.scene.url is not None:
            self.change(f'"{_through(self.node, self.line)}"', url)
        for section, lines in self.scene.settings.items():
            text = self.project.config.read_text()
            self.project.config.write_text(
                text.replace(f"[{section}]\n", f"[{section}]\n{lines}\n", 1)
                if f"\n[{section}]\n" in text
                else text.replace("[store]\n", f"[{section}]\n{lines}\n\n[store]\n", 1)
            )
        (self.folder / "effects.py").write_text(effects.worker_file(transactional=self.is_transactional))
        # The worker has settings of its own, so that its path to RabbitMQ fails alone.
        text = self.project.config.read_text().replace(url, json.dumps(_through(self.node, self.worker_line)))
        (self.folder / "worker.toml").write_text(text)
        (self.source,) = (each for each in self.project.settings.sources.values() if each.provider.name == "netease")

    def change(self, old: str, new: str) -> None:
        text = self.project.config.read_text()
        assert old in text, old
        self.project.config.write_text(text.replace(old, new, 1))

    async def start_ingress(self, *, under: Sequence[str] = (), module: Sequence[str] = ()) -> Process:
        started = await asyncio.to_thread(
            self.project.start, "ingress", under=under, module=module or self._module, environment=_ENVIRONMENT
        )
        self.ingresses.append(started)
        return started

    async def start_worker(self) -> Process:
        started = await asyncio.to_thread(
            self.project.start,
            "worker",
            "effects.py",
            module=self._module,
            environment=_ENVIRONMENT,
            config=self.folder / "worker.toml",
        )
        self.workers.append(started)
        return started

    async def control(self, *arguments: str) -> str:
        return await asyncio.to_thread(self.node.control, *arguments)

    def flag(self, fault: str) -> Path:
        """Ask the worker to fail in this way once."""
        path = self.folder / fault
        path.touch()
        return path

    def user(self, rate: float = RATE) -> NetEaseUser:
        """A user. Its events have numbers that no other user's have."""
        url = self.project.url(self.source.name)
        if self.front is not None:
            url = url.replace(f":{self.project.settings.ingress.port}/", f":{self.front.port}/")
        user = NetEaseUser(url, self.source, rate, 1 + _LATER * len(self._users))
        self._users.append(user)
        return user

    @property
    def sent(self) -> list[Sent]:
        return [user.sent for user in self._users]

    def accepted(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for sent in self.sent:
            for room, numbers in sent.accepted.items():
                found.setdefault(room, []).extend(numbers)
        return found

    async def caught_up(self, within_s: float = 30.0) -> None:
        """Wait until what was accepted so far has been handled, or for so long."""
        until_s, so_far = time.monotonic() + within_s, self.accepted()
        while effects.missing(so_far, await self.effects()) and time.monotonic() < until_s:  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_S)

    async def effects(self) -> list[Effect]:
        if self.is_transactional:
            return await asyncio.to_thread(effects.of_table, self.world.store.url)
        return await asyncio.to_thread(effects.of_file, self.project.counted)

    async def missing(self) -> set[int]:
        return effects.missing(self.accepted(), await self.effects())

    async def kept(self, *, waiting: bool = True) -> set[int]:
        """The numbers of events in RabbitMQ's queues: unrouted, dead, and those that wait for a worker."""
        found: set[int] = set()
        names = [topics.UNROUTED, topics.dead_name(effects.QUEUE)]
        for name in [*names, topics.queue_name(effects.QUEUE)] if waiting else names:
            with suppress(aiormq.exceptions.AMQPError):
                async with raw_channel(self.node.url) as channel:
                    while (message := await channel.basic_get(name)).delivery_tag:
                        found.add(int(json.loads(message.body)["selfConfig"]))
        return found

    async def _watch(self) -> None:
        """Look at readiness and memory twice a second."""
        url = f"http://127.0.0.1:{self.project.settings.ingress.port}/readyz"
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session:
            while True:
                self.readiness.append((time.monotonic(), await _readiness(session, url)))
                self.peak_mib = max(self.peak_mib, _peak_mib(self.ingress.popen.pid))
                await asyncio.sleep(_LOOK_S)


async def _readiness(session: aiohttp.ClientSession, url: str) -> str:
    try:
        async with session.get(url) as response:
            text = await response.text()
            return "ready" if response.ok else text[:80]
    except (aiohttp.ClientError, TimeoutError, OSError):
        return "no answer"


def _peak_mib(pid: int) -> float:
    """The highest resident memory of a process, or of its largest child."""
    peak = 0
    with suppress(psutil.Error, OSError):
        process = psutil.Process(pid)
        for each in (process, *process.children(recursive=True)):
            with suppress(psutil.Error, OSError, IndexError):  # it has ended
                status = Path(f"/proc/{each.pid}/status").read_text()
                peak = max(peak, int(status.partition("VmHWM:")[2].split()[0]))
    return peak / 1024


def _through(node: Node, line: Line) -> str:
    return node.url.replace(f":{node.port}/", f":{line.port}/")


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
