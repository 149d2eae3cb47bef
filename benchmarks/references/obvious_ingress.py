"""The obvious way to put requests on a queue: publish each, and wait for its confirm. Nothing is verified.

python -m benchmarks.references.obvious_ingress PORT AMQP_URL QUEUE
"""

import sys

import aio_pika
from aiohttp import web

from benchmarks.references.serving import run, serve


class Ingress:
    def __init__(self, exchange: aio_pika.abc.AbstractExchange, queue: str) -> None:
        self._exchange = exchange
        self._queue = queue

    async def receive(self, request: web.Request) -> web.Response:
        body = await request.read()
        message = aio_pika.Message(body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
        await self._exchange.publish(message, self._queue)
        return web.Response(body=b"{}", content_type="application/json")


async def main(port: int, url: str, queue: str) -> None:
    connection = await aio_pika.connect_robust(url)
    async with connection:
        channel = await connection.channel(publisher_confirms=True)
        await channel.declare_queue(queue, durable=True, arguments={"x-queue-type": "quorum"})
        application = web.Application()
        application.router.add_post("/hooks/{source}", Ingress(channel.default_exchange, queue).receive)
        await serve(application, port)


if __name__ == "__main__":
    run(main(int(sys.argv[1]), *sys.argv[2:4]))
