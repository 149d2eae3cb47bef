"""Which events are late: after one of their subject that occurred later."""

from hookline.workers.store import Acquired


class SubjectWatermark:
    """The newest handled event of each subject, as the store said with a claim and as this process has seen since.

    Between a claim and the call of the function, other events of the subject may be handled. Those of this process are
    recorded here, for the last `remembered` subjects: as many as may have a call in between. Those of other processes
    are known with the next claim.
    """

    def __init__(self, remembered: int) -> None:
        self._remembered = remembered
        self._newest: dict[str, float] = {}

    def advance(self, subject: str | None, occurred_s: float) -> None:
        """Record that an event of the subject was handled."""
        if subject is None:
            return
        newest = self._newest
        newest_s = newest.pop(subject, None)
        if newest_s is None or newest_s < occurred_s:
            newest_s = occurred_s
        newest[subject] = newest_s
        if len(newest) > self._remembered:
            del newest[next(iter(newest))]

    def is_late(self, claim: Acquired, subject: str | None, occurred_s: float) -> bool:
        """Whether a claimed event is late, if its function is called now."""
        if subject is None:
            return False
        if claim.newest_s is not None and occurred_s < claim.newest_s:
            return True
        return occurred_s < self._newest.get(subject, occurred_s)
