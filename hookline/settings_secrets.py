"""The secrets of sources, and the operator's token: which ones stop the start, and what about them is warned of."""

import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from hookline.schemas.errors import SettingsError
from hookline.schemas.networks import Network, names_everybody
from hookline.schemas.provider import AnySource, Key, Provider

_PLACEHOLDERS = frozenset(
    {
        "changeit",
        "changethis",
        "dummy",
        "example",
        "fixme",
        "insertsecrethere",
        "mysecret",
        "none",
        "null",
        "password",
        "placeholder",
        "replaceme",
        "replacethis",
        "secret",
        "secretgoeshere",
        "secrethere",
        "tbd",
        "test",
        "todo",
        "undefined",
        "yoursecret",
        "yoursecrethere",
    }
)
"""Texts that stand for a secret, in lower case and without anything but letters and digits."""

_TEMPLATE = re.compile(r"<.*>|\[.*\]|\{.*\}|%\w+%|\$\w+|.*(\$\{|\{\{|\$\().*", re.DOTALL)
"""The marks of values to fill in: `<secret>`, `{{ secret }}`, `%SECRET%`, `$SECRET`, and what is left of `${…}`."""

_SECRET_FOLDERS = ("/run/secrets/", "/var/run/secrets/")

_QUOTES = frozenset({'""', "''", "``", "\u201c\u201d", "\u2018\u2019"})

# Letters that are shown as nothing: fillers for Korean, and the empty cell of Braille.
_BLANK_LETTERS = frozenset("\u115f\u1160\u2800\u3164\uffa0")


def make_key(key: str, provider: Provider[Any], secret: str) -> Key:
    """The provider's key from a secret. Raises SettingsError, whose text begins with the key and shows no secret."""
    fault = _fault(secret, "one", "anyone could sign with that")
    if fault is not None:
        raise SettingsError(f"{key}.secrets: {fault}")
    try:
        made = provider.key(secret)
    except ValueError:  # its text may quote the secret
        raise SettingsError(f"{key}.secrets: one does not have the form of this provider's secrets") from None
    if not made:
        raise SettingsError(f"{key}.secrets: one is empty, and anyone could sign with that")
    return made


def token_fault(token: str) -> str | None:
    """Why nothing may start with this token of the operator's port, or None."""
    fault = _fault(token, "it", "anyone could show that")
    if fault is None and token != token.strip():
        return "it begins or ends with a blank, which no header keeps"
    return fault


def _fault(secret: str, subject: str, danger: str) -> str | None:
    """Why nothing may start with this secret, or None. `danger` is what an empty one would lead to."""
    if not secret.strip():
        return f"{subject} is empty, and {danger}"
    if not any(_is_visible(character) for character in secret):
        return f"{subject} consists of invisible characters, and {danger}"
    if "\n" in secret or "\r" in secret:
        return f"{subject} has a line end in it; each secret is a line, a file or an entry of its own"
    if _is_placeholder(secret.strip()):
        return f"{subject} is still a placeholder"
    if _is_file_name(secret):
        example = "file:/run/secrets/name"
        return f"{subject} is the name of a file, and not what is in it: begin it with file:, as in {example}"
    return None


def _is_file_name(secret: str) -> bool:
    """Whether `file:` was forgotten. The beginning of a path alone may be one of base64."""
    return secret.startswith(_SECRET_FOLDERS) or (secret.startswith(("/", "./", "../")) and os.path.isfile(secret))  # noqa: PTH113  Path.is_file raises for a long secret


def _is_visible(character: str) -> bool:
    """Whether a character shows: not a blank, a control, a mark without a letter, or of no width."""
    return unicodedata.category(character)[0] in "LNPS" and character not in _BLANK_LETTERS


def _is_placeholder(secret: str) -> bool:
    bare = "".join(character for character in secret.lower() if character.isalnum())
    return (
        len(set(secret)) == 1  # one character, again and again
        or not bare  # dots or dashes
        or bare in _PLACEHOLDERS
        or bare.startswith("changeme")
        or _TEMPLATE.fullmatch(secret) is not None
    )


def warnings_of(key: str, provider: Provider[Any], secrets: Sequence[str]) -> Iterator[str]:
    """What a reader should know of secrets that are accepted."""
    if any(len(secret.encode()) < provider.min_secret_bytes for secret in secrets):
        yield (
            f"{key}.secrets: one is shorter than {provider.min_secret_bytes} bytes, "
            "so it could be guessed from one signed request"
        )
    if any(_is_padded(secret) for secret in secrets):
        yield f"{key}.secrets: one begins or ends with a blank, or has an invisible character, which is part of it"
    if any(_is_quoted(secret) for secret in secrets):
        yield f"{key}.secrets: one stands in quotes, which are part of it; `docker --env-file`, for one, keeps them"


def _is_quoted(secret: str) -> bool:
    return len(secret) > 1 and secret[0] + secret[-1] in _QUOTES


def _is_padded(secret: str) -> bool:
    return secret != secret.strip() or any(not _is_visible(each) and each != " " for each in secret)


def warnings_of_all(
    sources: Mapping[str, AnySource], trusted_proxies: Sequence[Network], ttl_s: float
) -> Iterator[str]:
    """What a reader should know of the sources together, of the addresses that they trust, and of their re-sends.

    Raises SettingsError for addresses that let everybody send unsigned callbacks.
    """
    open_proxies = names_everybody(trusted_proxies)
    if open_proxies:
        yield "ingress.trusted_proxies: they name everybody, so any client can claim any address"
    for source in sources.values():
        key = f"sources.{source.name}.allow_from"
        if open_proxies and source.allow_from and not source.keys:
            raise SettingsError(
                f"{key}: ingress.trusted_proxies names everybody, so anyone could claim these addresses, and this "
                "source has no other proof"
            )
        if names_everybody(source.allow_from):
            yield f"{key}: it names everybody, so it keeps nobody out"
        if source.provider.resends_for_s > ttl_s:
            yield (
                f"store.ttl_s: {ttl_s:,.0f} s is shorter than {source.provider.title} may send an event again "
                f"({source.provider.resends_for_s:,.0f} s), so a late repeat for {source.name} would be handled twice"
            )
    yield from _shared_secrets(sources.values())


def _shared_secrets(sources: Iterable[AnySource]) -> Iterator[str]:
    users: dict[bytes, list[str]] = {}
    for source in sources:
        for key in set(source.keys):
            users.setdefault(key, []).append(source.name)
    for names in users.values():
        if len(names) > 1:
            yield (
                f"sources.{names[-1]}.secrets: one is also a secret of {', '.join(names[:-1])}: "
                "who can sign for one source can sign for the other"
            )
