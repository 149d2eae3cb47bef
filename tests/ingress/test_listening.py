"""The addresses and files of the listener."""

import asyncio
import resource
import socket
import subprocess
import sys

import pytest

from hookline.ingress.client_address import limited_as
from hookline.ingress.listening import listening_sockets, raise_file_limit, within_files
from hookline.ingress.settings import IngressSettings
from tests.ingress.callbacks import GOOD
from tests.ingress.running_ingress import running_ingress, with_settings


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


async def first_line(address: str, port: int) -> bytes:
    reader, writer = await asyncio.open_connection(address, port)
    try:
        writer.write(GOOD)
        return await reader.readline()
    finally:
        writer.close()


@needs_ipv6
async def test_two_colons_take_both_families() -> None:
    async with running_ingress(settings=with_settings(host="::")) as ingress:
        assert await first_line("127.0.0.1", ingress.port) == b"HTTP/1.1 200 OK\r\n"
        assert await first_line("::1", ingress.port) == b"HTTP/1.1 200 OK\r\n"


@needs_ipv6
async def test_another_ipv6_address_takes_ipv6_only() -> None:
    async with running_ingress(settings=with_settings(host="::1")) as ingress:
        assert await first_line("::1", ingress.port) == b"HTTP/1.1 200 OK\r\n"
        with pytest.raises(OSError, match="Connect"):
            await first_line("127.0.0.1", ingress.port)


def test_a_port_that_is_taken_is_an_error_and_leaves_no_socket_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        listening_sockets("127.0.0.1", taken.getsockname()[1], shared=False)


@pytest.mark.parametrize(
    ("files", "connections"), [(1024, 896), (100_000, 10_000), (64, 1), (resource.RLIM_INFINITY, 10_000)]
)
def test_connections_fit_into_the_files_that_the_process_may_open(files: int, connections: int) -> None:
    assert within_files(IngressSettings(), files).max_connections == connections


def test_connections_with_tls_fit_into_the_memory_that_requests_may_hold() -> None:
    """Each takes more than 64 kB there, even an idle one."""
    assert within_files(IngressSettings(tls_certificate="site.pem"), 100_000).max_connections == 1024
    assert within_files(IngressSettings(tls_certificate="site.pem", max_connections=7), 100_000).max_connections == 7


@pytest.mark.parametrize(("files", "of_one"), [(100_000, 5000), (1024, 448), (64, 1)])
def test_one_address_gets_at_most_half_of_the_connections_that_fit(files: int, of_one: int) -> None:
    assert within_files(IngressSettings(), files).max_connections_per_address == of_one


def test_the_file_limit_is_raised_as_far_as_it_may_be() -> None:
    code = (
        "import resource; from hookline.ingress.listening import raise_file_limit;"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, 500));"
        "print(raise_file_limit(), *resource.getrlimit(resource.RLIMIT_NOFILE))"
    )
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)  # noqa: S603
    assert output.stdout.split() == ["500"] * 3


@pytest.mark.parametrize(("before", "after"), [(256, 10_240), (20_000, 20_000)])
def test_macos_is_asked_for_as_many_files_as_it_allows(
    before: int, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There the hard limit is endless, and a soft limit above OPEN_MAX is refused, unless it is the present one."""
    limits = [(before, 2**63 - 1)]

    def set_limit(_: int, wanted: tuple[int, int]) -> None:
        if wanted[0] > max(before, 10_240):
            raise ValueError("current limit exceeds maximum limit")
        limits.append(wanted)

    monkeypatch.setattr(resource, "getrlimit", lambda _: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", set_limit)
    assert raise_file_limit() == after
    assert limits[-1] == (after, 2**63 - 1)


@pytest.mark.parametrize(
    ("address", "limited"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("zebra:", "zebra:"),
    ],
)
def test_the_limit_of_an_ipv6_address_is_that_of_its_network(address: str, limited: str) -> None:
    assert limited_as(address) == limited
