"""FastStream's subscriber at its cheapest: no types applied, nothing decoded, no logs; it acknowledges and counts.

python -m benchmarks.references.faststream_worker AMQP_URL QUEUE PREFETCH
"""

import logging
import sys

from faststream import AckPolicy
from faststream.rabbit import Channel, QueueType, RabbitBroker, RabbitMessage, RabbitQueue

from benchmarks.notes import NOTES, kept
from benchmarks.references.serving import run, until_stopped


async def handle(_body: bytes) -> None:
    NOTES.note("")


async def undecoded(message: RabbitMessage) -> bytes:
    return bytes(message.body)


async def main(url: str, queue: str, prefetch: int) -> None:
    broker = RabbitBroker(
        url,
        default_channel=Channel(prefetch_count=prefetch),
        apply_types=False,
        decoder=undecoded,
        logger=None,
        log_level=logging.ERROR,
    )
    async with kept():
        subscriber = broker.subscriber(
            RabbitQueue(queue, queue_type=QueueType.QUORUM, durable=True), ack_policy=AckPolicy.ACK, no_reply=True
        )
        subscriber(handle)
        async with broker:
            await broker.start()
            await until_stopped()


if __name__ == "__main__":
    run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
