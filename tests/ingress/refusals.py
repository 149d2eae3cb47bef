"""The form of the tables of requests that the ingress must refuse: genuine callbacks with one flaw each."""

from dataclasses import dataclass

ECHO = "zebra"  # stands in whatever is wrong with a request, and must not come back


@dataclass(frozen=True)
class Refusal:
    """A flawed request, and how it is refused.

    `why` says why, where another refusal would do as well.
    """

    name: str
    request: bytes
    status: int
    code: str = "malformed_request"
    closes: bool = True
    why: str = ""

    def __str__(self) -> str:
        return self.name
