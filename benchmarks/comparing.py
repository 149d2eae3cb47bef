"""Checks that every accepted event is there exactly once. Each check raises InvalidRun."""

from collections import Counter
from collections.abc import Iterable, Sequence

from benchmarks.errors import InvalidRun


def check_kept(what: str, found: Sequence[str] | Sequence[bytes], accepted: int, unanswered: int) -> None:
    """As many events were kept as were accepted, and none twice.

    `unanswered` is how many more may be there: those that were in flight when the load ended.
    """
    check_no_duplicates(what, found)
    if not accepted <= len(found) <= accepted + unanswered:
        raise InvalidRun(f"{what}: {accepted} events were accepted, and {len(found)} are there")


def check_handled(what: str, handled: Sequence[str], sent: Iterable[str]) -> None:
    """Every event was handled once, and no other. An event of several members has several ids, `…:0`, `…:1`."""
    check_no_duplicates(what, handled)
    events = {event_id.partition(":")[0] for event_id in handled}
    wanted = set(sent)
    if lost := wanted - events:
        raise InvalidRun(f"{what}: {len(lost)} of {len(wanted)} events were not handled")
    check_among(what, events, wanted)


def check_no_duplicates(what: str, found: Sequence[str] | Sequence[bytes]) -> None:
    duplicates = [each for each, times in Counter(found).items() if times > 1]
    if duplicates:
        raise InvalidRun(f"{what}: {len(duplicates)} events are there more than once")


def check_among(what: str, found: Iterable[str], sent: Iterable[str]) -> None:
    strange = set(found) - set(sent)
    if strange:
        raise InvalidRun(f"{what}: {len(strange)} events are there that were not sent")
