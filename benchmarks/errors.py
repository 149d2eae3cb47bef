"""What makes the figures of a run invalid."""


class InvalidRun(Exception):
    """An event was lost, duplicated or refused, or the load was not as intended. The text says which."""
