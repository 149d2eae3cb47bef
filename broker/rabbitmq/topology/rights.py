"""What each role needs from RabbitMQ: regular expressions of names for `set_permissions`, and no more than that."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from hookline.broker.rabbitmq.names import REGISTER, lock_name, scan_of
from hookline.broker.rabbitmq.topology.exchanges import SHARED, SHARED_EXCHANGES
from hookline.schemas import topics
from hookline.schemas.dead_letters import UNROUTED

NOTHING = "(?!)"
"""Matches no name and no routing key, not even an empty one."""


@dataclass(frozen=True, slots=True)
class Rights:
    """The rights of a user. `publishes_events` is false where a topic permission has to forbid it."""

    configure: str
    write: str
    read: str
    publishes_events: bool = True


def _alternatives(*names: str) -> str:
    return "|".join(re.escape(name) for name in names)


_OURS = re.escape(topics.queue_name(""))
_LOCK = rf"{_OURS}.+{re.escape(lock_name('').removeprefix('hookline.'))}"

_LOCKS_OF_INGRESS = (lock_name(topics.short_name(REGISTER)), lock_name(scan_of(UNROUTED)))

INGRESS = Rights(
    configure=f"^({_alternatives(*SHARED, *_LOCKS_OF_INGRESS)})$",
    write=f"^({_alternatives(*SHARED)})$",
    read=f"^({_alternatives(*SHARED_EXCHANGES, REGISTER)})$",  # binding to an exchange takes `read`
)
"""Publishes, declares what it publishes to, and reads no queue but the register of names and that of unrouted events.

By the names it counts what waits in each queue: a worker that does not run counts nothing. It drops unrouted events
that are too many.
"""

WORKER = Rights(
    configure=f"^{_OURS}",
    write=rf"^(amq\.default|(?!{_alternatives(topics.RECEIVED)}$){_OURS}.+)$",  # binding the exchange takes `write`
    read=f"^{_OURS}",
    publishes_events=False,
)
"""Declares its queues, reads them, retries and parks through the default exchange, and publishes no event."""

OPERATOR = Rights(
    configure=f"^{_LOCK}$",
    write=rf"^(amq\.default|{_alternatives(topics.EXCHANGE)})$",
    read=f"^{_OURS}",
)
"""Lists, replays and drops dead letters, unrouted events and history; declares nothing but its locks."""

ROLES: Mapping[str, Rights] = {"ingress": INGRESS, "worker": WORKER, "operator": OPERATOR}


def topic_permission(rights: Rights) -> Mapping[str, str] | None:
    """The topic permission that keeps a user from publishing events, or None for one who may."""
    return None if rights.publishes_events else {"exchange": topics.EXCHANGE, "write": NOTHING, "read": ".*"}
