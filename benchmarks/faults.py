"""What makes a run worthless, whatever its figures."""


class Worthless(Exception):
    """An event was lost, doubled or refused, or the load was not what it should have been. The text says which."""
