"""Sources that only some addresses may call, with load balancers in front and without."""

from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_network

import msgspec
import pytest

from hookline.ingress.client_address import Network
from hookline.schemas.provider import AnySource
from tests.ingress.house import KRTC, MEETINGS, opened, post, signed

PROVIDERS_NETWORK = ip_network("203.0.113.0/24")
LOOPBACK = ip_network("127.0.0.0/8")
LOAD_BALANCERS = ip_network("10.0.0.0/8")


def only_from(*networks: Network, source: AnySource = KRTC) -> AnySource:
    return replace(source, allow_from=networks)


def unsigned(source: AnySource) -> AnySource:
    """The source without secrets, as it is set up for a console that has no token."""
    account = msgspec.structs.replace(source.account, insecure_no_signature=True)
    return replace(source, account=account, keys=())


OPEN = only_from(LOOPBACK, source=unsigned(MEETINGS))
CLOSED = only_from(PROVIDERS_NETWORK, source=unsigned(MEETINGS))
FORWARDED = "X-Forwarded-For: "


async def status_of(source: AnySource, *headers: str, proxies: Sequence[Network] = ()) -> int:
    """The status of a callback that is genuine but for where it comes from; published if and only if accepted."""
    async with opened({source.name: source}, trusted_proxies=proxies) as house:
        answer, _ = await house.ask(post(source, signed(source), add=headers))
        assert answer is not None
        assert len(house.publisher.envelopes) == (answer.status == 200)
        if answer.status != 200:
            assert answer.code == "bad_signature"
        return answer.status


async def test_an_allowed_address_may_call() -> None:
    assert await status_of(only_from(PROVIDERS_NETWORK, LOOPBACK)) == 200


async def test_another_address_is_refused_like_a_forgery_though_the_signature_is_good() -> None:
    assert await status_of(only_from(PROVIDERS_NETWORK)) == 401


async def test_a_source_without_signature_takes_calls_from_its_addresses() -> None:
    assert await status_of(OPEN) == 200


async def test_a_source_without_signature_takes_no_calls_from_elsewhere() -> None:
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
)
async def test_a_caller_that_is_no_proxy_of_ours_cannot_name_another_address(header: str) -> None:
    assert await status_of(CLOSED, header) == 401


@pytest.mark.parametrize(
    "chain",
    [
        ["203.0.113.7"],
        ["198.51.100.1, 203.0.113.7"],
        ["198.51.100.1", "203.0.113.7"],
        ["zebra, 203.0.113.7"],
        ["203.0.113.7, 10.1.2.3"],
        ["::ffff:203.0.113.7"],
    ],
    ids=str,
)
async def test_our_proxy_tells_who_called_it(chain: list[str]) -> None:
    headers = [FORWARDED + each for each in chain]
    assert await status_of(CLOSED, *headers, proxies=(LOOPBACK, LOAD_BALANCERS)) == 200


@pytest.mark.parametrize(
    "chain",
    [
        [],
        ["198.51.100.1"],
        ["203.0.113.7, 198.51.100.1"],
        ["203.0.113.7", "198.51.100.1"],
        ["203.0.113.7, zebra"],
        ["203.0.113.7,"],
        ["203.0.113.7, 198.51.100.1, 10.1.2.3"],
        ["203.0.113.7:80"],
        ["\xff203.0.113.7"],
        ["0203.0.113.7"],
        ["203.0.113.7%eth0"],
        ["::203.0.113.7"],
    ],
    ids=str,
)
async def test_what_the_caller_of_our_proxy_wrote_is_not_believed(chain: list[str]) -> None:
    headers = [FORWARDED + each for each in chain]
    assert await status_of(CLOSED, *headers, proxies=(LOOPBACK, LOAD_BALANCERS)) == 401


async def test_a_proxy_protocol_line_is_no_http() -> None:
    async with opened() as house:
        answer, closed = await house.ask(b"PROXY TCP4 203.0.113.7 127.0.0.1 1 80\r\n" + post(KRTC))
        assert answer is not None
        assert (answer.status, closed) == (400, True)
        assert house.publisher.envelopes == []
