"""What only Alibaba Cloud Live does."""

import hashlib
from dataclasses import replace
from typing import Any

import pytest
from multidict import CIMultiDict

from hookline.schemas.errors import BadSignature, StaleTimestamp
from hookline.schemas.provider import Request
from hookline.schemas.providers.alibaba_live import PROVIDER
from tests.providers.bodies import event_id
from tests.vector_cases import example_source, sent

NOW_S = 1_700_000_000.0
SOURCE = example_source(PROVIDER)


def notice(**fields: Any) -> dict[str, Any]:
    return {"appId": "a", "taskId": "t", "eventType": "TaskStopped", "callbackTs": 1700000000000} | fields


def test_another_body_passes_with_the_same_signature() -> None:
    """The scheme does not cover the body: README's table says so."""
    signed = sent(PROVIDER.sign(b"{}", SOURCE, NOW_S))
    PROVIDER.verify(Request(b'{"forged":true}', signed.headers), SOURCE, NOW_S)


def test_an_hour_later_it_does_not() -> None:
    signed = sent(PROVIDER.sign(b"{}", SOURCE, NOW_S))
    with pytest.raises(StaleTimestamp):
        PROVIDER.verify(signed, SOURCE, NOW_S + 3600)


def of_live_stream(host: str) -> Request:
    time = str(int(NOW_S))
    digest = hashlib.md5(f"{host}|{time}|an-example-secret".encode(), usedforsecurity=False).hexdigest()
    headers = {"ALI-LIVE-TIMESTAMP": time, "ALI-LIVE-SIGNATURE": digest, "Host": "10.0.0.1"}
    return Request(b"{}", CIMultiDict(headers))


def test_a_live_stream_signs_the_host_of_the_public_url() -> None:
    public = replace(SOURCE, public_url="https://hooks.example.com/hooks/alibaba")
    PROVIDER.verify(of_live_stream("hooks.example.com"), public, NOW_S)
    with pytest.raises(BadSignature):
        PROVIDER.verify(of_live_stream("10.0.0.1"), public, NOW_S)


def test_without_a_public_url_it_is_the_host_of_the_request() -> None:
    PROVIDER.verify(of_live_stream("10.0.0.1"), SOURCE, NOW_S)
    with pytest.raises(BadSignature):
        PROVIDER.verify(of_live_stream("hooks.example.com"), SOURCE, NOW_S)


@pytest.mark.parametrize(
    "fields", [{"callbackTs": 1700000000001}, {"taskId": "u"}, {"eventType": "TaskRunning"}], ids=str
)
def test_events_that_look_alike_have_other_ids(fields: dict[str, Any]) -> None:
    assert event_id(PROVIDER, notice()) != event_id(PROVIDER, notice(**fields))


def test_a_re_send_has_the_same_id() -> None:
    assert event_id(PROVIDER, notice()) == event_id(PROVIDER, dict(reversed(notice().items())))
