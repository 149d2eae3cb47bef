"""The path of one process to one server: requests that arrive late or never, lost answers, stale connections."""

import asyncio
import contextvars
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from hookline.schemas.errors import Unreachable

T = TypeVar("T")

FASTEST_S, SLOWEST_S = 0.0005, 0.005
STEP_S = 1e-6


@dataclass(slots=True)
class Host:
    """The machine of a server, as clients see it. A restart breaks every connection."""

    context: contextvars.Context = field(default_factory=contextvars.copy_context)
    down_until_s: float = 0.0
    restarts: int = 0
    is_gone: bool = False  # the run is over
    _loop: asyncio.AbstractEventLoop | None = None

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """Kept: finding it takes a system call on Python 3.11."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        return self._loop


class NetworkPath:
    """What happens to requests on the way. Chance is `random`, which the schedule seeds.

    `lost` is the share of requests and answers that get lost, `late` that of requests that are carried out after the
    asker gave up. After a restart of the server, up to `most_stale` requests fail on connections from before.
    `in_order`: there is one connection, and what is asked first arrives first.
    """

    def __init__(self, host: Host, timeout_s: float, most_stale: int = 0, *, in_order: bool = False) -> None:
        self.host = host
        self._in_order = in_order
        self._last_s = 0.0
        self._most_stale = most_stale
        self.timeout_s = timeout_s
        self.cut_until_s = 0.0
        self.lost = 0.0
        self.late = 0.0
        self._restarts = host.restarts
        self._stale = 0

    async def ask(self, effect: Callable[[], T]) -> T:
        """Have the server carry out a request. Raises Unreachable, or what the effect raises."""
        if self.host.is_gone:
            raise Unreachable("the run is over")
        loop = self.host.loop
        answer: asyncio.Future[T] = loop.create_future()
        carry_out_s, fails_s = self._fortune(loop.time())
        if carry_out_s is not None:
            context = self.host.context
            heard = answer if fails_s is None else None
            loop.call_at(carry_out_s, _carry_out, self.host, effect, heard, context=context)
        if fails_s is not None:
            loop.call_at(fails_s, _fail, answer)
        return await answer

    def ask_now(self, effect: Callable[[], T]) -> tuple[T | None, float]:
        """As `ask`, for a thread that blocks: the answer, or None, and the seconds for which it blocks."""
        if self.host.is_gone:
            return None, 0.0
        loop = self.host.loop
        now_s = loop.time()
        carry_out_s, fails_s = self._fortune(now_s)
        if fails_s is None:
            return effect(), 0.0
        if carry_out_s is not None:
            loop.call_at(carry_out_s, _carry_out, self.host, effect, None, context=self.host.context)
        return None, fails_s - now_s

    def _fortune(self, now_s: float) -> tuple[float | None, float | None]:
        """When the server carries out a request, if at all, and when the asker gives up, unless it is answered."""
        if self._restarts != self.host.restarts:
            self._restarts = self.host.restarts
            self._stale = random.randint(0, self._most_stale)  # noqa: S311  no secret
        arrives_s = now_s + random.uniform(FASTEST_S, SLOWEST_S)  # noqa: S311  no secret
        if self._in_order:
            arrives_s = self._last_s = max(self._last_s + STEP_S, arrives_s)
        if self._stale:
            self._stale -= 1
            return None, arrives_s
        if self.host.down_until_s > now_s:
            return None, arrives_s
        gives_up_s = now_s + self.timeout_s
        if self.cut_until_s > now_s:
            is_sent_again = random.random() < 0.5  # noqa: S311  no secret
            return (self.cut_until_s + SLOWEST_S if is_sent_again else None), gives_up_s
        if self.lost or self.late:
            return self._misfortune(arrives_s, gives_up_s)
        return arrives_s, None

    def _misfortune(self, arrives_s: float, gives_up_s: float) -> tuple[float | None, float | None]:
        roll = random.random()  # noqa: S311  no secret
        if roll < self.lost / 3:
            return None, arrives_s  # the connection breaks before the request arrives
        if roll < 2 * self.lost / 3:
            return arrives_s, arrives_s + SLOWEST_S  # or after it
        if roll < self.lost:
            return arrives_s, gives_up_s
        if roll < self.lost + self.late:
            return gives_up_s + random.uniform(0, self.timeout_s), gives_up_s  # noqa: S311  no secret
        return arrives_s, None


def _carry_out(host: Host, effect: Callable[[], T], answer: "asyncio.Future[T] | None") -> None:
    if host.down_until_s > host.loop.time():
        if answer is not None:
            _fail(answer)
        return
    try:
        result = effect()
    except Exception as error:  # noqa: BLE001  the asker gets it
        if answer is not None and not answer.done():
            answer.set_exception(error)
    else:
        if answer is not None and not answer.done():
            answer.set_result(result)


def _fail(answer: "asyncio.Future[T]") -> None:
    if not answer.done():
        answer.set_exception(Unreachable("the model server did not answer"))
