"""Signatures that were published, or computed by hand: they do not depend on our code."""

from typing import Any

import pytest
from multidict import CIMultiDict

from hookline.schemas.errors import BadSignature
from hookline.schemas.provider import Request
from hookline.schemas.providers import catalogue
from tests.vector_cases import source_of

NETEASE_BODY = (
    b'{"eventType":21,"fromAccount":"lly1","channelName":"ss","roomConfig":"","selfConfig":"",'
    b'"timestamp":"1700000000000"}'
)
NETEASE_MEETING_BODY = (
    b'{"msgType":3,"msgBody":{"type":1,"meetingId":"4130603726","meetingUniqueId":26775,"subject":"DEMO",'
    b'"time":1700000000000}}'
)
KRTC_BODY = (
    b'{"noticeId":"1631776189707676964","productId":1,"eventType":101,"notifyMs":1631776189707,'
    b'"payload":{"channelName":"defau","ts":1631776189}}'
)
GME_BODY = (
    b'{"BizID":1400000000,"RoomID":"100","UserID":"999","TaskID":446946705284000000,"RecordMode":1,'
    b'"Timestamp":1675930605,"EventType":1,"Detail":{"SeqNo":0,"FileName":'
    b'"1400000000_100_999/2023-02-09-16-16-45_446946705284000000_audio.mp3"}}'
)
NOW_S = 1700000000.123
OF_BODY = {"base64": "pamMbW+ydiezoaPw/bxOQf4eZxY=", "hexadecimal": "a5a98c6d6fb27627b3a1a3f0fdbc4e41fe1e6716"}
OF_POST_AND_BODY = {
    "base64": "tul3fcNpZ+Ie9oFEINzx3j51LW4=",
    "hexadecimal": "b6e9777dc36967e21ef6814420dcf1de3e752d6e",
}


def verify(
    provider: str,
    settings: dict[str, Any],
    secret: str,
    *,
    body: bytes = b"{}",
    headers: dict[str, str] | None = None,
    query: str = "",
    now_s: float = NOW_S,
) -> None:
    source = source_of(catalogue()[provider], {**settings, "secrets": [secret]})
    source.provider.verify(Request(body, CIMultiDict(headers or {}), query), source, now_s)


def cloudroom(comp_id: str | int, secret: str, time: int, signature: str) -> None:
    body = f'{{"EventType":"ROOM_CREATE","Time":{time} ,"Signature":"{signature}","Details":{{"RoomId":1}}}}'.encode()
    verify("cloudroom", {"comp_id": comp_id}, secret, body=body, now_s=time)


def netease(body: bytes, md5: str, check_sum: str, cur_time: str = "1700000000123", now_s: float = NOW_S) -> None:
    headers = {"AppKey": "example-app-key", "CurTime": cur_time, "MD5": md5, "CheckSum": check_sum}
    verify("netease", {"app_key": "example-app-key"}, "example-app-secret", body=body, headers=headers, now_s=now_s)


def roomkit(token: str, request_time: int, sign: str) -> None:
    query = f"SdkAppid=1400000000&CallbackCommand=x&Sign={sign}&RequestTime={request_time}"
    verify("roomkit", {"sdk_app_id": 1400000000}, token, query=query, now_s=request_time)


def gme(signature: str, **settings: bool) -> None:
    verify(
        "gme",
        {"biz_id": 1400000000, **settings},
        "example-secret-key",
        body=GME_BODY,
        headers={"Signature": signature},
    )


def test_cloudrooms_signature_is_the_md5_of_company_secret_and_time() -> None:
    cloudroom("10001", "example-comp-secret", 1700000000, "528d1123e189a65dc3d45cf9eedca66c")


def test_cloudrooms_company_may_be_a_number_in_the_settings() -> None:
    cloudroom(10001, "example-comp-secret", 1700000000, "528d1123e189a65dc3d45cf9eedca66c")


def test_cloudrooms_published_values_verify_without_the_blank_after_the_time() -> None:
    cloudroom(1, "1", 1624356396, "dd6eaddec8e318b630ef715c5be2c416")


def test_cloudrooms_published_signature_over_a_trailing_blank_is_refused() -> None:
    with pytest.raises(BadSignature):
        cloudroom(1, "1", 1624356396, "c8ac997a192f6ce3fc290d3a81b81c34")


def test_tencent_chats_published_signature_verifies() -> None:
    roomkit("xxxxyyyy", 1669872112, "17773bc39a671d7b9aa835458704d2a6db81360a5940292b587d6d760d484061")


def test_roomkits_signature_is_the_sha256_of_token_and_time() -> None:
    roomkit("example-token", 1700000000, "7538b0983b8e100fc6d802a83bd847a1b757ee983e909b099b628853871e2ab5")


def test_neteases_check_sum_is_the_sha1_of_secret_md5_and_time() -> None:
    netease(NETEASE_BODY, "9221da9d796fe91b5a2f63355575c355", "13b730cb21095f9e9cbf105ed59ad6e893937a35")


def test_neteases_url_check_verifies() -> None:
    netease(b"{}", "99914b932bd37a50b983c5e7c90ae93b", "c118b85d13cea5bb001303550e9ab1f92ffc633d")


def test_neteases_published_placeholders_are_refused() -> None:
    md5, check_sum = "e89c284a5ad9a76b3176e23108920f81", "6f08c5ee2dd16a5fc34a12005e5d5f1411e657a1"
    with pytest.raises(BadSignature):
        netease(NETEASE_BODY, md5, check_sum, "1541583920979", 1541583921)


def test_the_signature_of_neteases_old_meeting_component_has_a_nonce_and_no_md5() -> None:
    headers = {
        "AppKey": "example-app-key",
        "Nonce": "n0nce",
        "CurTime": "1700000000123",
        "CheckSum": "410a8b8a97813ba88e5cf4448d231845fa15fbb5",
    }
    settings = {"app_key": "example-app-key"}
    verify("netease", settings, "example-app-secret", body=NETEASE_MEETING_BODY, headers=headers)


def test_krtcs_signature_is_the_hmac_sha256_of_the_body() -> None:
    signature = "3a712d89ea10a3509814ea08d0107d0c2a6178e65263db02e6cc5f671cf7e660"
    verify("krtc", {}, "example-callback-sk", body=KRTC_BODY, headers={"KRTC-Signature": signature})


@pytest.mark.parametrize("signature", OF_BODY.values(), ids=OF_BODY)
def test_gmes_signature_is_the_hmac_sha1_of_the_body(signature: str) -> None:
    gme(signature)


@pytest.mark.parametrize("signature", OF_POST_AND_BODY.values(), ids=OF_POST_AND_BODY)
def test_gmes_signature_covers_post_and_the_body_with_sign_post_prefix(signature: str) -> None:
    gme(signature, sign_post_prefix=True)


@pytest.mark.parametrize("signature", OF_POST_AND_BODY.values(), ids=OF_POST_AND_BODY)
def test_gmes_signature_of_post_and_the_body_is_refused_without_sign_post_prefix(signature: str) -> None:
    with pytest.raises(BadSignature):
        gme(signature)


def test_another_base64_text_for_gmes_signature_is_refused() -> None:
    with pytest.raises(BadSignature):
        gme("pamMbW+ydiezoaPw/bxOQf4eZxZ=")  # a lenient decoder decodes it to the same bytes
