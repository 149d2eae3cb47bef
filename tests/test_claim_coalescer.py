"""Claims and completions of a store that fails now and then."""

import asyncio
import time
from collections.abc import Sequence

import pytest

from hookline.schemas.errors import Unreachable
from hookline.schemas.leases import LEASE_S
from hookline.workers.store import Acquired, Claim, Duplicate
from hookline.workers.stores import claim_coalescer
from hookline.workers.stores.claim_coalescer import ClaimCoalescer, ClaimRelease, ClaimRequest, Completion


class Flaky:
    """A store that is down while `is_down`. It counts requests, also those that it fails."""

    def __init__(self) -> None:
        self.is_down = False
        self.claimed: list[tuple[str, bool]] = []
        self.finished: list[str] = []
        self.released: list[ClaimRelease] = []
        self.coalescer = ClaimCoalescer(self._claim, self._finish, self._release)

    async def claim(self, event_id: str) -> Claim:
        return await self.coalescer.claim("q", event_id, None)

    async def finish(self, event_id: str) -> None:
        await self.coalescer.finish("q", event_id)

    async def release(self, event_id: str, *, failures: int = 0) -> None:
        await self.coalescer.release("q", event_id, failures=failures)

    async def _claim(self, requests: Sequence[ClaimRequest]) -> Sequence[Claim]:
        self.claimed += [(request.event_id, request.ours) for request in requests]
        await self._answer()
        return [Acquired()] * len(requests)

    async def _finish(self, completions: Sequence[Completion]) -> Sequence[None]:
        await self._answer()
        self.finished += [completion.event_id for completion in completions]
        return [None] * len(completions)

    async def _release(self, release: ClaimRelease) -> None:
        await self._answer()
        self.released.append(release)

    async def _answer(self) -> None:
        await asyncio.sleep(0)
        if self.is_down:
            raise Unreachable


@pytest.fixture
async def store() -> Flaky:
    return Flaky()


async def fail_to_finish(store: Flaky, *event_ids: str) -> None:
    store.is_down = True
    for event_id in event_ids:
        with pytest.raises(Unreachable):
            await store.finish(event_id)
    store.is_down = False


async def test_completions_that_failed_are_retried_after_the_next_that_succeeds(store: Flaky) -> None:
    await fail_to_finish(store, "a", "b")
    await store.finish("c")
    assert sorted(store.finished) == ["a", "b", "c"]


async def test_a_completion_is_retried_until_it_succeeds_and_then_no_more(store: Flaky) -> None:
    await fail_to_finish(store, "a")
    await fail_to_finish(store, "b")
    await store.finish("c")
    await store.finish("d")
    assert sorted(store.finished) == ["a", "b", "c", "d"]


async def test_completions_that_succeed_together_retry_each_failed_one_once(store: Flaky) -> None:
    await fail_to_finish(store, *(f"failed {number}" for number in range(20)))
    await asyncio.gather(*(store.finish(str(number)) for number in range(20)))
    assert len(store.finished) == len(set(store.finished)) == 40


async def test_a_large_number_of_failed_completions_is_retried_in_parts(store: Flaky) -> None:
    await fail_to_finish(store, *(f"failed {number}" for number in range(1200)))
    for written in (501, 1002, 1203):
        await store.finish("next")
        assert len(store.finished) == written


async def test_an_event_whose_completion_failed_is_a_duplicate_once_it_is_written(store: Flaky) -> None:
    await fail_to_finish(store, "a")
    store.is_down = True
    with pytest.raises(Unreachable):
        await store.claim("a")
    store.is_down = False
    assert await store.claim("a") == Duplicate()
    assert store.finished == ["a"]
    assert store.claimed == []


async def test_a_cancelled_completion_is_retried(store: Flaky) -> None:
    finishing = asyncio.create_task(store.finish("a"))
    await asyncio.sleep(0)
    finishing.cancel()
    await asyncio.wait([finishing])
    assert store.finished == []
    await store.finish("b")
    assert sorted(store.finished) == ["a", "b"]


async def test_closing_retries_all_failed_completions(store: Flaky) -> None:
    await fail_to_finish(store, *map(str, range(1200)))
    await store.coalescer.close()
    assert len(store.finished) == 1200


async def test_a_claim_after_a_failed_one_says_that_the_event_may_be_ours(store: Flaky) -> None:
    store.is_down = True
    with pytest.raises(Unreachable):
        await store.claim("a")
    store.is_down = False
    assert [await store.claim(event_id) for event_id in ("a", "a", "b")] == [Acquired()] * 3
    assert store.claimed == [("a", False), ("a", True), ("a", False), ("b", False)]


async def test_a_claim_after_a_failed_release_says_that_the_event_may_be_ours(store: Flaky) -> None:
    store.is_down = True
    with pytest.raises(Unreachable):
        await store.release("a")
    store.is_down = False
    await store.claim("a")
    assert store.claimed == [("a", True)]


async def test_a_claim_is_named_from_its_request_until_its_end(store: Flaky) -> None:
    asking = asyncio.create_task(store.claim("a"))
    await asyncio.sleep(0)
    assert store.coalescer.named() == [("q", "a")]
    await asking
    assert store.coalescer.named() == [("q", "a")]
    await store.release("a")
    assert store.coalescer.named() == []
    await store.claim("a")
    await store.finish("a")
    assert store.coalescer.named() == []


async def test_a_claim_or_release_that_failed_is_not_named(store: Flaky) -> None:
    await store.claim("a")
    store.is_down = True
    for failing in (store.claim("b"), store.release("a")):
        with pytest.raises(Unreachable):
            await failing
    assert store.coalescer.named() == []


async def test_a_second_claim_that_fails_leaves_the_first_named(store: Flaky) -> None:
    await store.claim("a")
    store.is_down = True
    with pytest.raises(Unreachable):
        await store.claim("a")
    assert store.coalescer.named() == [("q", "a")]


async def test_a_claim_stays_named_until_its_completion_is_written(store: Flaky) -> None:
    await store.claim("a")
    await fail_to_finish(store, "a")
    assert store.coalescer.named() == [("q", "a")]
    store.coalescer.renewed(time.monotonic(), 2.0)
    for _ in range(10):
        await asyncio.sleep(0)
    assert store.finished == ["a"]
    assert store.coalescer.named() == []


async def test_what_is_forgotten_of_too_many_pending_completions_is_not_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claim_coalescer, "_MAX_REMEMBERED", 2)
    store = Flaky()
    for event_id in "abc":
        await store.claim(event_id)
    await fail_to_finish(store, "a", "b", "c")
    assert sorted(store.coalescer.named()) == [("q", "b"), ("q", "c")]


async def test_an_event_whose_completion_is_pending_is_not_released(store: Flaky) -> None:
    """A delivery that is cancelled while the completion is retried gives up the claim that it asked for."""
    await store.claim("a")
    await fail_to_finish(store, "a")
    await store.release("a")
    assert store.released == []
    assert store.coalescer.named() == [("q", "a")]


async def test_a_failure_whose_release_failed_is_noted_before_the_next_claim(store: Flaky) -> None:
    await store.claim("a")
    store.is_down = True
    for attempt in (store.release("a", failures=1), store.claim("a")):
        with pytest.raises(Unreachable):
            await attempt
    assert store.coalescer.named() == [("q", "a")]
    store.is_down = False
    assert await store.claim("a") == Acquired()
    assert store.released == [ClaimRelease("q", "a", 1, copy=0, number=1)]
    assert store.claimed == [("a", False), ("a", False)]


async def test_a_failure_whose_release_failed_is_noted_after_the_next_heartbeat(store: Flaky) -> None:
    await store.claim("a")
    store.is_down = True
    with pytest.raises(Unreachable):
        await store.release("a", failures=1)
    store.is_down = False
    store.coalescer.renewed(time.monotonic(), 2.0)
    await asyncio.sleep(0.01)
    assert [each.event_id for each in store.released] == ["a"]
    assert store.coalescer.named() == []


async def test_a_release_that_is_repeated_never_frees_a_claim_that_was_made_since(store: Flaky) -> None:
    await store.claim("a")
    store.is_down = True
    with pytest.raises(Unreachable):
        await store.release("a", failures=1)
    store.is_down = False
    store.coalescer.renewed(time.monotonic(), 2.0)
    await store.claim("a")
    await store.coalescer.close()
    assert [each.event_id for each in store.released] == ["a"]
    assert store.coalescer.named() == [("q", "a")]


@pytest.mark.parametrize("turns", range(8))
async def test_a_release_that_a_claim_repeats_just_before_others_are_retried_fails_none(
    store: Flaky, turns: int
) -> None:
    await store.claim("a")
    await fail_to_finish(store, "b")
    store.is_down = True
    with pytest.raises(Unreachable):
        await store.release("a", failures=1)
    store.is_down = False
    claiming = asyncio.create_task(store.claim("a"))
    for _ in range(turns):
        await asyncio.sleep(0)
    await store.finish("c")
    assert await claiming == Acquired()
    assert sorted(store.finished) == ["b", "c"]
    assert len(store.released) == 1


async def test_a_claim_is_held_for_a_while_after_each_heartbeat(store: Flaky) -> None:
    assert not store.coalescer.holds("q", "a")
    await store.claim("a")
    assert store.coalescer.holds("q", "a")
    store.coalescer.renewed(time.monotonic() - LEASE_S, 2.0)
    assert not store.coalescer.holds("q", "a")
    store.coalescer.renewed(time.monotonic(), 2.0)
    assert store.coalescer.holds("q", "a")
    await store.release("a")
    assert not store.coalescer.holds("q", "a")


@pytest.mark.parametrize("advanced_s", [LEASE_S + 0.1, -1.0], ids=["the lease ended", "the store forgot it"])
async def test_a_claim_from_before_the_lease_ended_is_not_held_until_it_is_made_again(
    store: Flaky, advanced_s: float
) -> None:
    await store.claim("a")
    store.coalescer.renewed(time.monotonic(), advanced_s)
    assert not store.coalescer.holds("q", "a")
    await store.release("a")
    await store.claim("a")
    assert store.coalescer.holds("q", "a")


async def test_a_group_of_claims_that_failed_may_be_ours(store: Flaky) -> None:
    store.is_down = True
    claims = await store.coalescer.claim_all("q", [("a", None), ("b", None)])
    assert [type(claim) for claim in claims] == [Unreachable, Unreachable]
    assert store.coalescer.named() == []
    store.is_down = False
    assert [*await store.coalescer.claim_all("q", [("a", None), ("c", None)])] == [Acquired(), Acquired()]
    assert store.claimed[2:] == [("a", True), ("c", False)]
    assert sorted(store.coalescer.named()) == [("q", "a"), ("q", "c")]


async def test_a_group_of_claims_that_was_cancelled_may_be_ours(store: Flaky) -> None:
    claiming = asyncio.create_task(store.coalescer.claim_all("q", [("a", None), ("b", None)]))
    await asyncio.sleep(0)
    assert sorted(store.coalescer.named()) == [("q", "a"), ("q", "b")]
    claiming.cancel()
    await asyncio.wait([claiming])
    assert store.coalescer.named() == []
    await store.claim("b")
    assert store.claimed[2:] == [("b", True)]


async def test_a_group_of_completions_that_failed_is_retried_after_the_next_that_succeeds(store: Flaky) -> None:
    await store.coalescer.claim_all("q", [("a", None), ("b", None), ("c", None)])
    store.is_down = True
    answers = await store.coalescer.finish_all("q", [("a", None, 0.0), ("b", None, 0.0)])
    assert [type(answer) for answer in answers] == [Unreachable, Unreachable]
    assert len(store.coalescer.named()) == 3
    store.is_down = False
    assert await store.coalescer.finish_all("q", [("c", None, 0.0)]) == [None]
    assert sorted(store.finished) == ["a", "b", "c"]
    assert store.coalescer.named() == []
