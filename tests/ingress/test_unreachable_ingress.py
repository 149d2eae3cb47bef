"""One of two ingresses answers no attempt to connect: either proxy sends its callbacks to the other one."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from ipaddress import ip_network
from pathlib import Path

import pytest

from tests.ingress.proxies import OK, PROXIES, call
from tests.ingress.running_ingress import running_ingress

ENOUGH = 4  # one waits in the listener's queue, and the kernel drops what comes after it


@contextmanager
def unreachable() -> Iterator[int]:
    """A port at which connecting takes for ever, as at the address of a machine that is gone."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(ENOUGH):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)  # noqa: FBT003
            with suppress(BlockingIOError):
                waiting.connect(listener.getsockname())
        yield listener.getsockname()[1]


def second_ingress(proxy: str, port: int) -> dict[str, str]:
    """The changes that make this port the second ingress, and let the proxy try it again and again."""
    if proxy == "nginx":
        ours = "        server ingress-2:8080 max_fails=1 fail_timeout=2s;\n"
        return {ours: f"        server 127.0.0.1:{port} max_fails=0;\n"}
    return {
        "server ingress-2 ingress-2:8080": f"server ingress-2 127.0.0.1:{port}",
        "default-server check ": "default-server ",
    }


@pytest.mark.parametrize("proxy", PROXIES)
async def test_a_callback_goes_to_the_other_ingress_if_connecting_to_the_first_takes_too_long(
    tmp_path: Path, proxy: str
) -> None:
    with unreachable() as gone:
        async with (
            running_ingress(trusted_proxies=[ip_network("127.0.0.1/32")]) as ingress,
            PROXIES[proxy](tmp_path, ingress.port, second_ingress(proxy, gone)) as port,
        ):
            assert [await call(port) for _ in range(4)] == [OK] * 4  # in turns, so two go to the one that is gone first
