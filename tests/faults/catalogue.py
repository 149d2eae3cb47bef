"""All scenes, what each needs, and the faults that are not provoked here."""

import os
import shutil
from collections.abc import Callable, Mapping, Sequence

from tests.faults import on_a_cluster, on_a_node, on_processes, on_the_network, on_the_spool
from tests.faults.scene import SCENES, Scene

INSIDE = "HOOKLINE_FAULTS_INSIDE"
"""Set in the environment of a run that has namespaces of its own."""

SHORT = "F1,F5,F52"
"""The likeliest breakers: the death of RabbitMQ, resets while publishes wait, and the death of the ingress."""

NOT_PROVOKED: Mapping[int, str] = {
    30: "it stops the start, which tests/test_rabbitmq_guard.py shows",
    31: "an operator's policy drops events in RabbitMQ, where no client sees it",
    33: "the limit of a body is far below RabbitMQ's; tests/test_rabbitmq_publish_channel.py has frames without limit",
    35: "it takes RabbitMQ minutes; tests/end_to_end/test_consumer_timeout.py waits for it",
    43: "tests/end_to_end/test_poison.py kills the process with each attempt",
    44: "no code of ours returns an event to its queue to try it again later",
    47: "it is a property of the room view, which tests/test_rooms.py has in every order",
    48: "an event cannot be days late in a run; tests/test_times.py moves the clock",
    59: "no power is cut here; tests/spool/test_spool_crash_points.py forgets what was not synced",
    65: "it needs a load balancer; tests/test_compose_setup.py has HAProxy",
    69: "tests/end_to_end/test_blocked_log.py blocks the log",
    71: "tests/end_to_end/test_ordered_deploy.py and `make chaos` run two versions together",
}


def _has_namespaces() -> bool:
    return INSIDE in os.environ and all(map(shutil.which, ("ip", "nft", "ss", "mount")))


_NEEDS: Mapping[str, tuple[Callable[[], bool], str]] = {
    "root": (_has_namespaces, "it needs root and namespaces of its own, and ip, nft, ss and mount"),
    "strace": (on_processes.has_strace, "strace is not installed"),
    "cgroups": (on_processes.has_cgroups, "it needs root and cgroups of version 1"),
}
_MODULES = (on_a_node, on_the_network, on_a_cluster, on_the_spool, on_processes)


def scenes() -> Sequence[Scene]:
    """All scenes; those that share servers follow each other."""
    order = ("node", "postgresql", "cluster")
    return sorted(SCENES, key=lambda each: order.index(each.servers))


def chosen(names: str) -> Sequence[Scene]:
    """The scenes of faults such as `F1,F7`; all of them without names."""
    wanted = {int(name.strip().upper().removeprefix("F")) for name in names.split(",") if name.strip()}
    return [each for each in scenes() if not wanted or wanted & set(each.faults)]


def obstacle(scene: Scene) -> str | None:
    """Why a scene cannot be played on this machine."""
    return next((why for need in scene.needs for is_there, why in [_NEEDS[need]] if not is_there()), None)
