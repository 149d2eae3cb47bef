"""How long clients may take for the parts of a request and its answer. Pauses of the process do not count."""

from typing import Protocol

from hookline.aio.deadlines import Deadlines
from hookline.ingress.settings import IngressSettings


class Timed(Protocol):
    """A connection."""

    def force_close(self) -> None: ...

    def end_reading(self) -> None:
        """Wait no longer for the rest of a body."""

    def abort(self) -> None:
        """Close the connection, and send nothing more."""


class Timeouts:
    """The connections of the process that wait for the rest of a head, for the rest of a body, or for a reader.

    After a pause, what has arrived meanwhile is read before anything is late.
    """

    __slots__ = ("body", "head", "write")

    def __init__(self, settings: IngressSettings) -> None:
        self.head = Deadlines[Timed](settings.head_timeout_s, lambda connection: connection.force_close())
        self.body = Deadlines[Timed](settings.body_timeout_s, lambda connection: connection.end_reading())
        self.write = Deadlines[Timed](settings.write_timeout_s, lambda connection: connection.abort())
