"""What becomes of an event whose attempt has failed, and what the store counts of it."""

import random
from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from hookline.schemas.broker import Again, Outcome, Parked, Received
from hookline.schemas.dead_letters import replayed_at
from hookline.schemas.envelope import Envelope
from hookline.workers.api import Worker
from hookline.workers.attempts import copy_number, end_mark
from hookline.workers.failure_policy import AlreadyParked, AlreadyTried, ClaimUnavailable, failure_policy, kept_error
from hookline.workers.held_claims import HeldClaims
from hookline.workers.store import Acquired
from hookline.workers.work import Case, Ending, Held

_TRIED = frozenset({"failed", "timeout", "retry"})
_NOTED = (AlreadyParked, AlreadyTried)  # the store has counted the attempt before
_HELD_FROM_S = 0.1
"""A retry that comes back sooner would find its event claimed still."""


class FailedAttempts:
    """The failed attempts of one worker.

    `keeps_error_texts`: the error that the broker keeps with an event until its next attempt has texts, not types only.
    """

    def __init__(self, worker: Worker[Any], claims: HeldClaims, clock: Callable[[], float]) -> None:
        self.keeps_error_texts = False
        self._worker = worker
        self._claims = claims
        self._clock = clock

    async def end(self, case: Case, error: Exception, *, late: bool) -> Ending:
        """End a claimed event. Its claim is released, or held until the delivery is settled."""
        outcome = self.outcome_of(case, error)
        failures = self._failures(case, outcome, error)
        if not self._is_passed_on(outcome, error):
            await self._claims.release(case, failures)
            return Ending(outcome, case.attempt, late)
        held = Held(case.key) if isinstance(error, _NOTED) else await self._before_passing_on(case, outcome, failures)
        if held is None:
            return Ending(self.outcome_of(case, ClaimUnavailable()), case.attempt, late)
        if isinstance(outcome, Again) and outcome.delay_s < _HELD_FROM_S:
            await self._claims.let_go(held, copy_number(case.received.headers))
            return Ending(outcome, case.attempt, late)
        return Ending(outcome, case.attempt, late, (held,))

    def check_end(self, case: Case, claim: Acquired) -> None:
        """Raise if the event has ended in a delivery that was not settled, or is repeated because of others in it."""
        parked = self._claims.ends.noted(case.key, claim, case.received.attempt)
        if parked is not None:
            raise AlreadyParked(parked)

    def outcome_of(self, case: Case, error: Exception) -> Outcome:
        """What becomes of the attempt of an event that ended in an error."""
        return self.outcome(error, case.received, case.envelope, case.attempt, last=case.last)

    def outcome(
        self, error: Exception, received: Received, envelope: Envelope | None, attempt: int, *, last: bool
    ) -> Outcome:
        """What becomes of a delivery that ended in an error."""
        age_s = 0.0
        if envelope is not None:
            since = replayed_at(received.headers) or envelope.received_at
            age_s = self._clock() - since.timestamp()
        chance = random.random()  # noqa: S311  # no secret
        outcome = failure_policy(error, self._worker.retry, attempt, age_s, chance, last=last)
        if isinstance(outcome, Again) and outcome.error:
            return replace(outcome, kept_error=kept_error(error, with_texts=self.keeps_error_texts))
        return outcome

    def _is_passed_on(self, outcome: Outcome, error: Exception) -> bool:
        """Whether a copy is passed on after an attempt. An ordered worker tries an event again at its place."""
        if isinstance(outcome, Again):
            return self._worker.order is None and (outcome.reason in _TRIED or isinstance(error, AlreadyTried))
        return True

    async def _before_passing_on(self, case: Case, outcome: Outcome, failures: int) -> Held | None:
        """The claim to hold until the delivery is settled. A retry that is moved needs no note: it has no copy."""
        if case.received.is_moved and isinstance(outcome, Again):
            return Held(case.key, failures)
        return await self._claims.note_attempt(case, failures)

    def _failures(self, case: Case, outcome: Outcome, error: Exception) -> int:
        """What the store counts: the attempts that were used up, or the end."""
        if isinstance(error, AlreadyParked):
            return 0
        if isinstance(outcome, Parked):
            self._claims.ends.note(case.key, outcome)
            return end_mark(outcome) + max(0, outcome.attempts - case.used)
        if isinstance(outcome, Again) and outcome.attempt > case.attempt:
            return outcome.attempt - 1 - case.used
        return 0
