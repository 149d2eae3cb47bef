"""Checks of a URL are not read before they are proven: anybody can send one that takes long."""

import sys
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec
import pytest

from hookline.schemas.errors import BadSignature
from hookline.schemas.provider import Provider, Request
from hookline.schemas.providers import agora, dingrtc, zoom
from tests.vector_cases import challenge_of, example_source, sent

NOW_S = 1_700_000_000.0
ODD_FILE: dict[str, Any] = {"status": []}
CHECKS: list[tuple[Provider[Any], Callable[[Any], Any]]] = [
    (agora.PROVIDER, lambda odd: {"eventType": 31, "payload": {"cname": "test_webhook", "details": {"fileList": odd}}}),
    (dingrtc.PROVIDER, lambda odd: {"eventType": "001", "eventData": {"recordState": {"fileInfo": odd}}}),
    (zoom.PROVIDER, lambda odd: {"event": "endpoint.url_validation", "payload": odd}),
]


def calls_to_refuse(provider: Provider[Any], body: bytes) -> int:
    """How many functions a forged check takes."""
    source, calls = example_source(provider), Counter[str]()
    signed = sent(provider.sign(b"{}", source, NOW_S))
    sys.setprofile(lambda _frame, event, _argument: calls.update([event]))
    try:
        with suppress(BadSignature):
            challenge_of(source, Request(body, signed.headers), NOW_S)
    finally:
        sys.setprofile(None)
    return calls["call"]


@pytest.mark.parametrize(("provider", "check"), CHECKS, ids=[provider.name for provider, _ in CHECKS])
def test_a_forged_check_takes_as_many_steps_whatever_is_in_it(
    provider: Provider[Any], check: Callable[[Any], Any]
) -> None:
    few, many = (msgspec.json.encode(check([ODD_FILE] * count)) for count in (1, 100))
    calls_to_refuse(provider, few)  # what is remembered afterwards
    assert calls_to_refuse(provider, many) == calls_to_refuse(provider, few)
