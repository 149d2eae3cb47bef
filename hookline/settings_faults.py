"""The sentences for faults that libraries find in the settings file."""

import re

_UNCLOSED = "the text there lacks its closing quote"
_TOML_HINTS = {
    "Illegal character '\\n'": _UNCLOSED,
    "Found invalid character '\\n'": _UNCLOSED,
    "Unterminated string": _UNCLOSED,
    'Expected "\'"': _UNCLOSED,
    "Invalid value": 'a text stands in straight quotes, as in name = "text"; other values are numbers, true and false',
    "Cannot declare": "this section stands in the file twice",
    "Cannot overwrite a value": "this key stands in its section twice",
}
_TYPES = {
    "str": "text in quotes",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": 'a list such as ["…"]',
    "object": "a section",
}
_TYPE = re.compile(r"`([a-z]+)((?: \| [a-z]+)*)")


def not_toml(message: str) -> str:
    """A sentence from the message of `tomllib`, which speaks of its grammar."""
    hint = next((f"; {hint}" for start, hint in _TOML_HINTS.items() if message.startswith(start)), "")
    return f"it is not TOML: {message}{hint}"


def not_convertible(key: str, message: str) -> str:
    """A sentence that begins with the key, from msgspec's message."""
    missing = re.search(r"missing required field `(\w+)`", message)
    if missing:
        return f"{key}.{missing[1]}: is missing"
    fault, _, place = _TYPE.sub(_in_words, message).replace("`", "").partition(" - at $")
    return f"{key}{place}: {fault[0].lower()}{fault[1:]}"


def _in_words(match: re.Match[str]) -> str:
    return " or ".join(_TYPES.get(name, name) for name in f"{match[1]}{match[2]}".split(" | "))
