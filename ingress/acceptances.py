"""Logs accepted callbacks where no worker's log shows them: one of each source in ten seconds, and how many more."""

import asyncio
import logging
from collections import Counter

from hookline.ingress.refusals import WINDOW_S
from hookline.schemas.envelope import Envelope
from hookline.schemas.redaction import plain

log = logging.getLogger("hookline.ingress")

_MAX_SUBJECT_CHARACTERS = 64


class Acceptances:
    """Accepted callbacks by source in the current window of ten seconds. Belongs to one event loop."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def note(self, envelope: Envelope) -> None:
        """Count an accepted callback, and log the first of its source in the window."""
        if not self._counts:
            asyncio.get_running_loop().call_later(WINDOW_S, self.log_rest)
        self._counts[envelope.source] += 1
        if self._counts[envelope.source] == 1:
            _log(envelope)

    def log_rest(self) -> None:
        """End the window: say how many had no line of their own."""
        for source, count in self._counts.items():
            if count > 1:
                facts = {"source": source, "accepted": count - 1}
                log.info("%s: accepted %d more within %g s", source, count - 1, WINDOW_S, extra={"facts": facts})
        self._counts.clear()


def _log(envelope: Envelope) -> None:
    subject = envelope.subject[:_MAX_SUBJECT_CHARACTERS]
    shown = subject if subject.isprintable() else plain(subject, _MAX_SUBJECT_CHARACTERS)
    of = f" of {shown}" if shown else ""
    facts = {"source": envelope.source, "event_id": envelope.id, "topic": envelope.topic, "subject": subject}
    log.info("%s: accepted %s%s (%s)", envelope.source, envelope.event_type, of, envelope.id, extra={"facts": facts})
