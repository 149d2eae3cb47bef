"""Prints the `rabbitmqctl` commands that make RabbitMQ's users, with no more rights than each role needs.

`python deploy/rabbitmq_users.py [--vhost hookline] [--prefix hookline-]` in a virtual environment that has Hookline.
`add_user` asks for the password, or reads it from its standard input.
"""

import argparse
import re
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence

from hookline.broker.rabbitmq.topology.definitions import Definitions, event_exchange
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
    yield ["rabbitmqctl", "eval", _import(event_exchange(vhost))]
    for role, rights in ROLES.items():
        user = f"{prefix}{role}"
        yield ["rabbitmqctl", "add_user", user]
        yield ["rabbitmqctl", "set_permissions", "-p", vhost, user, rights.configure, rights.write, rights.read]
        topic = topic_permission(rights)
        if topic is not None:
            patterns = [topic["exchange"], topic["write"], topic["read"]]
            yield ["rabbitmqctl", "set_topic_permissions", "-p", vhost, user, *patterns]


def _import(found: Definitions) -> str:
    """Erlang for `eval`. `import_definitions` would take a file, which the server's own user has to be able to read."""
    return f"ok = rabbit_definitions:import_parsed({_erlang(found)})."


def _erlang(value: object) -> str:
    """The value as a term of Erlang."""
    match value:
        case bool():
            return str(value).lower()
        case str():
            return _binary(value)
        case Mapping():
            return f"#{{{', '.join(f'{_erlang(key)} => {_erlang(each)}' for key, each in value.items())}}}"
        case Sequence():
            return f"[{', '.join(map(_erlang, value))}]"
        case _:
            raise TypeError(f"{value!r} is nothing that definitions hold")


def _binary(text: str) -> str:
    """By its bytes if it has special characters: Debian's `rabbitmqctl` hands its arguments to one more shell."""
    if re.fullmatch(r"[\w .-]*", text, re.ASCII):
        return f'<<"{text}">>'
    return f"<<{','.join(map(str, text.encode()))}>>"


if __name__ == "__main__":
    main()
