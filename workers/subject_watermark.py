"""Which events come late: after one of their subject that occurred later."""

from hookline.workers.store import Acquired


class SubjectWatermark:
    """Knows what the store told with a claim, and what this process has handled since.

    Between a claim and the call of the function others of the subject may be handled. Those of this process are noted
    here, the last `remembered` subjects of them: as many as it has events in hand. Those of other processes are known
    with the next claim only.
    """

    def __init__(self, remembered: int) -> None:
        self._remembered = remembered
        self._newest: dict[str, float] = {}

    def note(self, subject: str | None, occurred_s: float) -> None:
        """Remember that an event of the subject was handled."""
        if subject is None:
            return
        self._newest[subject] = max(occurred_s, self._newest.pop(subject, occurred_s))
        if len(self._newest) > self._remembered:
            del self._newest[next(iter(self._newest))]

    def of(self, claim: Acquired, subject: str | None, occurred_s: float) -> bool:
        """Whether an event that was claimed is late, if its function is called now."""
        if subject is None:
            return False
        newest_s = self._newest.get(subject, occurred_s)
        return occurred_s < (newest_s if claim.newest_s is None else max(newest_s, claim.newest_s))
