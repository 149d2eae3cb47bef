"""FastStream behind aiohttp: each request is published, persistent and confirmed. Nothing is verified.

python -m benchmarks.references.faststream_ingress PORT AMQP_URL QUEUE
"""

import logging
import sys

from aiohttp import web
from faststream.rabbit import Channel, QueueType, RabbitBroker, RabbitQueue

from benchmarks.references.serving import run, serve


class Ingress:
    def __init__(self, broker: RabbitBroker, queue: str) -> None:
        self._broker = broker
        self._queue = queue

    async def receive(self, request: web.Request) -> web.Response:
        await self._broker.publish(await request.read(), self._queue, persist=True)
        return web.Response(body=b"{}", content_type="application/json")


async def main(port: int, url: str, queue: str) -> None:
    broker = RabbitBroker(url, default_channel=Channel(publisher_confirms=True), logger=None, log_level=logging.ERROR)
    async with broker:
        await broker.start()
        await broker.declare_queue(RabbitQueue(queue, queue_type=QueueType.QUORUM, durable=True))
        application = web.Application()
        application.router.add_post("/hooks/{source}", Ingress(broker, queue).receive)
        await serve(application, port)


if __name__ == "__main__":
    run(main(int(sys.argv[1]), *sys.argv[2:4]))
