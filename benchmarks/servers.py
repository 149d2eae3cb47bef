"""RabbitMQ and Redis for one run: private servers, or those that the environment names."""

import os
from contextlib import ExitStack
from functools import cached_property, partial
from types import TracebackType
from typing import Self

from benchmarks.accounting import Processes
from benchmarks.queues import server_version
from tests.services import rabbitmq, redis


class Servers:
    """Each server starts when it is first needed, and ends with the run."""

    def __init__(self) -> None:
        self._open = ExitStack()
        self._node: rabbitmq.Node | None = None
        self._redis: redis.Server | None = None

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
        self._redis = redis.Server(redis.program(), fsync="everysec")  # the mode that Redis recommends
        self._open.callback(self._redis.close)
        self._redis.start()
        return self._redis.url

    def versions(self) -> dict[str, str]:
        """The versions of the servers that the rows used, where they report one."""
        return {"RabbitMQ": server_version(self.amqp_url)} if "amqp_url" in vars(self) else {}

    def groups(self) -> dict[str, Processes]:
        """The processes of the private servers. CPU time of servers that the environment names is unknown."""
        pids = {"rabbitmq": self._node and self._node.pid, "redis": self._redis and self._redis.pid}
        return {name: partial(list, [pid]) for name, pid in pids.items() if pid is not None}
