"""What only LiveKit does."""

import base64
import datetime as dt
import hashlib
import json
from typing import Any

import jwt
import pytest
from livekit import api
from multidict import CIMultiDict

from hookline.events import (
    ParticipantJoined,
    ParticipantLeft,
    RecordingUploaded,
    StreamStarted,
    TrackPublished,
    Unknown,
)
from hookline.schemas.errors import BadSignature, MissingSignature, StaleTimestamp, Unreadable, Unverified
from hookline.schemas.event_redaction import Redaction
from hookline.schemas.provider import AnySource, Request
from hookline.schemas.providers.livekit import PROVIDER
from tests.providers.bodies import as_bytes, event_id, normalised
from tests.vector_cases import seal_with, source_of

KEY, SECRET = "APIexample", "an-example-secret-of-32-characters"
BODY = b'{"event":"room_started","room":{"name":"r","sid":"RM_1"},"id":"EV_1","createdAt":"1767225600"}'
NOW_S = 1_767_225_600.0


def source(*secrets: str, api_key: Any = KEY, **settings: Any) -> AnySource:
    return source_of(PROVIDER, {"api_key": api_key, "secrets": secrets or (SECRET,), **settings})


def token(*, secret: str = SECRET, algorithm: str = "HS256", **claims: Any) -> str:
    """A token as the server makes it for BODY; a claim of None is left out."""
    at = int(NOW_S)
    digest = base64.b64encode(hashlib.sha256(BODY).digest()).decode()
    made = {"iss": KEY, "nbf": at, "exp": at + 300, "sha256": digest, **claims}
    return jwt.encode({name: value for name, value in made.items() if value is not None}, secret, algorithm)


def verify(authorization: str | None, *, body: bytes = BODY, at: AnySource | None = None, later_s: float = 0) -> None:
    headers = CIMultiDict() if authorization is None else CIMultiDict(Authorization=authorization)
    PROVIDER.verify(Request(body, headers), at or source(), NOW_S + later_s)


def test_a_token_of_livekits_own_library_verifies() -> None:
    digest = base64.b64encode(hashlib.sha256(BODY).digest()).decode()
    made = api.AccessToken(KEY, SECRET).with_sha256(digest).with_ttl(dt.timedelta(minutes=5)).to_jwt()
    sent_s = jwt.decode(made, options={"verify_signature": False})["nbf"]
    PROVIDER.verify(Request(BODY, CIMultiDict(Authorization=made)), source(), sent_s + 2)


def test_livekits_own_library_accepts_our_samples() -> None:
    now_s = dt.datetime.now(dt.UTC).timestamp()
    receiver = api.WebhookReceiver(api.TokenVerifier(KEY, SECRET))
    for sample in PROVIDER.samples:
        body = as_bytes(sample.body(1, now_s))
        outgoing = PROVIDER.sign(body, source(), now_s)
        assert receiver.receive(body.decode(), outgoing.headers["Authorization"]).event == sample.type


def test_any_of_several_keys_and_secrets_verifies() -> None:
    both = source("another-secret-of-32-characters-0", SECRET, api_key=["APIother", KEY])
    verify(token(), at=both)
    verify(token(secret="another-secret-of-32-characters-0", iss="APIother"), at=both)


def test_another_api_key_is_refused() -> None:
    with pytest.raises(BadSignature, match="API key"):
        verify(token(iss="APIother"))


@pytest.mark.parametrize("claim", ["iss", "nbf", "exp", "sha256"])
def test_a_token_without_a_claim_is_refused(claim: str) -> None:
    claims: dict[str, Any] = {claim: None}
    with pytest.raises(BadSignature):
        verify(token(**claims))


def test_a_request_without_a_token_is_refused() -> None:
    with pytest.raises(MissingSignature):
        verify(None)


def test_a_changed_body_is_refused() -> None:
    with pytest.raises(BadSignature):
        verify(token(), body=BODY.replace(b"RM_1", b"RM_2"))


def test_the_hash_of_the_body_in_hexadecimal_is_refused() -> None:
    with pytest.raises(BadSignature):
        verify(token(sha256=hashlib.sha256(BODY).hexdigest()))


def test_only_hs256_is_accepted() -> None:
    with pytest.raises(BadSignature, match="HS256"):
        verify(token(algorithm="HS512", secret=SECRET * 2), at=source(SECRET * 2))
    unsigned = token().rsplit(".", 1)[0].split(".")[1]
    header = base64.urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=").decode()
    with pytest.raises(Unverified):
        verify(f"{header}.{unsigned}.")


@pytest.mark.parametrize("later_s", [-3600, 3600])
def test_a_clock_that_differs_by_an_hour_refuses(later_s: int) -> None:
    with pytest.raises(StaleTimestamp):
        verify(token(), later_s=later_s)


def test_an_expired_token_is_refused_within_a_longer_tolerance() -> None:
    long = source()
    long = type(long)(**{name: getattr(long, name) for name in long.__slots__} | {"tolerance_s": 3600})
    verify(token(), at=long, later_s=359)
    with pytest.raises(StaleTimestamp, match="expired"):
        verify(token(), at=long, later_s=361)


def test_an_empty_api_key_is_a_fault() -> None:
    assert "api_key" in (PROVIDER.fault(source(api_key="")) or "")
    assert "api_key" in (PROVIDER.fault(source(api_key=[])) or "")
    assert PROVIDER.fault(source(api_key=[KEY, "APIother"])) is None


def body(event: str, number: int = 1, /, **fields: Any) -> dict[str, Any]:
    room = {"name": "r", "sid": "RM_1"}
    return {"event": event, "room": room, "id": f"EV_{number}", "createdAt": "1767225600", **fields}


def person(identity: str, sid: str, **fields: Any) -> dict[str, Any]:
    return {"identity": identity, "sid": sid, **fields}


JOIN = body("participant_joined", participant=person("ann", "PA_1", joinedAt="1767225600"))
SAME = {
    "the time of making": JOIN | {"createdAt": "1767225660"},
    "the number of lost events": JOIN | {"numDropped": 7},
    "the number of participants": JOIN | {"room": {"name": "r", "sid": "RM_1", "numParticipants": 3}},
    "another order": dict(reversed(JOIN.items())),
}
OTHERS = {
    "a second participant in one second": body("participant_joined", 2, participant=person("bo", "PA_2")),
    "a quick re-join": body("participant_joined", 3, participant=person("ann", "PA_3")),
    "the same again with another id": JOIN | {"id": "EV_4"},
    "the departure of the first connection": body("participant_left", 5, participant=person("ann", "PA_1")),
    "the room": body("room_started", 6),
}


@pytest.mark.parametrize("resent", SAME.values(), ids=SAME)
def test_a_re_send_is_the_same_event(resent: dict[str, Any]) -> None:
    assert event_id(PROVIDER, resent) == event_id(PROVIDER, JOIN)


def test_events_that_look_alike_have_ids_of_their_own() -> None:
    events = [JOIN, *OTHERS.values()]
    assert len({event_id(PROVIDER, event) for event in events}) == len(events)


def test_several_files_of_one_egress_have_ids_of_their_own() -> None:
    info = {"egressId": "EG_1", "status": "EGRESS_COMPLETE", "fileResults": [{"filename": "a"}, {"filename": "b"}]}
    events = normalised(PROVIDER, body("egress_ended", egressInfo=info))
    assert [event.file_name for event in events if isinstance(event, RecordingUploaded)] == ["a", "b"]
    assert len({event.id for event in events}) == 2


def test_without_an_id_all_fields_tell_events_apart() -> None:
    first = {name: value for name, value in JOIN.items() if name != "id"}
    second = first | {"participant": person("ann", "PA_9", joinedAt="1767225600")}
    assert event_id(PROVIDER, first) == event_id(PROVIDER, dict(reversed(first.items())))
    assert event_id(PROVIDER, first) != event_id(PROVIDER, second)


def test_a_departure_after_a_quick_re_join_names_the_connection_that_left() -> None:
    (joined,) = normalised(PROVIDER, OTHERS["a quick re-join"])
    (left,) = normalised(PROVIDER, OTHERS["the departure of the first connection"])
    assert isinstance(joined, ParticipantJoined)
    assert isinstance(left, ParticipantLeft)
    assert (joined.user_id, joined.connection_id, left.user_id, left.connection_id) == ("ann", "PA_3", "ann", "PA_1")


@pytest.mark.parametrize(
    ("kind", "expected"),
    [(None, None), ("STANDARD", None), ("EGRESS", "robot"), ("INGRESS", "robot"), ("SIP", "phone"), ("AGENT", "agent")],
)
def test_the_kind_of_a_participant(kind: str | None, expected: str | None) -> None:
    who = person("x", "PA_1") | ({} if kind is None else {"kind": kind})
    (event,) = normalised(PROVIDER, body("participant_joined", participant=who))
    assert isinstance(event, ParticipantJoined)
    assert event.kind == expected


@pytest.mark.parametrize(
    ("track", "kind"),
    [
        ({}, "audio"),
        ({"type": "VIDEO"}, "video"),
        ({"type": "DATA"}, "data"),
        ({"type": "VIDEO", "source": "SCREEN_SHARE"}, "screen"),
        ({"source": "SCREEN_SHARE_AUDIO"}, "screen_audio"),
        ({"type": "HOLOGRAM"}, None),
    ],
    ids=str,
)
def test_the_kind_of_a_track(track: dict[str, str], kind: str | None) -> None:
    published = body("track_published", participant=person("a", "PA_1"), track={"sid": "TR_1", **track})
    (event,) = normalised(PROVIDER, published)
    assert isinstance(event, TrackPublished)
    assert event.kind == kind


def test_a_room_without_a_name_is_unreadable() -> None:
    with pytest.raises(Unreadable):
        seal_with(PROVIDER, as_bytes(body("room_started", room={"sid": "RM_1"})))


def test_an_egress_without_its_details_is_kept_whole() -> None:
    (event,) = normalised(PROVIDER, body("egress_ended"))
    assert isinstance(event, Unknown)
    assert event.payload == body("egress_ended")


@pytest.mark.parametrize("keep_urls", [True, False])
def test_no_secret_of_a_request_is_kept(keep_urls: bool) -> None:  # noqa: FBT001  a parameter
    upload = {"s3": {"accessKey": "hush", "secret": "hush"}, "gcp": {"credentials": "hush"}}
    info = {"egressId": "EG_1", "web": {"file": upload, "streamOutputs": [{"urls": ["rtmp://x/hush"]}]}}
    room = {"name": "r", "turnPassword": "hush"}
    unknown = body("a_new_event", egressInfo=info, room=room, ingressInfo={"ingressId": "IN_1", "streamKey": "hush"})
    events = Redaction(PROVIDER, keep_urls=keep_urls)(normalised(PROVIDER, unknown))
    assert "hush" not in json.dumps(str(events))


def test_the_key_of_a_stream_is_no_part_of_its_event() -> None:
    info = {"egressId": "EG_1", "streamResults": [{"url": "rtmp://user:hush@live.example.com/app/hush?auth=hush"}]}
    (event,) = normalised(PROVIDER, body("egress_started", egressInfo=info))
    assert isinstance(event, StreamStarted)
    assert event.url == "rtmp://live.example.com/app"
