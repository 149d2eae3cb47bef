"""Whether every event that was accepted is there, once. Not so means InvalidRun, whatever the figures say."""

from collections import Counter
from collections.abc import Iterable, Sequence

from benchmarks.errors import InvalidRun


def check_kept(what: str, found: Sequence[str] | Sequence[bytes], accepted: int, unanswered: int) -> None:
    """As many events were kept as were accepted, and none twice.

    `unanswered` is how many more may be there: those that were on their way when the load ended.
    """
    check_none_doubled(what, found)
    if not accepted <= len(found) <= accepted + unanswered:
        raise InvalidRun(f"{what}: {accepted} events were accepted, and {len(found)} are there")


def check_handled(what: str, handled: Sequence[str], sent: Iterable[str]) -> None:
    """Every event was handled, none twice, and nothing else. An event of several members has several ids, `…:0`, …."""
    check_none_doubled(what, handled)
    events = {event_id.partition(":")[0] for event_id in handled}
    wanted = set(sent)
    if lost := wanted - events:
        raise InvalidRun(f"{what}: {len(lost)} of {len(wanted)} events were not handled")
    check_among(what, events, wanted)


def check_none_doubled(what: str, found: Sequence[str] | Sequence[bytes]) -> None:
    doubled = [each for each, times in Counter(found).items() if times > 1]
    if doubled:
        raise InvalidRun(f"{what}: {len(doubled)} events are there more than once")


def check_among(what: str, found: Iterable[str], sent: Iterable[str]) -> None:
    strange = set(found) - set(sent)
    if strange:
        raise InvalidRun(f"{what}: {len(strange)} events are there that were not sent")
