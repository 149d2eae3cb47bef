"""JSON as RFC 8259 allows it, as it forbids it, and where it leaves the choice to the parser.

The families are those of the public suites of JSON parsers. Each name says what is special about the text.
"""

from collections.abc import Mapping

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_ALLOWED_NUMBERS = (
    *(b"0", b"-0", b"1", b"-1", b"10", b"1234567890", b"0.0", b"-0.0", b"0.5", b"1.50", b"0e0", b"0e+1", b"0E-1"),
    *(b"1e5", b"1E5", b"1e+5", b"1E-5", b"1.5e3", b"-1.5E-3", b"123e65", b"20e1", b"1e00005", b"0." + b"0" * 77 + b"1"),
    *(b"5e-324", b"1.7976931348623157e308", b"9007199254740993", b"9223372036854775807", b"18446744073709551616"),
    *(b"-9223372036854775809", b"1" * 40, b"0.1" + b"0" * 300, b"3.14159265358979323846264338327950288"),
)
_ALLOWED_TEXTS = (
    *(b'""', b'" "', b'"a"', rb'"\"\\\/\b\f\n\r\t"', rb'"\u0041"', rb'"\u00e9"', rb'"\u00E9"', rb'"\\u0000"', rb'"\\"'),
    *(rb'"\ud83d\ude00"', rb'"\uD834\uDD1E"', rb'"\uffff"', rb'"\u2028"', rb'"\u200b\ufeff"', b'"\x7f"', rb'"\u001f"'),
    *('"é"'.encode(), '"€"'.encode(), '"\U0001f600"'.encode(), '"\U0010ffff"'.encode(), '"\u2028\ufeff"'.encode()),
    *(b'"/* no comment */"', b'"%00"', b'"{}[],:"', b'"\'"', rb'"\u0022"', b'"' + b"a" * 5000 + b'"'),
)
_ALLOWED_STRUCTURES = (
    *(b"true", b"false", b"null", b"[]", b"{}", b"[[]]", b"[null]", b"[{}]", b"[1,2]", b'["a",1,null,true,{}]'),
    *(b'{"":0}', b'{"a":{}}', b'{"a":{"a":{"a":[]}}}', rb'{"\u0061":1,"b":2}', rb'{"\"":1}', b"[\t1\r,\n2 ]", b"{ }"),
    *(b'{"a" :\t1 ,\r\n"b": 2}', b'[{"a":1},{"a":1}]', b"[" * 60 + b"]" * 60, b'{"a":' * 60 + b"1" + b"}" * 60),
    *(b"[" + b"0," * 500 + b"0]", b"{" + b",".join(b'"%d":0' % key for key in range(500)) + b"}"),
)
ALLOWED = (*_ALLOWED_NUMBERS, *_ALLOWED_TEXTS, *_ALLOWED_STRUCTURES)
"""Values that every parser reads."""

_FORBIDDEN_NUMBERS = (
    *b"01 -01 00 +1 .5 -.5 1. -1. 0.e1 1.e5 0e 0e+ 1e 1E- 1eE5 1e1.5 0.1.2 1..2 --1 ++1 - 1_000 1'000 0x1 0x".split(),
    *b"0b1 0o7 1f 1L 1n 1a NaN nan -NaN Infinity -Infinity +Infinity inf -inf 1+1 -true e5".split(),
    *(b"- 1", b"1 000", b"1 2", b"1e 5"),
    *("\N{FULLWIDTH DIGIT ONE} \N{ARABIC-INDIC DIGIT THREE} \N{VULGAR FRACTION ONE HALF} 1e\N{FULLWIDTH DIGIT ONE}")
    .encode()
    .split(),
)
_FORBIDDEN_TEXTS = (
    *b'\'a\' a `a` " "a \'a" "a""b" "a"+"b" ""a &quot;a"'.split(),
    *rb'"\" "\a" "\x41" "\u" "\u00" "\u00g0" "\U00000041" "\u+041" "\0" "\101"'.split(),
    *(rb'"\u 041"', rb'"\'"', rb'"\ "', b'"\\\n"', b'"\\\xc3\xa9"', b'"a" "b"', "“a”".encode()),
    *(b'"\x00"', b'"\x01"', b'"\t"', b'"\n"', b'"\r"', b'"\x1f"'),
    *(b'"\xff"', b'"\x80"', b'"\xc3"', b'"\xc0\xaf"', b'"\xe0\x80\xaf"', b'"\xed\xa0\x80"', b'"\xf4\x90\x80\x80"'),
    *(b'"\xf8\x88\x80\x80\x80"', b'"\xe2\x82"', b'"\xf0\x9f\x98"'),
)
_FORBIDDEN_STRUCTURES = (
    *b"True TRUE tru truee nul nulll None undefined fals [ ] [1,] [,1] [,] [1,,2] [1:2] [1;2] [1 [1}".split(),
    *b'["a" [*] [...] [-] [a] <1> ["a":1] { {,} {"a"} {"a":} {"a"=1} {"a"::1} {"a":1,} {"a":1,,"b":2} {"a":1'.split(),
    *b'{"a":1;"b":2} {"a":1] {"a":1}} {a:1} {\'a\':1} {1:1} {null:1} {[]:1} {"a":1,"b"} {"a":1,b:2}'.split(),
    *b'{:"a"} {"a",1} {"a":a} {"a":1}x {"a":1}{} {"a":1/*b*/} {"a":(1)}'.split(),
    *(
        b"",
        b" ",
        b"[[]",
        b"[]]",
        b"(1)",
        b"true false",
        b"[1 2]",
        b"[1,\n",
        b"[1 /* b */]",
        b"[1] // b",
        b"[1 # b\n]",
        b'{"a" 1}',
    ),
    *(b'{"a":1 "b":2}', b"[\x0b1]", b"[\x0c1]", b"[\xc2\xa01]", b"[\xe2\x81\xa01]", b"[\x001]"),
    *(b"[" * 100_000, b'{"a":' * 100_000),
)
_REFUSED = (b'{"a":1,"a":2}', b'{"a":1,"a":1}', rb'{"a":1,"\u0061":2}', rb'"\u0000"', rb'{"\u0000":1}', rb'"\\\u0000"')
FORBIDDEN = (*_FORBIDDEN_NUMBERS, *_FORBIDDEN_TEXTS, *_FORBIDDEN_STRUCTURES, *_REFUSED)
"""Texts that are no values, and values with a key twice or a NUL, which Hookline does not read."""

OPEN = (
    *(b"1e400", b"-1e400", b"1e-400", b"123123e100000", b"1e99999999999999999999", b"-1e-99999999999999999999"),
    *(b"1" * 400, b"-" + b"1" * 400, b"1" * 5000, b"0." + b"1" * 5000, b"1" * 5000 + b".0", b"1e" + b"0" * 5000 + b"1"),
    *(rb'"\ud800"', rb'"\udc00"', rb'"\ud800\u0041"', rb'"\ud800a"', rb'"\ude00\ud83d"', rb'"\ud83d\ud83d\ude00"'),
    *(rb'"\ud800\n"', rb'"\uD800\uD800"', rb'"\ud83d\ude0"', b'{"\\ud800":1}', b"[" * 500 + b"]" * 500),
    *(b'{"a":' * 500 + b"1" + b"}" * 500, b"[" * 900 + b"]" * 900, b"[" * 50_000 + b"]" * 50_000),
)
"""What a parser may read or not."""

WHOLE: Mapping[str, bytes] = {
    "nothing": b"",
    "blanks": b" \t\r\n",
    "a byte order mark": BYTE_ORDER_MARK,
    "a byte order mark and an object": BYTE_ORDER_MARK + b'{"a":1}',
    "two byte order marks": BYTE_ORDER_MARK * 2 + b"{}",
    "a byte order mark behind": b"{}" + BYTE_ORDER_MARK,
    "UTF-16": '{"a":"é"}'.encode("utf-16"),
    "UTF-16 without a mark": '{"a":"é"}'.encode("utf-16-be"),
    "UTF-32": '{"a":"é"}'.encode("utf-32"),
    "ISO-8859-1": '{"a":"é"}'.encode("latin-1"),
    "GBK": '{"a":"直播"}'.encode("gbk"),
    "two objects": b"{}{}",
    "two lines": b'{"a":1}\n{"a":2}\n',
    "a NUL behind": b'{"a":1}\x00',
    "a NUL before": b'\x00{"a":1}',
    "a form feed before": b"\x0c{}",
    "a record separator": b'\x1e{"a":1}\n',
    "a prefix against scripts": b")]}',\n{}",
    "a call": b'callback({"a":1})',
    "gzip": bytes.fromhex("1f8b08000000000002ffab564a54b232ac05005d9d2aa807000000"),
    "markup": b"<a>1</a>",
    "a form": b"a=1&b=2",
    "MessagePack": b"\x81\xa1a\x01",
    "one byte": b"\xff",
    "a text": b'"a"',
    "a number": b"1",
    "null": b"null",
    "an array": b"[1]",
    "an object in a text": rb'"{\"a\":1}"',
    **{f"bytes from {start:02x}": bytes(range(start, start + 16)) for start in range(0, 256, 16)},
}
"""Whole bodies that are no event."""
