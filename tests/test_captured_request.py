"""Reading one HTTP request from a file, in the forms that inspectors and proxies save."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.diagnosis.captured import NotARequest, read_request

HEAD = b"POST /hooks/calls?a=1 HTTP/1.1\r\nHost: example\r\nContent-Length: 4\r\n\r\n"


def test_a_request_is_read_with_its_exact_body() -> None:
    request = read_request(HEAD + b"{\r\n}")
    assert (request.method, request.path, request.query) == ("POST", "/hooks/calls", "a=1")
    assert (request.headers["host"], request.content_length) == ("example", 4)
    assert (request.body, request.notes) == (b"{\r\n}", ())


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(HEAD.replace(b"\r\n", b"\n") + b"{ }\n", id="lines that end in LF"),
        pytest.param(b"\xef\xbb\xbf\r\n" + HEAD + b"{ }\n", id="a byte order mark and a blank line before it"),
        pytest.param(HEAD.replace(b"/hooks", b"https://example/hooks") + b"{ }\n", id="a whole URL as the target"),
        pytest.param(HEAD.replace(b"HTTP/1.1", b"HTTP/2") + b"{ }\n", id="HTTP/2"),
        pytest.param(HEAD.replace(b" HTTP/1.1", b"") + b"{ }\n", id="no version"),
        pytest.param(HEAD.replace(b"Host: ", b"Host:   ") + b"{ }\n", id="more blanks"),
    ],
)
def test_the_forms_of_inspectors_are_the_same_request(data: bytes) -> None:
    request = read_request(data)
    assert (request.path, request.query, request.body) == ("/hooks/calls", "a=1", b"{ }\n")
    assert request.headers["host"] == "example"
    assert request.content_length == 4


@pytest.mark.parametrize("added", [b"\n", b"\r\n", b"\n\n"])
def test_a_line_end_that_an_editor_added_is_left_out_and_said(added: bytes) -> None:
    request = read_request(HEAD + b"{  }" + added)
    assert request.body == b"{  }"
    assert request.notes == ("the line end after it in the file is left out",)


def test_more_than_a_line_end_after_the_body_is_kept_for_the_check_of_its_length() -> None:
    assert read_request(HEAD + b"{  }{}").body == b"{  }{}"


@pytest.mark.parametrize(
    "body",
    [b"3\r\n{ }\r\n1\r\n\n\r\n0\r\n\r\n", b"4;x=y\r\n{ }\n\r\n0\r\n\r\n", b"{ }\n"],
    ids=["two", "one", "joined"],
)
def test_chunks_are_joined_where_the_file_still_has_them(body: bytes) -> None:
    head = HEAD.replace(b"Content-Length: 4", b"Transfer-Encoding: chunked")
    assert read_request(head + body).body == b"{ }\n"


@pytest.mark.parametrize("data", [b"", b"{}", b"\x16\x03\x01", b"HTTP/1.1 200 OK\r\n\r\n", b"POST\r\n\r\n"])
def test_what_is_no_request_is_said_without_quoting_it(data: bytes) -> None:
    with pytest.raises(NotARequest, match="first line is not one such as POST"):
        read_request(data)


def test_a_url_that_cannot_be_read_is_said_without_quoting_it() -> None:
    with pytest.raises(NotARequest, match="the URL in its first line cannot be read"):
        read_request(b"POST http://[secret HTTP/1.1\r\n\r\n")


@pytest.mark.parametrize(
    ("digits", "size"), [("9" * 5000, 10**18 - 1), ("0" * 5000 + "3", 3), ("\u0663", None), ("-1", None)]
)
def test_a_length_of_any_form_is_a_number_or_none(digits: str, size: int | None) -> None:
    found = read_request(f"POST /hooks/calls HTTP/1.1\nContent-Length: {digits}\n\nabc".encode())
    assert (found.content_length, found.body) == (size, b"abc")


def test_blanks_within_a_header_take_no_time_to_speak_of() -> None:
    """With a search for their end at each of them, this would take hours."""
    blanks = " \t" * 500_000
    found = read_request(f"POST /hooks/calls HTTP/1.1\nX:{blanks}a{blanks}b{blanks}\n\n".encode())
    assert found.headers["X"] == f"a{blanks}b"


def test_a_line_that_is_no_header_is_named_by_its_number() -> None:
    with pytest.raises(NotARequest, match="its line 3 is no header") as fault:
        read_request(b"POST /hooks/calls HTTP/1.1\nHost: example\n{secret}\n\n")
    assert "secret" not in str(fault.value)


@given(st.binary() | st.binary().map(lambda data: HEAD + data) | st.binary().map(lambda data: HEAD[:40] + data))
def test_any_bytes_are_a_request_or_are_said_to_be_none(data: bytes) -> None:
    with suppress(NotARequest):
        read_request(data)
