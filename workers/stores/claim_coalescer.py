"""The claims, completions and releases of one process, kept right while the store fails."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice, zip_longest
from typing import Any, Self

import msgspec

from hookline.schemas.errors import Unreachable
from hookline.schemas.leases import LEASE_S, MAX_STEP_S
from hookline.workers.bounded_dict import BoundedDict
from hookline.workers.store import Acquired, AlreadyFinished, Claim, Duplicate, LeasedElsewhere
from hookline.workers.stores.request_batcher import RequestBatcher

_MAX_RETRIES = 500  # at a time
_MAX_REMEMBERED = 100_000  # of events whose claim or completion the store has not answered
_ONLY_ACQUIRED = {Acquired}
CLAIM_LOST = "this process does not have its claim on the event any more"


class EventRequest(msgspec.Struct, frozen=True, gc=False):
    """What a queue asks of the store about one event."""

    queue: str
    event_id: str

    @property
    def key(self) -> tuple[str, str]:
        return self.queue, self.event_id


class ClaimRequest(EventRequest, frozen=True, gc=False):
    """A claim to make. With `ours`, a claim that this process already holds on the event is no obstacle.

    `number` grows with each claim of the process. The store keeps it with the claim.
    """

    subject: str | None
    ours: bool
    number: int


class Completion(EventRequest, frozen=True, gc=False):
    """The record that an event is finished. It need not be on disk at once if it is not `synced`."""

    subject: str | None
    occurred_s: float
    synced: bool = True


class ClaimRelease(EventRequest, frozen=True, gc=False):
    """A claim to give up, how many failures to add, and the number of the newest copy of the event.

    A newer claim of the process than that of `number` stays: the release is carried out late, or for the second time.
    The failures were noted before if the store knows of `tried`.
    """

    failures: int
    copy: int
    number: int
    tried: int = 0


def _raise_error(answers: Sequence[Exception | None]) -> None:
    for answer in answers:
        if answer is not None:
            raise answer


class ClaimCoalescer:
    """The claims, completions and releases of a store, sent by functions of the store.

    `claim` and `finish` take several items, and answer each or say its error; or they raise, and the error is that of
    each. `release` takes one.

    A failed claim or release is uncertain: the store may have carried it out. The next claim on the event says so, and
    is not refused because of this process's own claim. A failed completion is pending: the event counts as finished
    in this process, which keeps its claim. The completion is retried after the next one that succeeds, and after the
    next heartbeat. So is a failed release that changes what the store counts, at the latest before the next claim.

    `named` are the claims that this process makes, holds, or needs for what is pending. Each heartbeat hands them
    to the store, which frees the others of this process.
    """

    def __init__(
        self,
        claim: Callable[[Sequence[ClaimRequest]], Awaitable[Sequence[Claim | Exception]]],
        finish: Callable[[Sequence[Completion]], Awaitable[Sequence[Exception | None]]],
        release: Callable[[ClaimRelease], Awaitable[None]],
    ) -> None:
        self._claim = claim
        self._finish = finish
        self._release = release
        self._loop = asyncio.get_running_loop()
        self._named: defaultdict[str, dict[str, int]] = defaultdict(dict)  # by queue, with the number of the claim
        self._last_number = 0
        self._doubtful: set[tuple[str, str]] = set()
        self._held_until_s = time.monotonic() + LEASE_S - MAX_STEP_S
        self._uncertain: BoundedDict[tuple[str, str], None] = BoundedDict(_MAX_REMEMBERED)
        self._pending: BoundedDict[tuple[str, str], Completion] = BoundedDict(_MAX_REMEMBERED)
        self._unreleased: BoundedDict[tuple[str, str], ClaimRelease] = BoundedDict(_MAX_REMEMBERED)
        self._repeating: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._retrying: asyncio.Task[None] | None = None
        self._batchers: tuple[RequestBatcher[Any, Any], ...] = ()

    @classmethod
    def batching(
        cls,
        claim: Callable[[list[ClaimRequest]], Awaitable[Sequence[Claim]]],
        finish: Callable[[list[Completion]], Awaitable[Sequence[None]]],
        release: Callable[[ClaimRelease], Awaitable[None]],
        timeout_s: float,
        *,
        groups: int = 1,
    ) -> Self:
        """For a store that takes claims and completions in groups, and may not answer in time.

        Up to `groups` of claims are in flight, and as many of completions.
        """
        claims = RequestBatcher(claim, timeout_s, groups=groups)
        completions = RequestBatcher(finish, timeout_s, groups=groups)
        coalescer = cls(claims.ask_all, completions.ask_all, release)
        coalescer._batchers = (claims, completions)
        return coalescer

    def number(self, queue: str, event_id: str) -> int:
        """The number of this process's claim on an event, or of its newest claim if it knows of none."""
        return self._named[queue].get(event_id, self._last_number)

    def holds(self, queue: str, event_id: str) -> bool:
        """As `Store.holds`."""
        is_named = event_id in self._named[queue] and time.monotonic() < self._held_until_s
        return is_named and not (self._doubtful and (queue, event_id) in self._doubtful)

    def named(self) -> list[tuple[str, str]]:
        """The queue and the event of each claim that this process knows of. Any thread may call this."""
        return [(queue, event_id) for queue in list(self._named) for event_id in list(self._named[queue])]

    def renewed(self, began_s: float, advanced_s: float) -> None:
        """Note a heartbeat, and retry what is pending, since the store answers again. Any thread may call this.

        It began at `began_s` by the monotonic clock. The lease clock has advanced by `advanced_s` since the one before:
        if that is more than a lease, other processes may have what is claimed here.
        """
        if not 0 <= advanced_s <= LEASE_S:
            self._doubtful.update(self.named())
        self._held_until_s = began_s + LEASE_S - MAX_STEP_S
        if self._pending or self._unreleased:
            with suppress(RuntimeError):  # the event loop is closed
                self._loop.call_soon_threadsafe(self._retry_soon)

    async def claim(self, queue: str, event_id: str, subject: str | None = None) -> Claim:
        """As `Store.claim`."""
        key, ours, named = (queue, event_id), False, self._named[queue]
        if self._pending or self._uncertain or self._unreleased:  # rarely
            if key in self._unreleased:
                await self._release_again(key)
                if key in self._unreleased:
                    raise Unreachable("a failure of the event is not noted yet")
            if completion := self._pending.get(key):
                await self.finish(queue, event_id, subject=completion.subject, occurred_s=completion.occurred_s)
                return Duplicate()
            ours = key in self._uncertain
        was_named = event_id in named
        self._doubtful.discard(key)
        number = self._last_number = self._last_number + 1
        named.setdefault(event_id, number)  # before the store has it, so that no heartbeat in between frees it
        try:
            claim = await self._claim_one(ClaimRequest(queue, event_id, subject, ours, number))
        except BaseException:  # a cancelled request was sent too
            if not was_named:
                self._drop(queue, event_id)
            self._uncertain.note(key, None)
            raise
        if ours:
            self._uncertain.pop(key, None)
        if isinstance(claim, Acquired):
            named[event_id] = number
        elif not was_named:
            self._drop(queue, event_id)
        return claim

    async def claim_all(self, queue: str, events: Sequence[tuple[str, str | None]]) -> Sequence[Claim | Exception]:
        """As `GroupStore.claim_all`."""
        if self._pending or self._uncertain or self._unreleased:  # rarely
            return await asyncio.gather(*(self._claimed(queue, *event) for event in events))
        first = self._last_number + 1
        self._last_number += len(events)
        requests = [
            ClaimRequest(queue, event_id, subject, False, number)  # noqa: FBT003  by place, for each event
            for number, (event_id, subject) in enumerate(events, first)
        ]
        numbers, named = {each.event_id: each.number for each in requests}, self._named[queue]
        if self._doubtful:
            self._doubtful.difference_update((queue, event_id) for event_id in numbers)
        before = {event_id: named[event_id] for event_id in numbers.keys() & named.keys()}
        named.update(numbers)  # before the store has them, so that no heartbeat in between frees them
        named.update(before)
        claims: Sequence[Claim | Exception] = ()
        try:
            claims = await self._claim(requests)
        except Exception as error:  # noqa: BLE001  the caller gets it
            claims = [error] * len(requests)
        finally:
            is_plain = not before and set(map(type, claims)) == _ONLY_ACQUIRED  # as mostly
            for (event_id, number), claim in () if is_plain else zip_longest(numbers.items(), claims):
                if isinstance(claim, Acquired):
                    named[event_id] = number
                    continue
                if event_id not in before:
                    self._drop(queue, event_id)
                if not isinstance(claim, Duplicate | LeasedElsewhere):  # it may have been carried out
                    self._uncertain.note((queue, event_id), None)
        return claims

    async def _claim_one(self, request: ClaimRequest) -> Claim:
        (claim,) = await self._claim([request])
        if isinstance(claim, Exception):
            raise claim
        return claim

    async def _claimed(self, queue: str, event_id: str, subject: str | None) -> Claim | Exception:
        try:
            return await self.claim(queue, event_id, subject)
        except Exception as error:  # noqa: BLE001  the caller gets it
            return error

    async def finish(
        self,
        queue: str,
        event_id: str,
        *,
        subject: str | None = None,
        occurred_s: float = 0.0,
        synced: bool = True,
    ) -> None:
        """As `Store.finish`, or `UnsyncedStore.finish_unsynced`."""
        completion = Completion(queue, event_id, subject, occurred_s, synced)
        try:
            _raise_error(await self._finish([completion]))
        except (Unreachable, asyncio.CancelledError):
            self._note_pending(completion)
            raise
        self.ended(queue, event_id)
        if self._pending:
            self._pending.pop(completion.key, None)
            await self._retry_some()

    async def finish_all(
        self, queue: str, events: Sequence[tuple[str, str | None, float]], *, synced: bool = True
    ) -> Sequence[Exception | None]:
        """As `GroupStore.finish_all`."""
        completions = [
            Completion(queue, event_id, subject, occurred_s, synced) for event_id, subject, occurred_s in events
        ]
        try:
            answers = await self._finish(completions)
        except Exception as error:  # noqa: BLE001  the caller gets it
            answers = [error] * len(completions)
        except asyncio.CancelledError:
            for completion in completions:
                self._note_pending(completion)
            raise
        finished = [each.event_id for each, answer in zip(completions, answers, strict=True) if answer is None]
        self.ended(queue, *finished)
        if self._pending:
            for event_id in finished:
                self._pending.pop((queue, event_id), None)
        if len(finished) < len(completions):
            for completion, answer in zip(completions, answers, strict=True):
                if isinstance(answer, Unreachable):
                    self._note_pending(completion)
        if self._pending and None in answers:
            await self._retry_some()
        return answers

    def _note_pending(self, completion: Completion) -> None:
        forgotten = self._pending.note(completion.key, completion)
        if forgotten is not None:
            self._drop(*forgotten)

    async def release(self, queue: str, event_id: str, *, failures: int = 0, copy: int = 0, tried: int = 0) -> None:
        """As `Store.release`. The claim on an event whose completion is pending is kept."""
        number = self.number(queue, event_id)
        key, release = (queue, event_id), ClaimRelease(queue, event_id, failures, copy, number, tried)
        if key in self._pending or key in self._unreleased:
            return
        try:
            await self._release(release)
        except BaseException:  # a cancelled release was sent too
            if failures or copy or tried:
                self._note_unreleased(release)
            else:
                self._uncertain.note(key, None)
            raise
        finally:
            if key not in self._unreleased:
                self._drop(queue, event_id)

    @contextmanager
    def ending(self, queue: str, event_id: str) -> Iterator[None]:
        """The block finishes the event in a transaction, or finds it finished. After other errors it is released."""
        try:
            yield
        except AlreadyFinished:
            self.ended(queue, event_id)
            raise
        self.ended(queue, event_id)

    def ended(self, queue: str, *event_ids: str) -> None:
        """Note that the store has no claims on these events any more."""
        self._drop(queue, *event_ids)
        if self._uncertain:
            for event_id in event_ids:
                self._uncertain.pop((queue, event_id), None)

    def _drop(self, queue: str, *event_ids: str) -> None:
        """Do not name these claims any more."""
        named = self._named[queue]
        for event_id in event_ids:
            named.pop(event_id, None)
        if self._doubtful:
            self._doubtful.difference_update((queue, event_id) for event_id in event_ids)

    async def close(self) -> None:
        """Retry all that is pending once, and send nothing more."""
        if self._retrying is not None:
            await asyncio.wait([self._retrying])
        await self._retry_each([*self._pending.values()], [*self._unreleased])
        for batcher in self._batchers:
            await batcher.close()

    async def _retry_some(self) -> None:
        """Retry a bounded number of pending completions and releases, for one caller at a time."""
        if self._retrying is None:
            await asyncio.shield(self._retry_soon())

    def _retry_soon(self) -> "asyncio.Task[None]":
        if self._retrying is None:
            completions = [*islice(self._pending.values(), _MAX_RETRIES)]
            releases = [*islice(self._unreleased, _MAX_RETRIES)]
            self._retrying = asyncio.create_task(self._retry_each(completions, releases))
        return self._retrying

    async def _retry_each(self, completions: Sequence[Completion], releases: Sequence[tuple[str, str]]) -> None:
        try:
            await asyncio.gather(*map(self._retry, completions), *map(self._release_again, releases))
        finally:
            self._retrying = None

    async def _release_again(self, key: tuple[str, str]) -> None:
        """Repeat a release that may have been carried out: the store ignores it then.

        Later callers wait for the first, so that no release frees a claim that was made since. Nothing is left to do
        if one of them has succeeded.
        """
        release = self._unreleased.get(key)
        if release is None:
            return
        if key not in self._repeating:
            self._repeating[key] = asyncio.create_task(self._repeat(release))
        await asyncio.shield(self._repeating[key])

    async def _repeat(self, release: ClaimRelease) -> None:
        try:
            with suppress(Unreachable):
                await self._release(release)
                self._unreleased.pop(release.key, None)
                self._drop(*release.key)
        finally:
            del self._repeating[release.key]

    def _note_unreleased(self, release: ClaimRelease) -> None:
        forgotten = self._unreleased.note(release.key, release)
        if forgotten is not None:
            self._drop(*forgotten)

    async def _retry(self, completion: Completion) -> None:
        with suppress(Unreachable):
            _raise_error(await self._finish([completion]))
            self._pending.pop(completion.key, None)
            self.ended(completion.queue, completion.event_id)
