"""What the audit keeps of a refused request: enough to see why and, by default, nothing that could be used again."""

import msgspec

UNKNOWN_PATH = ""
"""The source of a request whose path belongs to none."""


class RefusedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One refused request. `source` is empty for a path that belongs to none.

    What could not be read as a request has no method, and nothing of what follows it.

    `detail` says which step failed, and by how much. `peer` is the address that connected, and `forwarded` what
    proxies said of the client, unchecked. Values of headers and parameters that may hold a secret are hidden.
    `body_bytes` is the size of the body, or the declared one of a body that was not read; `body_sha256` is empty then.
    `hint` is what may be the cause and concerns another source; the log does not have it. `age_s` is how old the time
    stamp was where only that was wrong. `exact` is the whole request with its signature, where the settings keep it.
    """

    at_s: float
    source: str
    reason: str
    detail: str
    status: int
    peer: str
    forwarded: str
    method: str
    path: str
    query: str
    headers: tuple[tuple[str, str], ...]
    body_bytes: int
    body_sha256: str = ""
    body: str | None = None
    hint: str = ""
    age_s: float | None = None
    exact: bytes | None = None

    @property
    def is_read(self) -> bool:
        """Whether it could be read as a request."""
        return bool(self.method)


class StoredRefusal(msgspec.Struct, frozen=True):
    """A refused request in the audit, with the id by which it is found."""

    id: int
    request: RefusedRequest


class RefusalCount(msgspec.Struct, frozen=True):
    """How many requests of a source were refused for a reason, recorded or not, and when the last one was."""

    source: str
    reason: str
    count: int
    last_s: float
