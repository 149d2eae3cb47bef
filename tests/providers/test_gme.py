"""What only GME does."""

import hashlib
import hmac
from base64 import b64encode
from typing import Any
from urllib.parse import quote

import pytest
from multidict import CIMultiDict

from hookline.events import ModerationFlagged, RecordingStarted, Unknown
from hookline.schemas.errors import BadSignature, MissingSignature, Unreadable
from hookline.schemas.event_redaction import Redaction
from hookline.schemas.provider import Request
from hookline.schemas.providers.gme import PROVIDER
from tests.providers.bodies import as_bytes, event_id, normalised
from tests.vector_cases import example_source

STORY_START_S = 1_700_000_000.0


def notice(**fields: Any) -> Any:
    return PROVIDER.samples[0].body(1, STORY_START_S) | fields


def test_a_task_id_beyond_2_to_the_53_stays_exact() -> None:
    (event,) = normalised(PROVIDER, notice(TaskID=2**53 + 1))
    assert isinstance(event, RecordingStarted)
    assert event.task_id == "9007199254740993"


@pytest.mark.parametrize(
    ("path", "directory", "name"),
    [("a/b/c.mp3", "a/b", "c.mp3"), ("c.mp3", None, "c.mp3"), ("/c.mp3", "", "c.mp3"), ("a/", "a", ""), ("", None, "")],
    ids=repr,
)
def test_the_file_name_is_split_into_directory_and_file(path: str, directory: str | None, name: str) -> None:
    (event,) = normalised(PROVIDER, notice(Detail={"SeqNo": 0, "FileName": path}))
    assert isinstance(event, RecordingStarted)
    assert (event.directory, event.file_name) == (directory, name)


@pytest.mark.parametrize(("mode", "mixed"), [(0, False), (1, True), (2, None), (None, None)], ids=str)
def test_the_record_mode_says_whether_a_recording_is_mixed(mode: int | None, mixed: bool | None) -> None:  # noqa: FBT001  a case
    (event,) = normalised(PROVIDER, notice(RecordMode=mode))
    assert isinstance(event, RecordingStarted)
    assert event.mixed == mixed


@pytest.mark.parametrize(
    "other",
    [{"TaskID": 5}, {"UserID": "1"}, {"BizID": 5}, {"EventType": 2}, {"Detail": {"SeqNo": 1}}, {"Detail": {}}],
    ids=str,
)
def test_recordings_differ_by_each_of_their_facts(other: dict[str, Any]) -> None:
    assert event_id(PROVIDER, notice()) != event_id(PROVIDER, notice(**other))


def test_the_sending_time_is_no_fact_of_an_unknown_type() -> None:
    assert event_id(PROVIDER, notice(EventType=9)) == event_id(PROVIDER, notice(EventType=9, Timestamp=5))


SECRETS = ("an-example-secret", "another-example-secret")


def piece(**fields: Any) -> dict[str, Any]:
    return {"HitFlag": True, "RoomId": "r", "OpenId": "ann", "Offset": 0, "PieceStartTime": 1_700_000_000, **fields}


def scan(*pieces: Any, **fields: Any) -> dict[str, Any]:
    task = {"TaskId": "t", "DataId": "d", "ScanFinishTime": 1_700_000_006}
    return {**task, "ScanPiece": list(pieces) or [piece()], **fields}


def verify_scan(body: bytes, signature: str | None) -> None:
    query = "" if signature is None else f"Signature={signature}"
    PROVIDER.verify(Request(body, CIMultiDict(), query), example_source(PROVIDER, *SECRETS), STORY_START_S)


def signature(body: bytes, secret: str = SECRETS[0]) -> str:
    return b64encode(hmac.new(secret.encode(), b"POST" + body, hashlib.sha1).digest()).decode()


def test_moderation_is_signed_in_the_query_with_any_of_several_secrets() -> None:
    for number in range(50):  # some of the signatures have a plus sign or a slash
        body = as_bytes(scan(number=number))
        for secret in SECRETS:
            verify_scan(body, quote(signature(body, secret), safe=""))
            verify_scan(body, signature(body, secret))


def test_a_forged_moderation_is_refused() -> None:
    body = as_bytes(scan())
    for forged in (signature(body, "a-foreign-secret"), signature(body + b" "), signature(body).lower(), "x"):
        with pytest.raises(BadSignature):
            verify_scan(body, quote(forged, safe=""))
    with pytest.raises(MissingSignature):
        verify_scan(body, None)
    with pytest.raises(MissingSignature):
        verify_scan(body, "")


def test_the_signature_of_a_recording_does_not_fit_into_the_query() -> None:
    body = as_bytes(notice())
    headers = PROVIDER.sign(body, example_source(PROVIDER, *SECRETS), STORY_START_S).headers
    with pytest.raises(BadSignature):
        verify_scan(body, quote(headers["Signature"], safe=""))


def test_each_piece_with_a_hit_is_an_event() -> None:
    events = normalised(PROVIDER, scan(piece(), piece(HitFlag=False, OpenId="bo"), piece(OpenId="cy")))
    assert [event.user_id for event in events if isinstance(event, ModerationFlagged)] == ["ann", "cy"]
    assert len({event.id for event in events}) == 2


def test_a_scan_without_a_hit_is_kept_whole() -> None:
    for body in (scan(piece(HitFlag=False)), scan(piece(HitFlag=None)), scan(ScanPiece=[])):
        (event,) = normalised(PROVIDER, body)
        assert isinstance(event, Unknown)
        assert event.payload == body


def test_a_scan_sent_again_is_the_same_event_and_another_piece_is_not() -> None:
    again = scan(ScanFinishTime=1_700_000_009, ScanStartTime=1_700_000_008)
    assert event_id(PROVIDER, scan()) == event_id(PROVIDER, again)
    others = [
        scan(),
        scan(TaskId="u"),
        scan(DataId="e"),
        scan(piece(Offset=3000)),
        scan(piece(PieceStartTime=1_700_000_003)),
        scan(piece(OpenId="bo")),
        scan(piece(RoomId="q")),
    ]
    assert len({event_id(PROVIDER, other) for other in others}) == len(others)


def test_a_callback_that_is_neither_is_unreadable() -> None:
    with pytest.raises(Unreadable):
        PROVIDER.identify(Request(b'{"TaskId":"t"}'))


def test_the_url_of_a_piece_is_kept_on_request_only() -> None:
    body = scan(piece(DumpUrl="https://example.com/a?sign=hush"))
    for keep_urls in (True, False):
        for each in (body, scan(piece(DumpUrl="https://example.com/a?sign=hush", HitFlag=False))):
            (event,) = Redaction(PROVIDER, keep_urls=keep_urls)(normalised(PROVIDER, each))
            assert ("hush" in str(event)) is keep_urls
