"""Everything that Hookline itself raises.

HooklineError
├── Refused                 the door says no to one request
│   ├── MalformedRequest        not a request we can read at all
│   ├── UnknownSource           no source of that name
│   ├── MethodNotAllowed        the path is right, the method is not
│   ├── LengthRequired          a body without a declared length
│   ├── SlowRequest             the body did not arrive in time
│   ├── BodyTooLarge            more bytes than the source allows
│   ├── UnsupportedEncoding     compressed, or not JSON in UTF-8
│   ├── ExpectationFailed       an Expect header that nobody can meet
│   ├── Unverified              not proven genuine
│   │   ├── MissingSignature
│   │   ├── BadSignature
│   │   └── StaleTimestamp
│   ├── TooManyRequests         a flood of unverified requests
│   └── NotDurable              genuine, but not safe on disk: our fault
├── Unreadable              a genuine callback whose content cannot be read
├── SettingsError           the settings do not allow a start
├── NotStarted              what a worker needs could not be opened
└── Unreachable             the broker or the store did not answer in time

`reason` is stable: it is the code in answers, and the label in logs and metrics. No message holds a payload, a header
or a secret.
"""

from typing import ClassVar


class HooklineError(Exception):
    """Something that Hookline noticed, with a stable `reason`."""

    reason: ClassVar[str] = "error"


class Refused(HooklineError):
    """One request is not accepted. The text is public: it must not help a forger."""


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
    """Not proven to come from the provider; never reaches a queue."""


class MissingSignature(Unverified):
    reason = "missing_signature"


class BadSignature(Unverified):
    reason = "bad_signature"


class StaleTimestamp(Unverified):
    reason = "stale_timestamp"


class TooManyRequests(Refused):
    reason = "too_many_requests"


class NotDurable(Refused):
    """The event is not known to be safe. It may or may not have reached a queue: the provider should send it again."""

    reason = "not_durable"


class Unreadable(HooklineError):
    """A genuine callback, or a message on a queue, that cannot be decoded. The text does not quote it."""

    reason = "unreadable"


class SettingsError(HooklineError):
    """One sentence that names the key, for the person who edits the file."""

    reason = "settings"


class NotStarted(HooklineError):
    """A worker's own code failed at its start: its state, or a middleware."""

    reason = "not_started"


class Unreachable(HooklineError):
    """The broker or the store cannot be used now."""

    reason = "unreachable"
