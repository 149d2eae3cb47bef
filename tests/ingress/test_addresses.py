"""Sources that only some addresses may call, with and without load balancers in front of the ingress."""

import time
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_network

import msgspec
import pytest
from multidict import CIMultiDict

from hookline.ingress.client_address import Network, client_address
from hookline.schemas.provider import AnySource
from tests.ingress.callbacks import post, signed
from tests.ingress.running_ingress import running_ingress
from tests.ingress.sources import KRTC, MEETINGS

PROVIDERS_NETWORK = ip_network("203.0.113.0/24")
LOOPBACK = ip_network("127.0.0.0/8")
LOAD_BALANCERS = ip_network("10.0.0.0/8")


def only_from(*networks: Network, source: AnySource = KRTC) -> AnySource:
    return replace(source, allow_from=networks)


def unsigned(source: AnySource) -> AnySource:
    """The source without secrets, as for a console that has no token."""
    account = msgspec.structs.replace(source.account, insecure_no_signature=True)
    return replace(source, account=account, keys=())


OPEN = only_from(LOOPBACK, source=unsigned(MEETINGS))
CLOSED = only_from(PROVIDERS_NETWORK, source=unsigned(MEETINGS))
FORWARDED = "X-Forwarded-For: "


async def status_of(source: AnySource, *headers: str, proxies: Sequence[Network] = ()) -> int:
    """The status of a genuine callback from loopback. Checks that it is published if and only if it is accepted."""
    async with running_ingress({source.name: source}, trusted_proxies=proxies) as ingress:
        answer, _ = await ingress.ask(post(source, signed(source), add=headers))
        assert answer is not None
        assert len(ingress.publisher.envelopes) == (answer.status == 200)
        if answer.status != 200:
            assert answer.code == "bad_signature"
        return answer.status


async def test_an_allowed_address_may_call() -> None:
    assert await status_of(only_from(PROVIDERS_NETWORK, LOOPBACK)) == 200


async def test_a_good_signature_from_another_address_is_refused_like_a_forgery() -> None:
    assert await status_of(only_from(PROVIDERS_NETWORK)) == 401


async def test_a_source_without_signature_accepts_callbacks_from_its_addresses() -> None:
    assert await status_of(OPEN) == 200


async def test_a_source_without_signature_refuses_callbacks_from_other_addresses() -> None:
    assert await status_of(CLOSED) == 401


@pytest.mark.parametrize(
    "header",
    [
        FORWARDED + "203.0.113.7",
        "Forwarded: for=203.0.113.7",
        "X-Real-IP: 203.0.113.7",
        "X_Forwarded_For: 203.0.113.7",
        "True-Client-IP: 203.0.113.7",
    ],
    ids=lambda header: header.partition(":")[0],
)
async def test_a_client_that_is_no_trusted_proxy_cannot_name_another_address(header: str) -> None:
    assert await status_of(CLOSED, header) == 401


@pytest.mark.parametrize(
    ("chain", "status"),
    [
        pytest.param(["203.0.113.7"], 200, id="the client"),
        pytest.param(["198.51.100.1, 203.0.113.7"], 200, id="another address before the client"),
        pytest.param(["198.51.100.1", "203.0.113.7"], 200, id="another address in an earlier header"),
        pytest.param(["zebra, 203.0.113.7"], 200, id="a word before the client"),
        pytest.param(["203.0.113.7, 10.1.2.3"], 200, id="a second trusted proxy"),
        pytest.param(["::ffff:203.0.113.7"], 200, id="the client as IPv6"),
        pytest.param([], 401, id="no header"),
        pytest.param(["198.51.100.1"], 401, id="another client"),
        pytest.param(["203.0.113.7, 198.51.100.1"], 401, id="an address that the client wrote"),
        pytest.param(["203.0.113.7", "198.51.100.1"], 401, id="an address that the client wrote in a header"),
        pytest.param(["203.0.113.7, zebra"], 401, id="a word after the address"),
        pytest.param(["203.0.113.7,"], 401, id="nothing after the address"),
        pytest.param(["203.0.113.7, 198.51.100.1, 10.1.2.3"], 401, id="another client of a second proxy"),
        pytest.param(["203.0.113.7:51234"], 200, id="with a port"),
        pytest.param(["[::ffff:203.0.113.7]:51234"], 200, id="as IPv6 in brackets, with a port"),
        pytest.param(["198.51.100.1:1, 203.0.113.7:2, 10.1.2.3:3"], 200, id="a second trusted proxy, with ports"),
        pytest.param(["203.0.113.7:1, 198.51.100.1:2"], 401, id="an address that the client wrote, with ports"),
        pytest.param(["203.0.113.7:"], 401, id="with a colon"),
        pytest.param(["203.0.113.7:zebra"], 401, id="with a word for a port"),
        pytest.param(["[203.0.113.7]:80"], 401, id="IPv4 in brackets"),
        pytest.param(["[203.0.113.7"], 401, id="with an open bracket"),
        pytest.param(["\xff203.0.113.7"], 401, id="with a byte that is not ASCII"),
        pytest.param(["0203.0.113.7"], 401, id="with a leading zero"),
        pytest.param(["203.0.113.7%eth0"], 401, id="with a zone"),
        pytest.param(["::203.0.113.7"], 401, id="as an address that embeds it"),
    ],
)
async def test_the_client_is_the_last_address_that_is_not_a_trusted_proxys(chain: list[str], status: int) -> None:
    headers = [FORWARDED + each for each in chain]
    assert await status_of(CLOSED, *headers, proxies=(LOOPBACK, LOAD_BALANCERS)) == status


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        pytest.param(["Forwarded: for=203.0.113.7"], 200, id="the client"),
        pytest.param(['Forwarded: For="203.0.113.7:4711";proto=https;by=10.1.2.3'], 200, id="quoted, with a port"),
        pytest.param(['Forwarded: proto=https ; for="[::ffff:203.0.113.7]:4711"'], 200, id="IPv6 in brackets"),
        pytest.param(["Forwarded: for=198.51.100.1, for=203.0.113.7"], 200, id="another address before the client"),
        pytest.param(["Forwarded: for=198.51.100.1", "Forwarded: for=203.0.113.7"], 200, id="in two lines"),
        pytest.param(["Forwarded: for=203.0.113.7, for=10.1.2.3"], 200, id="a second trusted proxy"),
        pytest.param(['Forwarded: by="a,for=198.51.100.1;b";for=203.0.113.7'], 200, id="a comma in quotes"),
        pytest.param(["Forwarded: for=203.0.113.7", "X-Forwarded-For: 203.0.113.7"], 200, id="both headers agree"),
        pytest.param(["Forwarded: for=203.0.113.7", "X-Forwarded-For: 198.51.100.1"], 401, id="one is forged"),
        pytest.param(["Forwarded: for=198.51.100.1", "X-Forwarded-For: 203.0.113.7"], 401, id="the other is forged"),
        pytest.param(["Forwarded: for=203.0.113.7, for=198.51.100.1"], 401, id="an address that the client wrote"),
        pytest.param(["Forwarded: for=203.0.113.7;for=198.51.100.1"], 401, id="two in one element"),
        pytest.param(["Forwarded: for=_hidden"], 401, id="a made-up name"),
        pytest.param(["Forwarded: for=unknown"], 401, id="unknown"),
        pytest.param(["Forwarded: by=203.0.113.7"], 401, id="only the proxy's own address"),
        pytest.param(['Forwarded: for="203.0.113.7'], 401, id="an open quote"),
        pytest.param(["Forwarded: xfor=203.0.113.7"], 401, id="another parameter"),
        pytest.param(["Forwarded: for=203.0.113.7,"], 401, id="nothing after the client"),
    ],
)
async def test_the_header_forwarded_names_the_client(lines: list[str], status: int) -> None:
    assert await status_of(CLOSED, *lines, proxies=(LOOPBACK, LOAD_BALANCERS)) == status


async def test_the_log_tells_a_refused_address_from_a_bad_signature(caplog: pytest.LogCaptureFixture) -> None:
    await status_of(CLOSED)
    assert "meetings: refused: refused_address (127.0.0.1 is not in allow_from)" in caplog.text


async def test_a_proxy_protocol_line_is_refused() -> None:
    async with running_ingress() as ingress:
        answer, closed = await ingress.ask(b"PROXY TCP4 203.0.113.7 127.0.0.1 1 80\r\n" + post(KRTC))
        assert answer is not None
        assert (answer.status, closed) == (400, True)
        assert ingress.publisher.envelopes == []


def test_a_forwarded_header_with_a_quote_that_is_not_closed_costs_no_time() -> None:
    """Nobody needs a secret to send one."""
    line = 'for="' + '\\"' * 20_000
    began_s = time.thread_time()
    assert client_address("127.0.0.1", CIMultiDict({"Forwarded": line}), [LOOPBACK]) is None
    assert time.thread_time() - began_s < 1
