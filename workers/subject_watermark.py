"""Which events are late: after one of their subject that occurred later."""

from hookline.workers.store import Acquired


class SubjectWatermark:
    """The newest handled event of each subject, as the store said with a claim and as this process has seen since.

    Between a claim and the call of the function, other events of the subject may be handled. Those of this process are
    recorded here, for the last `remembered` subjects: as many as events are in flight. Those of other processes are
    known with the next claim.
    """

    def __init__(self, remembered: int) -> None:
        self._remembered = remembered
        self._newest: dict[str, float] = {}

    def advance(self, subject: str | None, occurred_s: float) -> None:
        """Record that an event of the subject was handled."""
        if subject is None:
            return
        self._newest[subject] = max(occurred_s, self._newest.pop(subject, occurred_s))
        if len(self._newest) > self._remembered:
            del self._newest[next(iter(self._newest))]

    def is_late(self, claim: Acquired, subject: str | None, occurred_s: float) -> bool:
        """Whether a claimed event is late, if its function is called now."""
        if subject is None:
            return False
        newest_s = self._newest.get(subject, occurred_s)
        return occurred_s < (newest_s if claim.newest_s is None else max(newest_s, claim.newest_s))
