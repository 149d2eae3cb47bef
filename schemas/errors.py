"""The errors that Hookline raises.

HooklineError
├── Refused                 the ingress refuses one request
│   ├── MalformedRequest        not valid HTTP, or not as we accept it
│   ├── UnknownSource           no source has this path
│   ├── MethodNotAllowed        a method other than POST
│   ├── LengthRequired          a body without a declared length
│   ├── SlowRequest             the body did not arrive in time
│   ├── BodyTooLarge            more bytes than the source allows
│   ├── UnsupportedEncoding     compressed, or not JSON in UTF-8
│   ├── ExpectationFailed       an Expect header other than 100-continue
│   ├── Unverified              not proven genuine
│   │   ├── MissingSignature        a header or field that the signature needs is missing
│   │   ├── BadSignature            the signature is wrong
│   │   ├── RefusedAddress          from an address that the source does not allow
│   │   └── StaleTimestamp          the signed time is too old, or in the future
│   ├── TooManyRequests         a flood of unverified requests
│   ├── Overloaded              no room for the request now: our fault
│   └── NotDurable              genuine, but not known to be stored: our fault
├── Unreadable              a genuine callback whose content cannot be read
├── SettingsError           the settings are wrong
│   └── UnknownQueue            no queue has this name
├── NotStarted              the worker's own code failed at start
└── Unreachable             the broker or the store cannot be used now
    └── Locked                  another process has locked the SQLite file for long

`reason` is stable: it is the code in responses, and the label in logs and metrics. No message contains a payload, a
header or a secret.
"""

from collections.abc import Iterator
from enum import Enum
from typing import ClassVar


class HooklineError(Exception):
    """The base of all our errors, with a stable `reason`."""

    reason: ClassVar[str] = "error"


class Refused(HooklineError):
    """One request is refused. The text is public: it must not help a forger.

    `for_operator` is what the log and the audit say: which step failed, and by how much. It quotes nothing from the
    request, except times and addresses. They have `noted_as` instead of `reason` where that would hide something.
    `body` is what was read of the request, where that is known.
    """

    noted_as: ClassVar[str] = ""

    def __init__(self, text: str = "", *, for_operator: str = "", body: bytes | None = None) -> None:
        super().__init__(text)
        self.for_operator = for_operator or text
        self.body = body

    @property
    def reason_for_operator(self) -> str:
        """The reason in the log, the metric and the audit."""
        return self.noted_as or self.reason


class MalformedRequest(Refused):
    reason = "malformed_request"


class UnknownSource(Refused):
    reason = "unknown_source"


class MethodNotAllowed(Refused):
    reason = "method_not_allowed"


class LengthRequired(Refused):
    reason = "length_required"


class SlowRequest(Refused):
    reason = "slow_request"


class BodyTooLarge(Refused):
    reason = "body_too_large"


class UnsupportedEncoding(Refused):
    reason = "unsupported_encoding"


class ExpectationFailed(Refused):
    reason = "expectation_failed"


class Unverified(Refused):
    """The request is not proven to come from the provider. It never reaches a queue."""


class MissingSignature(Unverified):
    reason = "missing_signature"


class BadSignature(Unverified):
    reason = "bad_signature"


class RefusedAddress(Unverified):
    """The answer is that to a wrong signature. `for_operator` says what is wrong with the address."""

    reason = "bad_signature"
    noted_as = "refused_address"

    def __init__(self, for_operator: str) -> None:
        super().__init__("the signature is wrong", for_operator=for_operator)


class StaleTimestamp(Unverified):
    """The signature fits, and its time does not. `age_s` is how old it was, negative in the future; None if unknown."""

    reason = "stale_timestamp"

    def __init__(self, text: str = "", *, for_operator: str = "", age_s: float | None = None) -> None:
        super().__init__(text, for_operator=for_operator)
        self.age_s = age_s


class TooManyRequests(Refused):
    reason = "too_many_requests"


class Overloaded(Refused):
    """Unanswered requests hold as much memory as they may. The provider should send the callback again."""

    reason = "overloaded"


class Obstacle(Enum):
    """What keeps an event from being durable."""

    AWAY = "away"  # the broker cannot be reached, or answers nothing, or not in time
    REFUSED = "refused"  # the broker has answered, and does not take this event now
    IMPOSSIBLE = "impossible"  # no broker will ever take this event


class NotDurable(Refused):
    """The event is not known to be durable. It may have reached a queue; the provider should send it again."""

    reason = "not_durable"

    def __init__(self, message: str, obstacle: Obstacle = Obstacle.AWAY) -> None:
        super().__init__(message)
        self.obstacle = obstacle


def reasons_of_refusals() -> tuple[str, ...]:
    """Why a request may be refused, as the log and the audit say it."""
    return tuple(sorted({each.noted_as or each.reason for each in _kinds_of(Refused)}))


def _kinds_of(kind: type[Refused]) -> Iterator[type[Refused]]:
    for each in kind.__subclasses__():
        yield from _kinds_of(each)
        if "reason" in vars(each):
            yield each


class Unreadable(HooklineError):
    """A genuine callback, or a message on a queue, cannot be decoded. The text does not quote it."""

    reason = "unreadable"


class SettingsError(HooklineError):
    """One sentence that names the key, for the person who edits the file."""

    reason = "settings"


class UnknownQueue(SettingsError):
    """No worker's queue has this name."""

    def __init__(self, queue: str) -> None:
        super().__init__(f"there is no queue {queue!r}: start its worker once, so that it is declared")
        self.queue = queue


class NotStarted(HooklineError):
    """A worker's own code failed at its start: its state, or a middleware."""

    reason = "not_started"


class Unreachable(HooklineError):
    """The broker or the store cannot be used now."""

    reason = "unreachable"


class Locked(Unreachable):
    """Another process has locked the SQLite file for long. It ends by itself, as an upgrade of a large file does."""

    reason = "locked"
