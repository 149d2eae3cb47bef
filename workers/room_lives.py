"""The lives of one room: a provider that uses the name of a room again tells its lives apart by `session_id`."""


class Lives:
    """Which life lasts, and which are over."""

    def __init__(self) -> None:
        self.current: str | None = None
        self._over: set[str] = set()

    def is_over(self, session_id: str | None) -> bool:
        return session_id in self._over

    def begin(self, session_id: str | None) -> bool:
        """Note that this life lasts. True if it is another than the one before, which is over then."""
        if session_id is None or session_id == self.current:
            return False
        before, self.current = self.current, session_id
        if before is not None:
            self._over.add(before)
        return before is not None

    def end(self, session_id: str) -> bool:
        """Note that this life is over. True if it is the latest, or if none was known."""
        self._over.add(session_id)
        if self.current is None:
            self.current = session_id
        return self.current == session_id
