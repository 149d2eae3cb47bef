"""The PROXY protocol: from trusted proxies only, in both versions, whole and in parts."""

import struct
from ipaddress import ip_address, ip_network

import pytest

from hookline.ingress.proxy_protocol import read_header
from tests.ingress.callbacks import post, signed
from tests.ingress.running_ingress import running_ingress, with_settings
from tests.ingress.test_addresses import CLOSED, LOAD_BALANCERS, LOOPBACK
from tests.ingress.test_refusal_audit import audited

CALL = post(CLOSED, signed(CLOSED))
SETTINGS = with_settings(proxy_protocol=True)
OTHERS = ip_network("192.0.2.0/24")


def line(source: str, family: str = "TCP4", destination: str = "198.51.100.1") -> bytes:
    return f"PROXY {family} {source} {destination} 51234 443\r\n".encode()


def binary(source: str, *, command: int = 0x21, more: bytes = b"") -> bytes:
    address = ip_address(source)
    family = 0x11 if address.version == 4 else 0x21
    body = address.packed * 2 + struct.pack("!HH", 51234, 443) + more
    return b"\r\n\r\n\x00\r\nQUIT\n" + struct.pack("!BBH", command, family, len(body)) + body


GENUINE = [
    pytest.param(line("203.0.113.7"), id="version 1"),
    pytest.param(line("::ffff:203.0.113.7", "TCP6", "2001:db8::1"), id="version 1, IPv6"),
    pytest.param(binary("203.0.113.7"), id="version 2"),
    pytest.param(binary("::ffff:203.0.113.7"), id="version 2, IPv6"),
    pytest.param(binary("203.0.113.7", more=b"\x04\x00\x02xy" * 50), id="version 2, with more facts"),
]


@pytest.mark.parametrize("header", GENUINE)
async def test_the_header_names_the_client(header: bytes) -> None:
    async with running_ingress({CLOSED.name: CLOSED}, SETTINGS, (LOOPBACK,)) as ingress, ingress.connect() as client:
        await client.send(header + CALL)
        await client.send(CALL)
        answers = [await client.answer() for _ in range(2)]
        assert [answer.status for answer in answers if answer] == [200, 200]


@pytest.mark.parametrize("header", GENUINE)
async def test_the_header_may_arrive_in_parts(header: bytes) -> None:
    async with running_ingress({CLOSED.name: CLOSED}, SETTINGS, (LOOPBACK,)) as ingress:
        answer, _ = await ingress.ask(*(bytes([each]) for each in header), CALL)
        assert answer is not None
        assert answer.status == 200


@pytest.mark.parametrize(
    "header",
    [
        pytest.param(line("198.51.100.9"), id="another client"),
        pytest.param(b"PROXY UNKNOWN\r\n", id="an unknown client"),
        pytest.param(binary("203.0.113.7", command=0x20), id="the proxy itself"),
    ],
)
async def test_another_client_is_refused(header: bytes) -> None:
    async with running_ingress({CLOSED.name: CLOSED}, SETTINGS, (LOOPBACK,)) as ingress:
        answer, _ = await ingress.ask(header + CALL)
        assert answer is not None
        assert answer.status == 401
        assert ingress.publisher.envelopes == []


async def test_a_client_behind_the_proxy_cannot_name_another_address() -> None:
    call = post(CLOSED, signed(CLOSED), add=["X-Forwarded-For: 203.0.113.7"])
    async with running_ingress({CLOSED.name: CLOSED}, SETTINGS, (LOOPBACK,)) as ingress:
        answer, _ = await ingress.ask(line("198.51.100.9") + call)
        assert answer is not None
        assert answer.status == 401


@pytest.mark.parametrize(
    "header", [b"PROXY UNKNOWN\r\n", binary("203.0.113.7", command=0x20)], ids=["unknown client", "the proxy itself"]
)
async def test_a_client_that_the_proxy_does_not_know_cannot_name_an_address(header: bytes) -> None:
    call = post(CLOSED, signed(CLOSED), add=["X-Forwarded-For: 203.0.113.7"])
    async with running_ingress({CLOSED.name: CLOSED}, SETTINGS, (LOOPBACK,)) as ingress:
        answer, _ = await ingress.ask(header + call)
        assert answer is not None
        assert answer.status == 401
        assert ingress.publisher.envelopes == []


async def test_the_record_of_a_refused_request_names_the_client_and_not_the_proxy() -> None:
    async with audited({CLOSED.name: CLOSED}, proxied=SETTINGS, trusted=(LOOPBACK,)) as running:
        record = await running.record_of(line("198.51.100.9") + CALL)
    assert record.peer == "198.51.100.9"


async def test_a_second_trusted_proxy_may_name_the_client_in_http() -> None:
    call = post(CLOSED, signed(CLOSED), add=["X-Forwarded-For: 203.0.113.7"])
    async with running_ingress({CLOSED.name: CLOSED}, SETTINGS, (LOOPBACK, LOAD_BALANCERS)) as ingress:
        answer, _ = await ingress.ask(line("10.1.2.3") + call)
        assert answer is not None
        assert answer.status == 200


@pytest.mark.parametrize(
    "start",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(line("203.0.113.7", "TCP6"), id="the wrong family"),
        pytest.param(line("zebra"), id="no address"),
        pytest.param(b"PROXY TCP4 203.0.113.7\r\n", id="too few words"),
        pytest.param(b"PROXY \r\n", id="no word"),
        pytest.param(b"PROXY TCP4 " + b"1" * 200, id="a line without end"),
        pytest.param(b"PROXY TCP4 \xff\r\n", id="bytes that are no text"),
        pytest.param(b"PROXZ", id="another word"),
        pytest.param(b"\r\n\r\n\x00\r\nQUIT\n\x31\x11\x00\x0c" + b"x" * 12, id="version 3"),
        pytest.param(b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x02xx", id="too short for its addresses"),
        pytest.param(b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\xff\xff", id="too long"),
    ],
)
async def test_a_trusted_proxy_must_send_a_valid_header(start: bytes) -> None:
    async with running_ingress({CLOSED.name: CLOSED}, SETTINGS, (LOOPBACK,)) as ingress:
        answer, closed = await ingress.ask(start + CALL)
        assert answer is not None
        assert (answer.status, closed) == (400, True)
        assert ingress.publisher.envelopes == []


@pytest.mark.parametrize("header", GENUINE)
async def test_no_other_client_may_send_one(header: bytes) -> None:
    async with running_ingress({CLOSED.name: CLOSED}, SETTINGS, (OTHERS,)) as ingress:
        answer, closed = await ingress.ask(header + CALL)
        assert answer is not None
        assert (answer.status, closed) == (400, True)
        assert ingress.publisher.envelopes == []


async def test_a_client_without_proxy_calls_as_ever() -> None:
    async with running_ingress(settings=SETTINGS, trusted_proxies=(OTHERS,)) as ingress:
        answer, _ = await ingress.ask(post(CLOSED, signed(CLOSED)).replace(b"/hooks/meetings", b"/healthz"))
        assert answer is not None
        assert answer.status == 400  # a health check has no body: the request was read as HTTP


@pytest.mark.parametrize("header", [line("203.0.113.7"), binary("203.0.113.7")], ids=["version 1", "version 2"])
def test_every_beginning_of_a_header_waits_for_the_rest(header: bytes) -> None:
    assert all(read_header(header[:size]) is None for size in range(len(header)))
    assert read_header(header + b"zebra") == ("203.0.113.7", len(header))


async def test_the_limit_of_an_address_is_that_of_the_client() -> None:
    settings = with_settings(proxy_protocol=True, max_connections_per_address=1)
    async with (
        running_ingress({CLOSED.name: CLOSED}, settings, (LOOPBACK,)) as ingress,
        ingress.connect() as first,
        ingress.connect() as other,
        ingress.connect() as second,
    ):
        await first.send(line("203.0.113.7"))
        await other.send(line("203.0.113.8"))
        await second.send(line("203.0.113.7") + CALL)
        answer = await second.answer()
        assert answer is not None
        assert answer.status == 200
        assert await first.is_closed()
        await other.send(CALL)
        answer = await other.answer()
        assert answer is not None
        assert answer.status == 200
