"""What `@worker` refuses of events and options, so that a mistake stops the start and not an event."""

import inspect
import types
import typing
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from hookline.schemas import topics
from hookline.schemas.envelope import UNREADABLE
from hookline.schemas.events import EVENT_TYPES, CanonicalEvent, Unknown, event_topic
from hookline.schemas.near_names import nearest
from hookline.workers.api import YEAR_S, Backoff

MAX_CONCURRENCY = 10_000
_UNKNOWN = event_topic(Unknown)
ANY_EVENT = frozenset(EVENT_TYPES.values())
_KINDS: Mapping[str, tuple[type | tuple[type, ...], str]] = {
    "queue": (str, "a text"),
    "concurrency": (int, "a whole number"),
    "timeout_s": ((int, float), "a number of seconds"),
    "retry": (Backoff, "a Backoff(…)"),
    "middleware": ((list, tuple), "a list of functions"),
    "ordered": (bool, "True or False"),
    "hold_s": ((int, float), "a number of seconds"),
    "reorder_s": ((int, float), "a number of seconds"),
    "latest_only": (bool, "True or False"),
    "transactional": (bool, "True or False"),
}


def check_events(events: Collection[Any], topic: str | None) -> None:
    """Raise TypeError unless there are either event types or a topic, and ValueError for a topic that nothing has."""
    for event in events:
        if not is_event(event):
            raise TypeError(_no_event(event))
    if bool(events) == (topic is not None):
        raise TypeError(
            "@worker takes either event types or topic=..., one of the two: @worker(ParticipantJoined), "
            'or @worker(topic="krtc.*.room.*")'
        )
    if topic is not None and not isinstance(topic, str):
        raise TypeError(f"topic is {kind_of(topic)}, and must be one text, such as 'krtc.*.room.*'")
    if topic is not None and not any(can_match(topic, each) for each in (*EVENT_TYPES, UNREADABLE)):
        raise ValueError(
            f"topic {topic!r} matches no event: a topic is <provider>.<source>.<entity>.<action>, such as "
            f"'{_nearest_topic(topic)}'; `hookline topics` lists them"
        )


def can_match(pattern: str, event_type: str) -> bool:
    """Whether some provider and source could send a topic of this type that matches. Raises ValueError if malformed."""
    words = {"x", *(word for word in pattern.split(".") if word not in {"*", "#"})}
    last = words if event_type == _UNKNOWN else {""}
    key = topics.binding(pattern)
    return any(
        topics.matches(key, topics.routing_key(topics.topic(provider, source, f"{event_type}.{each}".rstrip(".")), ""))
        for provider in words
        for source in words
        for each in last
    )


def check_options(options: Mapping[str, Any], state: Any, name: str, *, takes_delivery: bool) -> None:
    """Raise TypeError or ValueError for an option that does not exist, or that cannot be met."""
    for option, value in options.items():
        if option not in _KINDS:
            near = nearest(option, [*_KINDS, "topic", "state"])
            raise TypeError(f"there is no option {option!r} of @worker{f'; did you mean {near}?' if near else ''}")
        kind, expected = _KINDS[option]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise TypeError(f"{option} is {kind_of(value)}, and must be {expected}")
    if isinstance(state, AbstractAsyncContextManager):
        raise TypeError(f"{name}: state is what the function returned; name the function itself, without brackets")
    if not all(callable(each) for each in options.get("middleware", ())) or not (state is None or callable(state)):
        raise TypeError(f"{name}: middleware is a list of functions, and state is a function")
    _check_called(options.get("middleware", ()), state)
    if not 1 <= options.get("concurrency", 1) <= MAX_CONCURRENCY:
        raise ValueError(f"concurrency is {options['concurrency']}, and must be 1 to {MAX_CONCURRENCY}")
    if not 0 < options.get("timeout_s", 1) <= YEAR_S:
        raise ValueError(f"timeout_s is {options['timeout_s']}, and must be more than 0, and at most a year (31536000)")
    if not options.get("ordered", False) and not options.keys().isdisjoint({"hold_s", "reorder_s"}):
        raise ValueError("hold_s and reorder_s need ordered=True")
    if options.get("transactional", False) and not takes_delivery:
        raise TypeError(f"{name} is transactional, but takes no Delivery to have its transaction from")


def is_event(value: Any) -> bool:
    """Whether this is an event type."""
    return isinstance(value, type) and value in ANY_EVENT


def _check_called(middleware: Collection[Any], state: Any) -> None:
    """Raise TypeError for functions whose kind shows that they give what cannot be used."""
    for each in middleware:
        if inspect.iscoroutinefunction(each):
            raise TypeError(f"middleware {each.__name__} is async; write `def`: it takes the next step and returns one")
    if _gives_no_context(state):
        raise TypeError(f"state {state.__name__} gives no async context manager; decorate it with @asynccontextmanager")


def _gives_no_context(state: Any) -> bool:
    if isinstance(state, type):
        return not hasattr(state, "__aenter__")
    is_undecorated = inspect.isasyncgenfunction(state) or inspect.isgeneratorfunction(state)
    return inspect.iscoroutinefunction(state) or is_undecorated


def union_members(hint: Any) -> Sequence[Any]:
    """The alternatives of a union, or the only one."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return [member for each in typing.get_args(hint) for member in union_members(each)]
    return [hint]


def _no_event(value: Any) -> str:
    if inspect.isfunction(value):
        return (
            f"@worker stands without brackets above {value.__name__!r}; name the events that it wants: "
            "@worker(ParticipantJoined)"
        )
    if isinstance(value, str):
        return _no_event_but_text(value)
    if isinstance(value, CanonicalEvent):
        return f"@worker takes event types, not an event: {type(value).__name__}"
    members = value if isinstance(value, list | tuple | set) and value else union_members(value)
    if all(map(is_event, members)):
        return f"name each event by itself: @worker({names_of(members)})"
    return f"{getattr(value, '__name__', kind_of(value))} is no event type; `hookline topics` lists them"


def _no_event_but_text(text: str) -> str:
    if text in {each.__name__ for each in ANY_EVENT}:
        return f"{text!r} is a text; write {text} without quotes to name the event type"
    if text in EVENT_TYPES:
        return f"{text!r} is a text; write {EVENT_TYPES[text].__name__} to name the event type"
    return f"{text!r} is no event type; write topic={text!r} to name a topic"


def _nearest_topic(topic: str) -> str:
    return f"*.*.{nearest('.'.join(topic.split('.')[-2:]), EVENT_TYPES) or 'participant.joined'}"


def kind_of(value: Any) -> str:
    return repr(value) if isinstance(value, bool | int | float) or value is None else type(value).__name__


def names_of(kinds: Collection[Any]) -> str:
    """Classes and annotations, as a team writes them."""
    plain = (each for each in kinds if typing.get_origin(each) is None)
    others = (str(each) for each in kinds if typing.get_origin(each) is not None)
    return ", ".join(sorted([*(getattr(each, "__name__", str(each)) for each in plain), *others]))
