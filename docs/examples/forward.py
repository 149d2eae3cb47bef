"""Forward room events over HTTP, signed by the Standard Webhooks scheme (https://www.standardwebhooks.com)."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import aiohttp
import msgspec
from standardwebhooks import Webhook

from hookline import Backoff, Delivery, Poisoned, Retry, worker
from hookline.events import RoomCreated, RoomEnded, event_topic

TIMEOUT = aiohttp.ClientTimeout(total=10)


@dataclass(frozen=True)
class Receiver:
    """The receiver: its URL, one connection pool per process, and the shared key."""

    url: str
    session: aiohttp.ClientSession
    key: Webhook


@asynccontextmanager
async def open_receiver() -> AsyncIterator[Receiver]:
    """Opened before the first event, closed after the last. A missing variable or a bad key stops the start."""
    url, key = os.environ["FORWARD_URL"], Webhook(os.environ["FORWARD_SECRET"])
    async with aiohttp.ClientSession(timeout=TIMEOUT) as session:
        yield Receiver(url, session, key)


@worker(RoomCreated, RoomEnded, state=open_receiver, timeout_s=20, retry=Backoff(first_s=1, max_s=600, attempts=12))
async def forward(event: RoomCreated | RoomEnded, delivery: Delivery[Receiver]) -> None:
    """Send one event. The receiver identifies a repeat by its `webhook-id`, which is the same at every attempt."""
    receiver = delivery.state
    body = msgspec.json.encode({"type": event_topic(event), "timestamp": event.occurred_at, "data": event}).decode()
    now = datetime.now(UTC)
    headers = {
        "content-type": "application/json",
        "webhook-id": event.id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": receiver.key.sign(event.id, now, body),
    }
    async with receiver.session.post(receiver.url, data=body, headers=headers) as answer:
        if answer.status == 429:
            raise Retry(after_s=_seconds(answer.headers.get("Retry-After", "")))
        if answer.status == 410:
            raise Poisoned("the receiver is gone for good")
        answer.raise_for_status()  # any other failure is tried again with back-off


def _seconds(retry_after: str) -> float:
    """The seconds in the header, at most an hour. A date gives the default."""
    return min(float(retry_after), 3600.0) if retry_after.isdecimal() else 30.0
