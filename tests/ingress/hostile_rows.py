"""The table of hostile inputs: each row's cases, or the tests that show it where no single request can.

The numbers are those of the list of hostile inputs that the ingress was built against.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tests.ingress import hostile_cases as more
from tests.ingress.hostile_cases import Case, harmless, kept, refused
from tests.ingress.sources import SOURCES


@dataclass(frozen=True)
class Row:
    """`tests` are further tests, `path::name` below tests/. `why` says why there is no case, or what differs."""

    number: int
    title: str
    cases: Sequence[Case] = ()
    tests: Sequence[str] = ()
    why: str = ""

    def __str__(self) -> str:
        return f"{self.number} {self.title}"


CONNECTIONS, BOUNDS, FAULTS = "ingress/test_connections.py", "ingress/test_bounds.py", "ingress/test_faults.py"
BYTES, RECIPES, ACCEPTED = "test_hostile_bytes.py", "test_recipes.py", "ingress/test_accepted.py"
TOKENS = (
    f"{RECIPES}::test_a_token_that_is_not_exactly_right_is_refused",
    f"{RECIPES}::test_every_changed_character_of_a_token_is_refused",
)
WORKERS_PARK = "test_workers.py::test_a_genuine_callback_with_an_unreadable_body_is_parked"
UNREADABLE = f"{BYTES}::test_a_hostile_body_is_kept_as_unreadable_or_unknown"
FIELDS = f"{BYTES}::test_a_field_of_another_type_raises_only_our_errors"
TWO_BODIES = "test_workers.py::test_of_two_bodies_with_one_id_the_first_is_handled_and_the_second_is_a_repeat"
REPEATED = "test_workers.py::test_a_repeat_is_not_handled_again"

FRAMING = [
    Row(1, "no Host", refused("no Host")),
    Row(2, "two Hosts", refused("two Hosts", "two equal Hosts")),
    Row(3, "two equal lengths", refused("two equal lengths")),
    Row(4, "two different lengths", [*refused("two different lengths"), *more.SMUGGLED[3:4]]),
    Row(5, "a length that is no number", refused("a length of b…")),
    Row(6, "a length of 20 digits", refused("a length of 20 digits", "a length of 2^64 - 1", "a length of 2^64")),
    Row(7, "a length above the limit and no body", refused("a length above the limit, and no body")),
    Row(8, "a length greater than the body's", refused("a length greater than the body's")),
    Row(9, "half a body and a half-closed connection", more.PARTIAL),
    Row(10, "a length smaller than the body's", refused("a length smaller than the body's")),
    Row(11, "a body without length", refused("no length", "a body without a length")),
    Row(12, "a length and chunks", [*refused("a length, then chunks", "chunks, then a length"), more.SMUGGLED[4]]),
    Row(13, "a malformed transfer encoding", refused("the header b'Transfer-Encoding…", "the header b'Transfer…")),
    Row(14, "gzip as transfer encoding", refused("gzip and chunks", "gzip as transfer encoding")),
    Row(15, "chunks in HTTP/1.0", refused("chunks in HTTP/1.0")),
    Row(16, "a chunk size that is no number", refused("a chunk size of…")),
    Row(17, "bare LF in chunks", refused("a bare LF…", "no line end after a chunk")),
    Row(
        18,
        "a chunk extension of 10 kB",
        harmless("a chunk extension of 10 kB"),
        why="the parser skips it without keeping it, and the body's time-out bounds it",
    ),
    Row(19, "the signature in a trailer", refused("the signature in a trailer", "a malformed trailer")),
    Row(20, "chunks above the limit", refused("chunks above the limit", "one chunk above the limit")),
    Row(21, "60,000 chunks", [more.MANY_CHUNKS], [f"{BOUNDS}::test_tiny_chunks_do_not_hold_up_other_requests"]),
    Row(22, "chunks without an end", refused("chunks without an end")),
    Row(23, "a folded header", refused("a folded header", "a folded first header")),
    Row(24, "NUL, CR or LF in a header", refused("b'\\x00' in a header", "b'\\r' in a header", "b'\\n' in a header")),
    Row(25, "a header without colon", refused("a header without…", "a space in a header's name", "a space after…")),
    Row(26, "bytes beyond ASCII in a signature", refused("bytes beyond ASCII…", "full-width digits…")),
    Row(27, "a header above 8 kB", refused("a header above 8 kB", "a header's name above 8 kB")),
    Row(28, "too many headers", refused("140 headers", "20,000 headers")),
    Row(29, "a target above 8 kB", refused("a target above 8 kB")),
]

TARGETS = [
    Row(30, "a target that names a host", refused("the target b'http…")),
    Row(31, "a target that a lenient server would normalise", refused("the target b'//…", "the target b'/…")),
    Row(32, "control characters and bad escapes in the target", refused("the target b'/hooks/krtc-main%…", "b'…")),
    Row(33, "another method", [*refused("the method GET", "the method PUT", "the method DELETE"), *more.OTHER_METHODS]),
    Row(34, "a method in lower case", refused("the method post", "the method Post")),
    Row(35, "HTTP/0.9", refused("HTTP/0.9…", "GET in HTTP/0.9")),
    Row(36, "another version of HTTP", refused("the preface of HTTP/2", "the version…")),
    Row(37, "bytes that are not HTTP", refused("a TLS hello", "random bytes", "a meaningless line")),
    Row(38, "CONNECT, TRACE and OPTIONS *", refused("CONNECT to a host", "OPTIONS *", "the method TRACE")),
    Row(39, "100-continue with a bad head", more.BAD_HEADS_THAT_EXPECT),
    Row(40, "an unknown expectation", refused("an unknown expectation", "a known expectation and an unknown one")),
    Row(41, "an upgrade", more.UPGRADES),
    Row(42, "pipelined requests", more.PIPELINED),
    Row(43, "a request hidden behind an empty body", more.SMUGGLED[:3]),
]

SLOW = [
    Row(44, "a slow head", tests=[f"{CONNECTIONS}::test_a_head_that_trickles_in_is_cut_off_in_time"]),
    Row(45, "a slow body", tests=[f"{CONNECTIONS}::test_a_body_that_trickles_in_is_cut_off_in_time"]),
    Row(
        46,
        "a crowd of idle connections",
        tests=[
            f"{BOUNDS}::test_a_new_connection_closes_the_oldest_that_has_sent_nothing",
            "floods/test_floods.py::test_memory_is_bounded_in_a_flood_and_genuine_callbacks_are_accepted",
        ],
    ),
    Row(47, "a client that never reads", tests=[f"{CONNECTIONS}::test_a_client_that_never_reads_is_cut_off"]),
]

CODINGS = [
    Row(48, "a gzip body", refused("a gzip body", "a deflate body")),
    Row(49, "a gzip bomb", refused("a gzip bomb")),
    Row(50, "broken gzip", refused("broken gzip")),
    Row(51, "gzip without checksum", refused("gzip without checksum")),
    Row(52, "other codings", refused("gzip applied twice", "gzip in a second header", "the content encoding…")),
    Row(53, "thousands of empty gzip members", refused("thousands of empty gzip members")),
    Row(54, "another content type", refused("the content type…", "two content types")),
]

SIGNATURES = [
    Row(55, "no signature", refused("no signature")),
    Row(56, "an empty signature", refused("an empty signature", "a blank signature")),
    Row(57, "two signatures", refused("the signature twice…", "a good signature and…", "a bad signature and…")),
    Row(58, "an underscore in the header's name", refused("an underscore in the header's name")),
    Row(59, "a malformed signature", refused("a signature cut short", "a signature of…", "a signature that is…")),
    Row(60, "base64 with junk", refused("junk after base64", "junk in base64", "base64 without padding")),
    Row(61, "hexadecimal digits in upper case", harmless("a signature in upper case")),
    Row(
        62,
        "an empty secret",
        refused("a signature made with an empty secret"),
        ["test_settings_secrets.py::test_a_blank_secret_stops_the_start"],
    ),
    Row(63, "the secret before this one", more.OLD_SECRETS),
    Row(64, "the secret of another", [case for name in SOURCES for case in refused(f"{name}, signed with…")]),
    Row(
        65, "only a weaker signature", refused("a callback of…"), why="each provider has one scheme, and reads no other"
    ),
    Row(66, "a token of another algorithm", tests=TOKENS),
    Row(67, "a token without the body's hash", tests=TOKENS),
    Row(68, "a token that is not valid now", tests=TOKENS),
    Row(69, "an unknown version of the scheme", refused("a signature with the name of its algorithm"), TOKENS),
    Row(70, "1,000 signatures", refused("1,000 signatures", "50 signature headers")),
    Row(71, "a changed body", refused("one byte of the body changed", "the body with…", "a blank after the body")),
    Row(72, "the headers of another callback", [*refused("the body of another callback"), *more.OTHER_HEADERS]),
    Row(73, "bytes moved between signed fields", refused("a digit moved from the time to the key")),
    Row(74, "a signature over a lengthened time", refused("calls, sent at…", "meetings, sent at…")),
    Row(75, "a time that is none", refused("classroom, sent at…")),
    Row(76, "an unsigned request to deactivate", refused("an unsigned request to deactivate")),
    Row(
        77,
        "a wrong token in the path",
        refused("the target b'/hooks/zebra'"),
        why="paths hold no token: a source's name is no secret",
    ),
    Row(78, "a forged address", more.ADDRESSES, ["ingress/test_proxy_protocol.py::test_no_other_client_may_send_one"]),
    Row(79, "headers named like the broker's", harmless("headers with the names of AMQP headers")),
    Row(80, "a time that is too old", refused("calls, sent 301 s ago", "classroom, sent 301 s ago")),
    Row(81, "a time in the future", refused("calls, sent 301 s in the future", "meetings, sent 301 s in the future")),
    Row(82, "an exact replay", more.REPLAYS, [REPEATED]),
    Row(
        83,
        "a flood of forgeries",
        tests=[
            f"{FAULTS}::test_a_flood_of_forgeries_is_answered_429_and_genuine_callbacks_are_accepted",
            f"{FAULTS}::test_a_flood_is_logged_once",
        ],
    ),
]

CONTENT = [
    Row(84, "an empty body", kept("empty", "spaces"), [UNREADABLE, WORKERS_PARK]),
    Row(85, "no JSON", kept("no json", "cut short", "two documents", "trailing comma", "comment"), [UNREADABLE]),
    Row(86, "a byte order mark, UTF-16", kept("byte order mark", "utf-16"), [UNREADABLE]),
    Row(87, "invalid UTF-8", kept("invalid utf-8", "overlong utf-8", "utf-8 surrogate", "escaped surrogate")),
    Row(88, "NaN and infinities", kept("NaN", "Infinity", "1e400"), [UNREADABLE]),
    Row(89, "huge integers", kept("5,000 digits"), [UNREADABLE, FIELDS]),
    Row(90, "numbers in other forms", kept("numbers in each form", "leading zero"), [FIELDS]),
    Row(91, "deep nesting", kept("deep array", "closed and deep"), [UNREADABLE]),
    Row(92, "200,000 keys", tests=[UNREADABLE], why="1.9 MB, which the limit of a body refuses"),
    Row(93, "a key named twice", kept("same key", "same key, escaped", "same key, deep"), [UNREADABLE]),
    Row(94, "a NUL in an id", kept("a NUL in an id"), [f"{BYTES}::test_an_identifier_with_a_nul_is_unreadable"]),
    Row(95, "a huge id", kept("an id of 200 kB"), [FIELDS]),
    Row(96, "control characters in texts", kept("line ends, ANSI codes and bidi marks")),
    Row(97, "another kind of JSON", kept("null", "array", "text", "number"), [UNREADABLE]),
    Row(98, "a missing field", kept("no required field"), [f"{BYTES}::test_a_missing_field_raises_only_our_errors"]),
    Row(99, "an unknown type", kept("an unknown type")),
    Row(100, "fields that name Python's", kept("fields that name Python's")),
    Row(101, "no event id", kept("an unknown type"), why="ids are made from the facts of the event, or from its body"),
    Row(
        102,
        "one id with two bodies",
        tests=[TWO_BODIES],
        why="the first is handled and the second is a repeat, since providers send some fields anew with each attempt; "
        "only the provider can make two, where the signature covers the body, and where not, `signature_memory` counts",
    ),
    Row(
        103,
        "an impossible time of the event",
        kept("times of 1970, 9999 and in another unit"),
        ["test_envelope.py::test_an_event_of_a_time_that_cannot_be_occurs_at_its_receipt"],
    ),
    Row(104, "URLs that nobody may fetch", kept("URLs of link-local hosts and files"), why="nothing fetches a URL"),
    Row(105, "texts that a template would expand", kept("texts that a template would expand"), [FIELDS]),
    Row(106, "a type with wildcards", kept("a type with wildcards"), [FIELDS]),
]

ROWS = [*FRAMING, *TARGETS, *SLOW, *CODINGS, *SIGNATURES, *CONTENT]
