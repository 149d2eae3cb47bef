"""RabbitMQ and Redis for one run: private ones, or those that the environment names."""

import os
from contextlib import ExitStack
from functools import cached_property
from types import TracebackType
from typing import Self

from tests.services import rabbitmq, redis


class Servers:
    """Each is started when it is first asked for, and ended with the run."""

    def __init__(self) -> None:
        self._open = ExitStack()
        self._node: rabbitmq.Node | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._open.close()

    @cached_property
    def amqp_url(self) -> str:
        if url := os.environ.get(rabbitmq.VARIABLE):
            return url
        self._node = rabbitmq.Node(rabbitmq.programs())
        self._open.callback(self._node.close)
        self._node.start()
        return self._node.url

    @cached_property
    def redis_url(self) -> str:
        if url := os.environ.get(redis.VARIABLE):
            return url
        server = redis.Server(redis.program())
        self._open.callback(server.close)
        server.start()
        return server.url

    def rabbitmq_pids(self) -> list[int]:
        """The processes of the private RabbitMQ; none of one that the environment names, whose costs nobody knows."""
        return [self._node.pid] if self._node is not None and self._node.pid is not None else []
