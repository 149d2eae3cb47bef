"""What is said once, when everything is open."""

import logging

from hookline.runtime.installation import shown
from hookline.settings import Settings

log = logging.getLogger("hookline")


def log_sources(settings: Settings) -> None:
    for source in settings.sources.values():
        log.info("source %-12s of %-10s POST /hooks/%s", source.name, source.provider.name, source.name)


def log_queue(settings: Settings) -> None:
    """The last line of a start: from here on everything is taken."""
    log.info("queue: %s; Ctrl-C stops", shown(settings.broker.url))
