"""Scenes on the path between the ingress and RabbitMQ."""

import asyncio
import ssl
from pathlib import Path

from tests.faults.lines import Line, destroy_sockets, packets, run
from tests.faults.rig import Rig
from tests.faults.scene import scene
from tests.services.certificates import CertificateAuthority

LASTS_S = 6.0
_NAME = "broker.test"


@scene(5, title="connections are reset while publishes wait")
async def reset(rig: Rig) -> None:
    for _ in range(3):
        await rig.line.cut("black hole", 0.5)
        await asyncio.sleep(1.5)


@scene(6, title="the kernel destroys the sockets", needs=["root"])
async def destroyed(rig: Rig) -> None:
    for _ in range(3):
        await asyncio.to_thread(destroy_sockets, rig.line.port)
        await asyncio.sleep(2)


@scene(7, title="a black hole in both directions", needs=["root"])
async def black_hole(rig: Rig) -> None:
    async with packets(f"in tcp dport {rig.line.port} drop", f"in tcp sport {rig.line.port} drop"):
        await asyncio.sleep(LASTS_S)


@scene(8, title="confirms vanish on the way", needs=["root"])
async def one_way(rig: Rig) -> None:
    async with packets(f"in tcp sport {rig.line.port} drop"):
        await asyncio.sleep(LASTS_S)


@scene(9, title="a fifth of the packets is lost", needs=["root"])
async def loss(rig: Rig) -> None:
    both = (f"in tcp {side} {rig.line.port} numgen random mod 100 < 20 drop" for side in ("dport", "sport"))
    async with packets(*both):
        await asyncio.sleep(LASTS_S)


@scene(10, title="a thin link of 8 kB/s", needs=["root"])
async def thin(rig: Rig) -> None:
    async with packets(f"in tcp dport {rig.line.port} limit rate over 8 kbytes/second burst 4 kbytes drop"):
        await asyncio.sleep(LASTS_S)


@scene(11, title="delay with jitter, then a trickle, then half-closed connections")
async def slow(rig: Rig) -> None:
    rig.line.delay_s = 0.3
    await asyncio.sleep(LASTS_S)
    rig.line.delay_s, rig.line.piece_bytes = 0.0, 7
    await asyncio.sleep(LASTS_S)
    rig.line.piece_bytes = 0
    rig.line.half_close()
    await asyncio.sleep(2)


@scene(11, 49, title="a proxy accepts and closes at once")
async def shut(rig: Rig) -> None:
    rig.line.is_shut = True
    rig.line.drop()
    await asyncio.sleep(LASTS_S)
    rig.line.is_shut = False


@scene(34, title="the worker's connection is reset while events are in flight")
async def worker_reset(rig: Rig) -> None:
    for _ in range(3):
        await rig.worker_line.cut("reset", 0.5)
        await asyncio.sleep(2)


class _Tls:
    """A TLS front of RabbitMQ with a certificate that can be replaced."""

    def __init__(self, rig: Rig) -> None:
        self._folder = rig.folder / "tls"
        self._folder.mkdir(exist_ok=True)
        self.good = CertificateAuthority(self._folder, "good")
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.use(self.good)
        self.line = Line(rig.node.port, tls=self._context)

    def use(self, authority: CertificateAuthority) -> None:
        made = authority.issue(f"server-{authority.certificate.stem}", "IP:127.0.0.1")
        self._context.load_cert_chain(made.certificate, made.key)

    def other(self) -> CertificateAuthority:
        return CertificateAuthority(self._folder, "other")


@scene(23, title="RabbitMQ shows a certificate of another authority", refuses=True)
async def wrong_certificate(rig: Rig) -> None:
    tls = await asyncio.to_thread(_Tls, rig)
    await tls.line.start()
    try:
        url = f"amqps://guest:guest@127.0.0.1:{tls.line.port}/?cafile={tls.good.certificate}"
        rig.change(f"amqp://guest:guest@127.0.0.1:{rig.line.port}/", url)
        await asyncio.to_thread(rig.ingress.stop)
        await rig.start_ingress()
        await asyncio.sleep(1)
        await asyncio.to_thread(tls.use, await asyncio.to_thread(tls.other))
        tls.line.drop()
        await asyncio.sleep(LASTS_S)
        await asyncio.to_thread(tls.use, tls.good)
        await rig.caught_up()
    finally:
        rig.opened.push_async_callback(tls.line.close)


def _by_name(rig: Rig) -> str:
    """RabbitMQ by a name in a hosts file of this run's mounts."""
    for path in (Path("/etc/hosts"), Path("/etc/resolv.conf")):
        own = rig.folder / path.name
        own.write_text("127.0.0.1 localhost\n" if path.name == "hosts" else "nameserver 127.0.0.9\n")
        run("mount", "--bind", str(own), str(path))
    _resolve(rig, "127.0.0.1")
    return f"amqp://guest:guest@{_NAME}:{rig.line.port}/"


def _resolve(rig: Rig, address: str | None) -> None:
    named = "" if address is None else f"{address} {_NAME}\n"
    (rig.folder / "hosts").write_text(f"127.0.0.1 localhost\n{named}")


@scene(24, title="DNS answers nothing", url=_by_name, needs=["root"])
async def dns_dead(rig: Rig) -> None:
    async with packets("out udp dport 53 drop"):
        _resolve(rig, None)
        rig.line.drop()
        await asyncio.sleep(LASTS_S)
    _resolve(rig, "127.0.0.1")


@scene(25, title="RabbitMQ moves to another address of the same name", url=_by_name, needs=["root"])
async def moved(rig: Rig) -> None:
    other = Line(rig.node.port, host="127.0.0.3")
    rig.line.end_listening()
    await asyncio.sleep(2)
    await other.start(rig.line.port)
    _resolve(rig, "127.0.0.3")
    await asyncio.sleep(2)


@scene(51, title="the path between load balancer and ingress breaks", refuses=True)
async def front_cut(rig: Rig) -> None:
    rig.front = Line(rig.project.settings.ingress.port)
    await rig.front.start()
    async with rig.user():
        await asyncio.sleep(2)
        rig.front.drop()
        await asyncio.sleep(1)
        await rig.front.cut("reset", 1)
        await asyncio.sleep(2)
    await rig.front.close()
