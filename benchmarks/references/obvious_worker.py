"""The obvious way to consume: a callback that acknowledges each message. Nothing is decoded, and no store is used.

python -m benchmarks.references.obvious_worker AMQP_URL QUEUE PREFETCH
"""

import sys

import aio_pika

from benchmarks.notes import NOTES, kept
from benchmarks.references.serving import run, until_stopped


async def handle(message: aio_pika.abc.AbstractIncomingMessage) -> None:
    NOTES.note("")
    await message.ack()


async def main(url: str, queue_name: str, prefetch: int) -> None:
    connection = await aio_pika.connect_robust(url)
    async with connection, kept():
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=prefetch)
        queue = await channel.declare_queue(queue_name, durable=True, arguments={"x-queue-type": "quorum"})
        await queue.consume(handle)
        await until_stopped()


if __name__ == "__main__":
    run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
