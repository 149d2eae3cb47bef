"""The sentences for faults that libraries find in the settings file."""

import codecs
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Literal, get_args, get_origin
from urllib.parse import urlsplit

import msgspec

from hookline.aio.name_lookup import is_address, is_nameable

_UNCLOSED = "the text there lacks its closing quote"
_LINE = 'a line is [section], or name = "text", or begins with #'
_ESCAPE = "a backslash begins an escape in a text in \"…\"; in a text in '…' it stands for itself"
_TOML_HINTS = {
    "Illegal character '\\n'": _UNCLOSED,
    "Found invalid character '\\n'": _UNCLOSED,
    "Unterminated string": _UNCLOSED,
    'Expected "\'"': _UNCLOSED,
    "Invalid value": 'a text stands in straight quotes, as in name = "text"; other values are numbers, true and false',
    "Invalid statement": _LINE,
    "Expected '=' after a key": _LINE,
    "Expected newline or end of document": "each setting has a line of its own",
    "Invalid initial character for a key part": "names are of a-z, A-Z, 0-9, _ and -; others stand in quotes",
    "Invalid hex value": _ESCAPE,
    "Unescaped '\\\\' in a string": _ESCAPE,
    "Cannot declare": "this section stands in the file twice",
    "Cannot overwrite a value": "this key stands in its section twice",
}
_TYPES = {
    "str": "text in quotes",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "date": "a date",
    "datetime": "a time",
    "time": "a time",
    "array": 'a list such as ["…"]',
    "object": "a section",
}
_NO_NAME = re.compile(r"[\[\]/:\s]")
_NO_CHOICE = "Invalid enum value "
_BOUNDS = {">=": "at least", "<=": "at most", ">": "more than", "<": "less than"}
_BOUND = re.compile(r" (of length )?(>=|<=|>|<) (\d+(?:\.\d+)?)")
_UNMARKED = re.compile(r"\$([A-Za-z_]\w+)")
_TYPE = re.compile(r"`([a-z]+)((?: \| [a-z]+)*)")


def not_toml(message: str) -> str:
    """A sentence from the message of `tomllib`, which speaks of its grammar."""
    hint = next((f"; {hint}" for start, hint in _TOML_HINTS.items() if message.startswith(start)), "")
    return f"it is not TOML: {message}{hint}"


def not_utf8(content: bytes) -> str:
    """A sentence about a file that is not UTF-8, as TOML is."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "it is UTF-16, and TOML is UTF-8: save it as UTF-8"
    good = content.decode(errors="surrogateescape")
    first = next((number for number, each in enumerate(good) if "\udc80" <= each <= "\udcff"), 0)
    return f"it is not UTF-8, as TOML is (at line {good.count(chr(10), 0, first) + 1}): save it as UTF-8"


def is_web_address(url: str) -> bool:
    """Whether a text is a URL of a server that speaks HTTP."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        return parts.scheme in ("http", "https") and host != "" and is_nameable(host) and parts.port != 0
    except ValueError:
        return False


def host_fault(hosts: Iterable[str]) -> str | None:
    """What is wrong with the names of hosts, which are not repeated: in a broken URL one may be a password."""
    if all(map(is_nameable, hosts)):
        return None
    return "a part of the host's name is empty, or longer than 63 characters"


def own_host_fault(host: str) -> str | None:
    """What is wrong with a host to listen on. To a socket, an empty one stands for all addresses."""
    if not host.strip():
        return "is empty; 0.0.0.0 stands for all addresses of this machine"
    if not is_address(host) and _NO_NAME.search(host):
        return f'expected an address or a name, such as "::1", without scheme, brackets and port, not {host!r}'
    return host_fault([host])


def hosts_of(url: str) -> Iterator[str]:
    """The hosts of a server's URL, which may have several of them."""
    with suppress(ValueError):  # the server's library says what is wrong with it
        for place in urlsplit(url).netloc.rpartition("@")[2].split(","):
            yield urlsplit(f"//{place}").hostname or ""


def path_fault(path: str, scheme: str = "") -> str | None:
    """What is wrong with the path of a file or folder; None if nothing is, or if it is empty."""
    if path.startswith("~"):
        return f"~ does not stand for a folder here; write {scheme}${{HOME}}/…"
    return "has only blanks" if path.isspace() else None


def sqlite_fault(name: str) -> str | None:
    """What is wrong with the name of a file in a URL `sqlite:FILE`; None if nothing is."""
    if fault := path_fault(name, "sqlite:"):
        return f"url: {fault}"
    if not name or name == ":memory:" or (name.startswith("//") and not name.startswith("///")):
        return 'url: expected "sqlite:FILE", a file that outlives the process, such as "sqlite:hookline.db"'
    return None


def unmarked_variables(urls: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """A sentence for each `$NAME` in URLs whose variables are resolved. The value of a variable has no `$` there."""
    for key, texts in urls.items():
        for name in sorted({name for text in texts for name in _UNMARKED.findall(text)}):
            yield f"{key}: ${name} is taken as it stands; write ${{{name}}} for the value of the variable"


def not_convertible(key: str, message: str, kind: type[msgspec.Struct]) -> str:
    """A sentence that begins with the key, from msgspec's message about a table of this kind."""
    missing = re.search(r"missing required field `(\w+)`", message)
    if missing:
        return f"{key}.{missing[1]}: is missing"
    fault, _, place = _TYPE.sub(_in_words, message).replace("`", "").partition(" - at $")
    if fault.startswith(_NO_CHOICE):
        return f"{key}{place}: expected one of {_choices(kind, place)}, got {fault.removeprefix(_NO_CHOICE)}"
    return f"{key}{place}: {fault[0].lower()}{_BOUND.sub(_bound_in_words, fault[1:])}"


def _choices(kind: type[msgspec.Struct], place: str) -> str:
    """The texts that a setting takes, whose place in its table is such as `.log_errors` or `.services[0]`."""
    name = place.removeprefix(".").partition("[")[0]
    (field,) = (each for each in msgspec.structs.fields(kind) if each.encode_name == name)
    return ", ".join(f'"{each}"' for each in _texts(field.type))


def _texts(kind: object) -> list[str]:
    """The texts in a type such as `Literal["a", "b"]` or `tuple[Literal["a", "b"], ...]`."""
    if get_origin(kind) is Literal:
        return [str(each) for each in get_args(kind)]
    return [text for each in get_args(kind) for text in _texts(each)]


def _bound_in_words(match: re.Match[str]) -> str:
    length, sign, number = match.groups()
    return f" {length or 'of '}{_BOUNDS[sign]} {float(number):.12g}"


def _in_words(match: re.Match[str]) -> str:
    names = [name for name in f"{match[1]}{match[2]}".split(" | ") if name != "null"]  # which TOML does not have
    return " or ".join(_TYPES.get(name, name) for name in names)
