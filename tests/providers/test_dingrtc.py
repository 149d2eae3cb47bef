"""What only DingRTC does."""

from typing import Any

import pytest
from multidict import CIMultiDict

from hookline.schemas.errors import BadSignature, StaleTimestamp
from hookline.schemas.provider import Request
from hookline.schemas.providers.dingrtc import HEADER, PROVIDER
from tests.providers.bodies import event_id
from tests.vector_cases import challenge_of, example_source, sent

NOW_S = 1_700_000_000.0
CHECK = b'{"eventId":"e","eventType":"001","notifyTime":1767225600000,"eventData":{}}'
SOURCE = example_source(PROVIDER)


def notice(**fields: Any) -> dict[str, Any]:
    data = {"appId": "example-app-id", "channelId": "room", "taskId": "t"}
    return {"eventId": "e1", "eventType": "2000", "notifyTime": 1700000000000, "eventData": data} | fields


def test_an_address_check_needs_a_proof_that_is_fresh() -> None:
    request = sent(PROVIDER.sign(CHECK, SOURCE, NOW_S))
    assert challenge_of(SOURCE, request, NOW_S) is not None
    with pytest.raises(StaleTimestamp):
        challenge_of(SOURCE, request, NOW_S + 3600)
    with pytest.raises(BadSignature):
        challenge_of(example_source(PROVIDER, "another-secret"), request, NOW_S)


@pytest.mark.parametrize(
    "body", [b'{"eventId":"001","eventType":"2000"}', b'"001"', b"001", b'{"eventType":1}'], ids=str
)
def test_other_callbacks_are_no_address_check(body: bytes) -> None:
    assert challenge_of(SOURCE, sent(PROVIDER.sign(body, SOURCE, NOW_S)), NOW_S) is None


@pytest.mark.parametrize("header", ["{app}.{sign}", "{app}.{time}.{sign}.x", "{app}.{time}", "other.{time}.{sign}"])
def test_a_header_of_another_form_is_refused(header: str) -> None:
    app, time, sign = PROVIDER.sign(b"{}", SOURCE, NOW_S).headers[HEADER].split(".")
    forged = CIMultiDict({HEADER: header.format(app=app, time=time, sign=sign)})
    with pytest.raises(BadSignature):
        PROVIDER.verify(Request(b"{}", forged), SOURCE, NOW_S)


@pytest.mark.parametrize(
    ("fields", "same"), [({"notifyTime": 1700000010000}, True), ({"eventId": "e2"}, False)], ids=str
)
def test_the_event_id_tells_repeats_from_other_events(fields: dict[str, Any], *, same: bool) -> None:
    assert (event_id(PROVIDER, notice()) == event_id(PROVIDER, notice(**fields))) is same
