"""The form of the tables of requests that the ingress must refuse: genuine callbacks with one flaw each."""

from dataclasses import dataclass

ECHO = "zebra"  # stands in whatever is wrong with a request, and must not come back


@dataclass(frozen=True)
class Refusal:
    """A flawed request, and how it is refused.

    `why` says why, where another refusal would do as well. `differs_in_parts` marks a request that is refused in
    another way when it arrives in several segments, and says why.
    """

    name: str
    request: bytes
    status: int
    code: str = "malformed_request"
    closes: bool = True
    why: str = ""
    differs_in_parts: str = ""

    def __str__(self) -> str:
        return self.name
