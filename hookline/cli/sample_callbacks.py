"""Makes sample callbacks, and sends them as a provider would: signed with the secrets of the settings, over HTTP."""

import errno
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from ssl import SSLCertVerificationError, SSLError
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from hookline.schemas.errors import SettingsError
from hookline.schemas.near_names import nearest
from hookline.schemas.provider import AnySource, Provider, Sample, topics_of

if TYPE_CHECKING:
    from aiohttp import ClientSession


_NO_TLS = frozenset(
    {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"}
)  # differs between versions of OpenSSL
_SYSTEM_REASONS = {
    errno.ECONNREFUSED: "connection refused; start `hookline run` or `hookline ingress`, or name its address by --url",
    errno.ECONNRESET: "the connection was reset",
}


@dataclass(frozen=True, slots=True)
class Callback:
    """A callback to send: its name, its body, and the Unix time at which its event occurs."""

    name: str
    body: bytes
    at_s: float


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer of the ingress. `status` is 0 if there was none, and `text` then says why."""

    name: str
    status: int
    text: str
    seconds: float


def choose_samples(source: AnySource, event: str | None) -> Sequence[Sample]:
    """The samples of an event, named by our topic or the provider's own type. All samples if no event is named.

    Raises SettingsError for an event that the provider does not send, and for a provider without samples.
    """
    provider = source.provider
    if not provider.samples:
        raise SettingsError(f"{provider.title} has no samples; send a body of your own with --body FILE")
    if event is None:
        return provider.samples
    chosen = [sample for sample in provider.samples if event in (sample.type, *topics_of(provider, sample.type))]
    if not chosen:
        known = ", ".join(f"{sample.type} ({_topics(provider, sample)})" for sample in provider.samples)
        names = [name for sample in provider.samples for name in (sample.type, *topics_of(provider, sample.type))]
        near = nearest(event, names)
        hint = f"did you mean {near}? It" if near else "it"
        raise SettingsError(f"{provider.title} sends no {event!r}; {hint} sends {known}")
    return chosen


def _topics(provider: Provider[Any], sample: Sample) -> str:
    return " or ".join(topics_of(provider, sample.type))


def callbacks_of(source: AnySource, samples: Sequence[Sample], count: int) -> Iterator[Callback]:
    """`count` callbacks, story after story. Each story has its own rooms and users, and happened just now."""
    now_s = time.time()
    first_story = time.time_ns() // 1000  # unique: no story is sent within a microsecond
    for number in range(count):
        story, step = divmod(number, len(samples))
        sample, at_s = samples[step], now_s - (len(samples) - step)
        body = msgspec.json.encode(sample.body(first_story + story, at_s))
        yield Callback(f"{_topics(source.provider, sample)} ({sample.type})", body, at_s)


def own_body(path: Path) -> Callback:
    """A callback with the body from a file."""
    return Callback(path.name, path.read_bytes(), time.time())


def arrange(sequence: Sequence[Callback], *, duplicate: bool, shuffle: bool) -> list[Callback]:
    """The callbacks in the order of sending: each twice, as a provider does without an answer, or in random order."""
    arranged = [callback for callback in sequence for _ in range(2 if duplicate else 1)]
    if shuffle:
        random.shuffle(arranged)
    return arranged


async def send_callback(session: "ClientSession", url: str, source: AnySource, callback: Callback) -> Answer:
    """Sign a callback and send it. Returns the answer."""
    from aiohttp import ClientError  # noqa: PLC0415  slow to load, and no other command needs it
    from yarl import URL  # noqa: PLC0415  see above

    try:
        signed = source.provider.sign(callback.body, source, callback.at_s)
    except ValueError as error:
        raise SettingsError(f"{callback.name} cannot be signed as {source.provider.title} does: {error}") from None
    target = f"{url}?{signed.query}" if signed.query else url
    headers: dict[str, Any] = {"Content-Type": source.provider.content_type, **signed.headers}
    started = time.monotonic()
    try:
        async with session.post(URL(target, encoded=True), data=signed.body, headers=headers) as response:
            text = await response.text()
            return Answer(callback.name, response.status, text, time.monotonic() - started)
    except (ClientError, TimeoutError, OSError) as error:
        return Answer(callback.name, 0, f"no answer from {_place(url)}: {_reason(error)}", time.monotonic() - started)


def _place(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _reason(error: Exception) -> str:
    """Why there is no answer, in words and not in names of classes."""
    if isinstance(error, TimeoutError):
        return "it took too long"
    cause = getattr(error, "os_error", error)
    if isinstance(cause, SSLCertVerificationError):
        return f"its certificate cannot be verified, {cause.verify_message}; SSL_CERT_FILE names that of its authority"
    if isinstance(cause, SSLError) and cause.reason in _NO_TLS:
        return "it does not speak TLS: begin the URL with http://"
    if isinstance(cause, OSError) and cause.errno is not None:
        return _SYSTEM_REASONS.get(cause.errno) or (cause.strerror or str(cause)).lower()
    return str(error).lower() or "the connection was closed"
