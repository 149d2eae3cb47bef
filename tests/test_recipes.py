"""The recipes that providers share: proofs in bodies, forms, tokens, passwords, and times as text."""

import hashlib
import hmac
import json
from base64 import urlsafe_b64encode
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.provider import (
    BadSignature,
    BodyProof,
    Key,
    MalformedRequest,
    MissingSignature,
    Unreadable,
    check_jwt,
    check_shared_secret,
    claim,
    form_body,
    form_fields,
    read_form,
    text_s,
    time_claim,
)

PROOF = BodyProof("signature", "timestamp", "nonce")


def test_numbers_in_a_proof_keep_all_their_digits() -> None:
    body = b'{"timestamp":1767225600.50,"nonce":858012925204410401,"signature":"ab","rest":{"signature":1}}'
    assert PROOF.read(body) == ("ab", "1767225600.50", "858012925204410401")


def test_a_proof_is_that_of_the_body_that_is_asked_for() -> None:
    first, second = (b'{"signature":"%d","timestamp":1,"nonce":2}' % number for number in (1, 2))
    assert [PROOF.read(body)[0] for body in (first, first, second, first)] == ["1", "1", "2", "1"]


def test_a_body_without_a_proof_does_not_get_the_one_before() -> None:
    PROOF.read(b'{"signature":"1","timestamp":1,"nonce":2}')
    for _ in range(2):
        with pytest.raises(MissingSignature):
            PROOF.read(b"{}")


@pytest.mark.parametrize("algorithm", ["md5", "sha1", "sha256", "sha384", "sha512"])
@given(secret=st.binary(max_size=300), contents=st.lists(st.binary(max_size=300), max_size=3))
def test_a_key_makes_the_same_hmac_as_python(algorithm: str, secret: bytes, contents: list[bytes]) -> None:
    key = Key(secret)
    for content in contents:
        assert key.hmac(content, algorithm) == hmac.digest(secret, content, algorithm)


def test_a_text_in_a_proof_is_unescaped_once() -> None:
    (data,) = BodyProof("EventData").read(b'{"EventData":"{\\"a\\":\\"\\\\u4e2d\\"}"}')
    assert data == '{"a":"\\u4e2d"}'


def test_a_byte_order_mark_does_not_hide_a_proof() -> None:
    assert PROOF.read(b'\xef\xbb\xbf{"signature":"a","timestamp":1,"nonce":2}') == ("a", "1", "2")


@pytest.mark.parametrize("value", ["null", '""', '"  "'])
def test_an_absent_part_of_a_proof_is_missing(value: str) -> None:
    for body in (f'{{"signature":"a","timestamp":1,"nonce":{value}}}', '{"signature":"a","timestamp":1}'):
        with pytest.raises(MissingSignature, match="nonce is missing"):
            PROOF.read(body.encode())


def test_a_part_that_may_be_absent_can_be_looked_for() -> None:
    assert BodyProof("Nonce", "Noce").find(b'{"Noce":"4821"}') == (None, "4821")


@pytest.mark.parametrize("value", ["true", "[]", "{}", '["a"]', '"\\ud800"', '"\xff"'])
def test_a_part_of_another_kind_is_a_bad_signature(value: str) -> None:
    with pytest.raises((BadSignature, MalformedRequest)):
        PROOF.read(f'{{"signature":"a","timestamp":1,"nonce":{value}}}'.encode("latin-1"))


@pytest.mark.parametrize("body", [b"", b"[]", b"x", b"{" * 5000, b'{"a":1', b"1"], ids=range(6))
def test_a_body_without_a_proof_that_is_no_object_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedRequest):
        PROOF.read(body)


def test_of_a_field_that_appears_twice_verify_and_the_event_see_the_same() -> None:
    class Event(msgspec.Struct):
        nonce: str

    body = b'{"nonce":"first","nonce":"second","signature":"s","timestamp":1}'
    assert PROOF.read(body)[2] == msgspec.json.decode(body, type=Event).nonce == "second"


class Notice(msgspec.Struct):
    name: str
    size: int | None = None
    live: bool | None = None


def test_a_form_becomes_a_struct() -> None:
    assert read_form(Notice, b"name=a+b%26%E4%B8%AD&size=42&live=true&other=") == Notice("a b&中", 42, live=True)


def test_an_optional_field_of_a_form_that_cannot_be_read_costs_only_itself() -> None:
    assert read_form(Notice, b"name=a&size=many") == Notice("a")


@pytest.mark.parametrize(
    "body",
    [b"", b"size=1", b"name=a&name=a", b"name=%ff", b"name=%00", b"a=1&" * 300 + b"name=b", b"{}"],
    ids=["empty", "field missing", "field twice", "not UTF-8", "NUL", "too many fields", "JSON"],
)
def test_a_form_that_cannot_be_read_is_unreadable(body: bytes) -> None:
    with pytest.raises(Unreadable):
        read_form(Notice, body)


@given(fields=st.lists(st.tuples(st.text(min_size=1, max_size=8), st.text(max_size=8)), max_size=8))
def test_a_form_is_read_as_it_was_written(fields: list[tuple[str, str]]) -> None:
    assert form_fields(form_body(fields)) == fields


@given(body=st.binary(max_size=64))
def test_any_bytes_are_a_form_or_unreadable(body: bytes) -> None:
    try:
        form_fields(body)
    except Unreadable:
        return


KEY = b"example-livekit-secret"
PUBLISHED = (  # the token of OpenTok's Python library for this secret
    "eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJPbmxpbmUgSldUIEJ1aWxkZXIiLCJpYXQiOjE2OTc2MzQ2ODAsImV4cCI6MzMyNTQ1"
    "NDA4MjgsImF1ZCI6IiIsInN1YiI6IiJ9.88vJc3I2HhuqEDixHXVhc9R30tA6U_HQHZTC29y6CGM"
)


def encoded(part: bytes) -> str:
    return urlsafe_b64encode(part).rstrip(b"=").decode()


def token_of(claims: Any, *, key: bytes = KEY, head: Any = None) -> str:
    head = {"alg": "HS256", "typ": "JWT"} if head is None else head
    signed = f"{encoded(json.dumps(head).encode())}.{encoded(json.dumps(claims).encode())}"
    return f"{signed}.{encoded(hmac.digest(key, signed.encode(), 'sha256'))}"


def test_a_published_token_is_accepted() -> None:
    claims = check_jwt(PUBLISHED, [b"another", b"qwertyuiopasdfghjklzxcvbnm123456"])
    assert (claim(claims, "iss"), time_claim(claims, "exp")) == ("Online JWT Builder", 33254540828.0)


@pytest.mark.parametrize(
    "token",
    [
        token_of({"iss": "a"}, key=b"another"),
        token_of({"iss": "a"}, head={"alg": "none"}),
        token_of({"iss": "a"}, head={"alg": "HS512"}),
        token_of({"iss": "a"}, head={"alg": None}),
        token_of({"iss": "a"}, head=["HS256"]),
        token_of(["a"]),
        token_of({"iss": "a"}) + "=",
        token_of({"iss": "a"}).rpartition(".")[0] + ".",
        token_of({"iss": "a"}).rpartition(".")[0],
        token_of({"iss": "a"}) + ".",
        token_of({"a": "x" * 9000}),
        "a.b.c",
        "..",
        "",
        "é.é.é",
    ],
    ids=range(15),
)
def test_a_token_that_is_not_exactly_right_is_refused(token: str) -> None:
    with pytest.raises(BadSignature):
        check_jwt(token, [KEY])


def test_every_changed_character_of_a_token_is_refused() -> None:
    token = token_of({"iss": "a", "sha256": hashlib.sha256(b"{}").hexdigest()})
    for place, old in enumerate(token):
        with pytest.raises(BadSignature):
            check_jwt(token[:place] + ("A" if old != "A" else "B") + token[place + 1 :], [KEY])


def test_only_one_text_stands_for_a_token() -> None:
    """The last character of 32 bytes has two bits that a lenient decoder ignores."""
    token = token_of({"iss": "a"})
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    accepted = []
    for last in alphabet:
        try:
            check_jwt(token[:-1] + last, [KEY])
        except BadSignature:
            continue
        accepted.append(last)
    assert accepted == [token[-1]]


@pytest.mark.parametrize("value", [None, True, "1", [], {}])
def test_a_claim_of_another_type_is_refused(value: Any) -> None:
    with pytest.raises(BadSignature):
        time_claim({"exp": value}, "exp")


def test_a_shared_secret_is_compared_as_a_whole() -> None:
    check_shared_secret("pass-word", [b"another", b"pass-word"])
    for wrong in ("", "pass", "pass-word ", "Pass-word", "pass-word\udcff", "é"):
        with pytest.raises(BadSignature):
            check_shared_secret(wrong, [b"another", b"pass-word"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-01T00:00:00Z", 1767225600.0),
        ("2026-01-01T00:00:00.123456789Z", 1767225600.123456),
        ("2026-01-01 00:00:00.5 +08:00", 1767196800.5),
        ("2026-01-01T00:00:00+0000", 1767225600.0),
        (" 2026-01-01T00:00:00.1z", 1767225600.1),
        ("2026-01-01T00:00:00", 1767225600.0),
        ("0001-01-01T00:00:00Z", None),
        ("2014-12-31T23:59:59Z", None),
        ("9999-12-31T23:59:59Z", None),
        ("2026-13-01T00:00:00Z", None),
        ("1767225600", None),
        ("", None),
        (None, None),
        ("٢026-01-01T00:00:00Z", None),
        ("2026-01-01T00:00:00+99:99", None),
    ],
)
def test_a_time_as_text_is_read(text: str | None, expected: float | None) -> None:
    assert text_s(text) == expected
