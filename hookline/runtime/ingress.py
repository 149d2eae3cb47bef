"""The ingress as the settings want it: opened, and told of."""

import logging

from hookline.ingress.receive import Receiver
from hookline.ingress.server import Ingress
from hookline.schemas.broker import Publisher
from hookline.schemas.errors import Unreachable
from hookline.settings import Settings

log = logging.getLogger("hookline")


async def open_ingress(settings: Settings, publisher: Publisher) -> Ingress:
    """An ingress that listens. Raises Unreachable if it cannot."""
    receiver = Receiver(settings.sources, publisher, settings.ingress, settings.trusted_proxies)
    ingress = Ingress(receiver, settings.ingress)
    try:
        port = await ingress.start()
    except OSError as error:
        raise Unreachable(f"cannot listen on {settings.ingress.host}:{settings.ingress.port}: {error}") from None
    log.info("listening on http://%s:%d", settings.ingress.host, port)
    return ingress
