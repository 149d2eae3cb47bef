"""What `@worker` refuses, so that a mistake stops the start and not an event."""

import difflib
import inspect
import typing
from collections.abc import Callable, Collection, Mapping
from typing import Any

from hookline.schemas import topics
from hookline.schemas.envelope import UNREADABLE
from hookline.schemas.events import EVENT_TYPES, CanonicalEvent, Unknown, event_topic
from hookline.workers.api import Backoff, Delivery

MAX_CONCURRENCY = 10_000
_UNKNOWN = event_topic(Unknown)
_ANY_TYPE = frozenset(EVENT_TYPES.values())
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
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def check_events(events: Collection[Any], topic: str | None) -> None:
    """Raise TypeError unless there are either event types or a topic, and ValueError for a topic that nothing has."""
    for event in events:
        if not (isinstance(event, type) and _event_types(event)):
            raise TypeError(_no_event(event))
    if bool(events) == (topic is not None):
        raise TypeError(
            "@worker takes either event types or topic=..., one of the two: @worker(ParticipantJoined), "
            'or @worker(topic="krtc.*.room.*")'
        )
    if topic is not None and not isinstance(topic, str):
        raise TypeError(f"topic is {_kind(topic)}, and must be a text")
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
            near = difflib.get_close_matches(option, [*_KINDS, "topic", "state"], n=1)
            raise TypeError(f"there is no option {option!r} of @worker{f'; did you mean {near[0]}?' if near else ''}")
        kind, expected = _KINDS[option]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise TypeError(f"{option} is {_kind(value)}, and must be {expected}")
    if not all(callable(each) for each in options.get("middleware", ())) or not (state is None or callable(state)):
        raise TypeError(f"{name}: middleware is a list of functions, and state is a function")
    if not 1 <= options.get("concurrency", 1) <= MAX_CONCURRENCY:
        raise ValueError(f"concurrency is {options['concurrency']}, and must be 1 to {MAX_CONCURRENCY}")
    if not 0 < options.get("timeout_s", 1) < float("inf"):
        raise ValueError(f"timeout_s is {options['timeout_s']}, and must be more than 0")
    if not options.get("ordered", False) and not options.keys().isdisjoint({"hold_s", "reorder_s"}):
        raise ValueError("hold_s and reorder_s need ordered=True")
    if options.get("transactional", False) and not takes_delivery:
        raise TypeError(f"{name} is transactional, but takes no Delivery to have its transaction from")


def check_function(function: Any, events: Collection[type[CanonicalEvent]], topic: str | None) -> bool:
    """Whether a function takes a Delivery. Raises TypeError if it cannot be a worker's function."""
    name = getattr(function, "__name__", "the function")
    if not callable(function):
        raise TypeError(f"@worker(…) decorates an async function, not {_kind(function)}")
    if not inspect.iscoroutinefunction(function):
        raise TypeError(f"{name} is not an async function; write `async def {name}`")
    parameters = list(inspect.signature(function).parameters.values())
    for each in parameters:
        if each.kind is each.KEYWORD_ONLY and each.default is each.empty:
            raise TypeError(f"{name} needs the keyword {each.name!r}, which a worker does not pass")
    taken = [each for each in parameters if each.kind in _POSITIONAL]
    if len(taken) not in (1, 2):
        raise TypeError(f"{name} takes {len(taken)} parameters; a worker takes an event, and a Delivery if it wants")
    hints = _hints(function)
    _check_event_parameter(taken[0].name, hints.get(taken[0].name), events, topic)
    if len(taken) == 2 and (wrong := _event_types(hints.get(taken[1].name))):
        raise TypeError(f"{taken[1].name!r} receives the Delivery, but is annotated with {_names(wrong)}")
    return len(taken) == 2


def _check_event_parameter(name: str, hint: Any, events: Collection[type[CanonicalEvent]], topic: str | None) -> None:
    """Raise TypeError if the annotation of the first parameter does not fit what the worker names."""
    if hint is Delivery or typing.get_origin(hint) is Delivery:
        raise TypeError(f"{name!r} is the first parameter, which receives the event, but is annotated with Delivery")
    annotated = _event_types(hint)
    if not annotated or annotated == _ANY_TYPE:
        return
    if topic is not None:
        never = {each for each in annotated if not can_match(topic, event_topic(each))}
        if never:
            raise TypeError(f"{name!r} is annotated with {_names(never)}, which topic {topic!r} does not match")
        return
    if surplus := annotated - set(events):
        raise TypeError(f"{name!r} is annotated with {_names(surplus)}, which @worker(…) does not name")
    if missing := set(events) - annotated:
        raise TypeError(f"@worker(…) names {_names(missing)}, but {name!r} is not annotated with it")


def _event_types(hint: Any) -> frozenset[type[CanonicalEvent]]:
    """The event types in an annotation: of a class, or of a union of classes."""
    options = typing.get_args(hint) or (hint,)
    return frozenset(each for each in options if each in _ANY_TYPE) if _is_hashable(options) else frozenset()


def _is_hashable(values: Collection[Any]) -> bool:
    try:
        return bool({*values})
    except TypeError:
        return False


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """The annotations as types. None of them if one names something that exists only for a type checker."""
    try:
        return typing.get_type_hints(function)
    except (NameError, AttributeError, TypeError, SyntaxError):
        return {}


def _no_event(value: Any) -> str:
    if inspect.isfunction(value):
        return (
            f"@worker stands without brackets above {value.__name__!r}; name the events that it wants: "
            "@worker(ParticipantJoined)"
        )
    if isinstance(value, str):
        return f"{value!r} is no event type; write topic={value!r} to name a topic"
    if isinstance(value, CanonicalEvent):
        return f"@worker takes event types, not an event: {type(value).__name__}"
    if named := _event_types(value):
        return f"name each event by itself: @worker({_names(named)})"
    return f"{getattr(value, '__name__', _kind(value))} is no event type; `hookline topics` lists them"


def _nearest_topic(topic: str) -> str:
    near = difflib.get_close_matches(".".join(topic.split(".")[-2:]), EVENT_TYPES, n=1)
    return f"*.*.{near[0] if near else 'participant.joined'}"


def _kind(value: Any) -> str:
    return repr(value) if isinstance(value, bool | int | float) or value is None else type(value).__name__


def _names(types: Collection[type[CanonicalEvent]]) -> str:
    return ", ".join(sorted(each.__name__ for each in types))
