"""What only Agora does."""

import hashlib
import hmac
from collections.abc import Mapping
from typing import Any

import pytest
from multidict import CIMultiDict

from hookline.events import (
    ParticipantJoined,
    ParticipantLeft,
    RecordingUploaded,
    StreamStarted,
    StreamStateChanged,
    Unknown,
)
from hookline.schemas.errors import BadSignature, MissingSignature, Unreadable
from hookline.schemas.event_redaction import Redaction
from hookline.schemas.provider import Request
from hookline.schemas.providers.agora import PROVIDER
from tests.providers.bodies import as_bytes, event_id, normalised
from tests.vector_cases import challenge_of, example_source, seal_with

SECRET = "an-example-secret"
PUBLISHED = (
    b'{"eventType":10,"noticeId":"4eb720f0-8da7-11e9-a43e-53f411c2761f","notifyMs":1560408533119,'
    b'"payload":{"a":"1","b":2},"productId":1}'
)
PUBLISHED_V1 = "5a3bb6a6d9fad2ea9ae3fb707a14c9d7f3136df1"
PUBLISHED_V2 = "de96da5acf03b0021ac3b4fa2225e7ae6f3533a30d50bb02c08ea4fa748bda24"
V1, V2 = "Agora-Signature", "Agora-Signature-V2"


def verify(body: bytes, headers: Mapping[str, str], *secrets: str, now_s: float = 1_767_225_602) -> None:
    source = example_source(PROVIDER, *(secrets or (SECRET,)))
    PROVIDER.verify(Request(body, CIMultiDict(headers)), source, now_s)


def recipe(body: bytes, secret: str = SECRET) -> dict[str, str]:
    """What Agora's samples compute: `createHmac('sha1', secret).update(body).digest('hex')`, and with `sha256`."""
    return {
        V1: hmac.new(secret.encode(), body, hashlib.sha1).hexdigest(),
        V2: hmac.new(secret.encode(), body, hashlib.sha256).hexdigest(),
    }


def test_the_published_signatures_verify() -> None:
    verify(PUBLISHED, {V2: PUBLISHED_V2}, "secret")
    verify(PUBLISHED, {V1: PUBLISHED_V1}, "secret")
    assert recipe(PUBLISHED, "secret") == {V1: PUBLISHED_V1, V2: PUBLISHED_V2}


@pytest.mark.parametrize("sample", PROVIDER.samples, ids=lambda sample: sample.type)
def test_agoras_recipe_signs_as_we_do(sample: Any) -> None:
    body = as_bytes(sample.body(1, 1_767_225_600))
    verify(body, recipe(body))
    signed = PROVIDER.sign(body, example_source(PROVIDER, SECRET), 0).headers
    assert signed == {V2: recipe(body)[V2]}


def test_the_secrets_of_several_products_verify_at_one_source() -> None:
    body = as_bytes(notice(1, 101, channelName="r"))
    secrets = ("secret-of-channels", "secret-of-recording", "secret-of-push")
    for secret in secrets:
        verify(body, recipe(body, secret), *secrets)


def test_a_wrong_sha256_is_not_saved_by_a_right_sha1() -> None:
    right, wrong = recipe(PUBLISHED), recipe(PUBLISHED, "another-secret")
    with pytest.raises(BadSignature):
        verify(PUBLISHED, right | {V2: wrong[V2]})
    verify(PUBLISHED, right | {V1: wrong[V1]})


@pytest.mark.parametrize("version", [V1, V2])
def test_either_signature_refuses_another_secret_and_another_body(version: str) -> None:
    alone = {version: recipe(PUBLISHED)[version]}
    verify(PUBLISHED, alone)
    with pytest.raises(BadSignature):
        verify(PUBLISHED, alone, "another-secret")
    with pytest.raises(BadSignature):
        verify(PUBLISHED.replace(b'"b":2', b'"b":3'), alone)
    with pytest.raises(MissingSignature):
        verify(PUBLISHED, {})
    with pytest.raises(MissingSignature):
        verify(PUBLISHED, alone | {V2: " "})


def test_no_time_is_signed_so_an_old_callback_verifies() -> None:
    verify(PUBLISHED, recipe(PUBLISHED), now_s=1_767_225_602 + 3600)


def notice(product: int, number: int, notice_id: Any = "1:1:1", **payload: Any) -> dict[str, Any]:
    head = {"noticeId": notice_id, "productId": product, "eventType": number, "notifyMs": 1767225600900}
    return {**head, "payload": {"ts": 1767225600, **payload}}


JOIN = notice(1, 103, channelName="r", uid=1, clientSeq=1)
SAME = {
    "the copy that is sent at once": JOIN | {"notifyMs": 1767225600977},
    "a later attempt": JOIN | {"notifyMs": 1767225720000},
    "another order": dict(reversed(JOIN.items())),
    "a session id": JOIN | {"sid": "A1"},
}
OTHERS = {
    "a second user in one second": notice(1, 103, "1:1:2", channelName="r", uid=2, clientSeq=1),
    "a quick re-join": notice(1, 103, "1:1:3", channelName="r", uid=1, clientSeq=2),
    "the same words for another notice": JOIN | {"noticeId": "1:1:4"},
    "the same notice of another product": notice(3, 40, cname="r", sid="s", details={"status": 0}),
    "the departure": notice(1, 104, "1:1:5", channelName="r", uid=1, clientSeq=3),
}


@pytest.mark.parametrize("resent", SAME.values(), ids=SAME)
def test_a_re_send_is_the_same_event(resent: dict[str, Any]) -> None:
    assert event_id(PROVIDER, resent) == event_id(PROVIDER, JOIN)


def test_events_that_look_alike_have_ids_of_their_own() -> None:
    events = [JOIN, *OTHERS.values()]
    assert len({event_id(PROVIDER, event) for event in events}) == len(events)


def test_several_files_of_one_recording_have_ids_of_their_own() -> None:
    files = [{"fileName": "a"}, {"fileName": "b"}]
    events = normalised(PROVIDER, notice(3, 31, cname="r", sid="s", details={"fileList": files}))
    assert [event.file_name for event in events if isinstance(event, RecordingUploaded)] == ["a", "b"]
    assert len({event.id for event in events}) == 2


def test_without_a_notice_id_all_fields_but_the_sending_time_tell_events_apart() -> None:
    first = {name: value for name, value in JOIN.items() if name != "noticeId"}
    assert event_id(PROVIDER, first) == event_id(PROVIDER, first | {"notifyMs": 1})
    payloads: list[dict[str, Any]] = [first["payload"] | {"clientSeq": 2}, first["payload"] | {"uid": 2}]
    assert len({event_id(PROVIDER, first), *(event_id(PROVIDER, first | {"payload": each}) for each in payloads)}) == 3


CHECKS = {
    "a user of the check": notice(1, 103, channelName="test_webhook", uid=12121212),
    "a recorder of the check": notice(3, 40, cname="test_webhook", uid="12121212", sid="s"),
    "a gateway of the check": notice(10, 1, sid="s", rtcInfo={"channel": "test_webhook", "uid": "12121212"}),
}
EVENTS = {
    "another user of that channel": notice(1, 103, channelName="test_webhook", uid=1),
    "that user of another channel": notice(1, 103, channelName="r", uid=12121212, account="test_webhook"),
}


@pytest.mark.parametrize("body", CHECKS.values(), ids=CHECKS)
def test_the_consoles_check_is_answered(body: dict[str, Any]) -> None:
    raw, source = as_bytes(body), example_source(PROVIDER, SECRET)
    headers = CIMultiDict({V2: recipe(raw)[V2]})
    reply = challenge_of(source, Request(raw, headers), 0)
    assert reply is not None
    assert reply.body == b"{}"
    with pytest.raises(MissingSignature):
        challenge_of(source, Request(raw, CIMultiDict()), 0)


@pytest.mark.parametrize("body", EVENTS.values(), ids=EVENTS)
def test_what_looks_like_the_consoles_check_is_an_event(body: dict[str, Any]) -> None:
    raw = as_bytes(body)
    headers = CIMultiDict({V2: recipe(raw)[V2]})
    assert challenge_of(example_source(PROVIDER, SECRET), Request(raw, headers), 0) is None


@pytest.mark.parametrize(("client", "kind"), [(None, None), (3, "robot"), (8, "robot"), (10, "robot"), (9, None)])
def test_recorders_are_robots_when_they_join_and_when_they_leave(client: int | None, kind: str | None) -> None:
    who = {"channelName": "r", "uid": 1, "platform": 6} | ({} if client is None else {"clientType": client})
    events = (*normalised(PROVIDER, notice(1, 105, **who)), *normalised(PROVIDER, notice(1, 106, **who)))
    assert [e.kind for e in events if isinstance(e, ParticipantJoined | ParticipantLeft)] == [kind, kind]


@pytest.mark.parametrize("product", [2, 17, 0, 99], ids="product {}".format)
def test_another_product_has_types_of_its_own(product: int) -> None:
    (event,) = normalised(PROVIDER, notice(product, 101, channelName="r"))
    assert isinstance(event, Unknown)
    assert event.payload == notice(product, 101, channelName="r")


def test_a_notice_without_a_product_is_kept_whole() -> None:
    body = {name: value for name, value in JOIN.items() if name != "productId"}
    (event,) = normalised(PROVIDER, body)
    assert isinstance(event, Unknown)


def test_media_push_is_ordered_by_its_converter_even_where_it_names_a_channel() -> None:
    created = notice(5, 1, converter={"id": "c", "transcodeOptions": {"rtcChannel": "r"}})
    (event,) = normalised(PROVIDER, created)
    assert isinstance(event, StreamStateChanged)
    assert (event.room_id, seal_with(PROVIDER, as_bytes(created)).subject) == ("r", "c")


@pytest.mark.parametrize(("product", "number", "part"), [(1, 103, "uid"), (1, 101, "channelName"), (3, 40, "sid")])
def test_an_event_without_its_room_user_or_task_is_unreadable(product: int, number: int, part: str) -> None:
    payload = {"channelName": "r", "cname": "r", "uid": 1, "sid": "s"}
    with pytest.raises(Unreadable, match=part):
        PROVIDER.identify(Request(as_bytes(notice(product, number, **{**payload, part: None}))))


def test_no_key_of_a_stream_is_kept() -> None:
    push = {"id": "c", "rtmpUrl": "rtmp://live.example.com/app/hush?auth=hush", "state": "running"}
    events = normalised(PROVIDER, notice(5, 3, converter=push)) + normalised(PROVIDER, notice(5, 9, converter=push))
    kept = Redaction(PROVIDER, keep_urls=False)(events)
    assert isinstance(kept[0], StreamStarted)
    assert kept[0].url == "rtmp://live.example.com/app"
    assert "hush" not in str(kept)
