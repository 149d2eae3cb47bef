"""Prints the `rabbitmqctl` commands that make RabbitMQ's users, with no more rights than each role needs.

`python deploy/rabbitmq_users.py [--vhost hookline] [--prefix hookline-]` in a virtual environment that has Hookline.
`add_user` asks for the password, or reads it from its standard input.
"""

import argparse
import shlex
import sys
from collections.abc import Iterator

from hookline.broker.rabbitmq.topology.rights import ROLES, topic_permission


def main() -> None:
    arguments = _arguments()
    for command in commands(arguments.vhost, arguments.prefix):
        sys.stdout.write(f"{shlex.join(command)}\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Print the commands that make the users of RabbitMQ.")
    parser.add_argument("--vhost", default="hookline", help="the virtual host (hookline)")
    parser.add_argument("--prefix", default="hookline-", help="what the users' names begin with (hookline-)")
    return parser.parse_args()


def commands(vhost: str, prefix: str) -> Iterator[list[str]]:
    """The commands as lists of words, in the order in which they have to run."""
    yield ["rabbitmqctl", "add_vhost", vhost]
    for role, rights in ROLES.items():
        user = f"{prefix}{role}"
        yield ["rabbitmqctl", "add_user", user]
        yield ["rabbitmqctl", "set_permissions", "-p", vhost, user, rights.configure, rights.write, rights.read]
        topic = topic_permission(rights)
        if topic is not None:
            patterns = [topic["exchange"], topic["write"], topic["read"]]
            yield ["rabbitmqctl", "set_topic_permissions", "-p", vhost, user, *patterns]


if __name__ == "__main__":
    main()
