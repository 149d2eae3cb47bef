"""Sources that only some addresses may call, with and without load balancers in front of the ingress."""

from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_network

import msgspec
import pytest

from hookline.ingress.client_address import Network
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
)
async def test_a_client_that_is_no_trusted_proxy_cannot_name_another_address(header: str) -> None:
    assert await status_of(CLOSED, header) == 401


def in_words(chain: list[str]) -> str:
    return ", and in a second header ".join(chain) or "no header"


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
    ids=in_words,
)
async def test_a_trusted_proxy_names_its_client(chain: list[str]) -> None:
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
    ids=in_words,
)
async def test_an_address_that_the_client_of_a_trusted_proxy_wrote_is_ignored(chain: list[str]) -> None:
    headers = [FORWARDED + each for each in chain]
    assert await status_of(CLOSED, *headers, proxies=(LOOPBACK, LOAD_BALANCERS)) == 401


async def test_a_proxy_protocol_line_is_refused() -> None:
    async with running_ingress() as ingress:
        answer, closed = await ingress.ask(b"PROXY TCP4 203.0.113.7 127.0.0.1 1 80\r\n" + post(KRTC))
        assert answer is not None
        assert (answer.status, closed) == (400, True)
        assert ingress.publisher.envelopes == []
