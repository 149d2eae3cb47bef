"""Mistakes in `@worker`: each stops the start with one sentence that names the line of the team's file."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol, TypeVar

import pytest

from hookline import Delivery, worker
from hookline.events import CanonicalEvent, Event, ParticipantJoined, ParticipantLeft, RoomCreated
from hookline.runtime.worker_files import find_workers
from hookline.schemas.errors import SettingsError
from hookline.schemas.event_kinds.rooms import ParticipantEvent
from hookline.workers.declare import Handler

HEAD = """from hookline import Backoff, Delivery, worker
from hookline.events import Event, ParticipantJoined, ParticipantLeft, RoomCreated
import json, os


"""

OPENER = "import contextlib\n@contextlib.asynccontextmanager\nasync def pool(): yield"

MISTAKES = {
    "a state that was called": (
        f"{OPENER}\n@worker(RoomCreated, state=pool())\nasync def w(event): ...",
        "w: state is what the function returned; name the function itself, without brackets",
    ),
    "an option that does not exist": (
        "@worker(ParticipantJoined, order=True)\nasync def w(event): ...",
        "there is no option 'order' of @worker; did you mean ordered?",
    ),
    "an option of another framework": (
        "@worker(ParticipantJoined, max_retries=3)\nasync def w(event): ...",
        "there is no option 'max_retries' of @worker",
    ),
    "transaction for transactional": (
        "@worker(ParticipantJoined, transaction=True)\nasync def w(event, delivery): ...",
        "did you mean transactional?",
    ),
    "a number in quotes": (
        "@worker(ParticipantJoined, timeout_s='5')\nasync def w(event): ...",
        "timeout_s is str, and must be a number of seconds",
    ),
    "a number for a flag": (
        "@worker(ParticipantJoined, ordered=1)\nasync def w(event): ...",
        "ordered is 1, and must be True or False",
    ),
    "a flag for a number": (
        "@worker(ParticipantJoined, concurrency=True)\nasync def w(event): ...",
        "concurrency is True, and must be a whole number",
    ),
    "attempts for a Backoff": (
        "@worker(ParticipantJoined, retry=3)\nasync def w(event): ...",
        "retry is 3, and must be a Backoff(…)",
    ),
    "an impossible Backoff": (
        "@worker(ParticipantJoined, retry=Backoff(attempts=0))\nasync def w(event): ...",
        "Backoff needs first_s",
    ),
    "a Backoff of a text": (
        "@worker(ParticipantJoined, retry=Backoff(first_s='1'))\nasync def w(event): ...",
        "first_s of Backoff is str, and must be a number",
    ),
    "a time-out without end": (
        "@worker(ParticipantJoined, timeout_s=float('inf'))\nasync def w(event): ...",
        "timeout_s is inf, and must be more than 0, and at most a year (31536000)",
    ),
    "a time-out of more than a year": (
        "@worker(ParticipantJoined, timeout_s=1e9)\nasync def w(event): ...",
        "timeout_s is 1000000000.0, and must be more than 0, and at most a year",
    ),
    "a wait without order": (
        "@worker(ParticipantJoined, hold_s=5)\nasync def w(event): ...",
        "hold_s and reorder_s need ordered=True",
    ),
    "a topic of two words": (
        '@worker(topic="participant.joined")\nasync def w(event): ...',
        "<provider>.<source>.<entity>.<action>, such as '*.*.participant.joined'; `hookline topics` lists them",
    ),
    "a topic with a misspelt action": (
        '@worker(topic="*.*.participant.join")\nasync def w(event): ...',
        "such as '*.*.participant.joined'",
    ),
    "a topic of five words": ('@worker(topic="*.*.*.*.*")\nasync def w(event): ...', "matches no event"),
    "a topic that is no text": (
        "@worker(topic=5)\nasync def w(event): ...",
        "topic is 5, and must be one text, such as",
    ),
    "several topics": (
        "@worker(topic=['*.*.room.*', '*.*.call.*'])\nasync def w(event): ...",
        "topic is list, and must be one text, such as 'krtc.*.room.*'",
    ),
    "an event type in quotes": (
        "@worker('ParticipantJoined')\nasync def w(event): ...",
        "'ParticipantJoined' is a text; write ParticipantJoined without quotes to name the event type",
    ),
    "a class": ("@worker(ParticipantJoined)\nclass Billing: ...", "Billing is a class; decorate an async function"),
    "a lambda": ("w = worker(ParticipantJoined)(lambda event: None)", "a lambda is not an async function; write"),
    "a third parameter": (
        "@worker(ParticipantJoined)\nasync def w(event, delivery, db): ...",
        "w takes 3 parameters; a worker takes an event, and a Delivery if it wants, whose `state` has what else",
    ),
    "the topic of an event": (
        "@worker('participant.joined')\nasync def w(event): ...",
        "'participant.joined' is a text; write ParticipantJoined to name the event type",
    ),
    "a topic without its keyword": (
        '@worker("*.*.room.*")\nasync def w(event): ...',
        "'*.*.room.*' is no event type; write topic='*.*.room.*' to name a topic",
    ),
    "no brackets": (
        "@worker\nasync def w(event): ...",
        "@worker stands without brackets above 'w'; name the events that it wants: @worker(ParticipantJoined)",
    ),
    "nothing in the brackets": ("@worker()\nasync def w(event): ...", "@worker takes either event types or topic=..."),
    "a list of events": (
        "@worker([ParticipantJoined])\nasync def w(event): ...",
        "name each event by itself: @worker(ParticipantJoined)",
    ),
    "a union of events": (
        "@worker(ParticipantJoined | ParticipantLeft)\nasync def w(event): ...",
        "name each event by itself: @worker(ParticipantJoined, ParticipantLeft)",
    ),
    "a class that is no event": ("@worker(dict)\nasync def w(event): ...", "dict is no event type"),
    "a function that is not async": (
        "@worker(ParticipantJoined)\ndef w(event): ...",
        "w is not an async function; write `async def w`",
    ),
    "no parameter": ("@worker(ParticipantJoined)\nasync def w(): ...", "w takes 0 parameters"),
    "a keyword that nobody passes": (
        "@worker(ParticipantJoined)\nasync def w(event, *, pool): ...",
        "w needs the keyword 'pool', which a worker does not pass",
    ),
    "another event in the annotation": (
        "@worker(ParticipantJoined)\nasync def w(event: ParticipantLeft): ...",
        "'event' is annotated with ParticipantLeft, which @worker(…) does not name",
    ),
    "one event more in the annotation": (
        "@worker(ParticipantJoined)\nasync def w(event: ParticipantJoined | ParticipantLeft): ...",
        "'event' is annotated with ParticipantLeft, which @worker(…) does not name",
    ),
    "one event less in the annotation": (
        "@worker(ParticipantJoined, ParticipantLeft)\nasync def w(event: ParticipantJoined): ...",
        "@worker(…) names ParticipantLeft, but 'event' is not annotated with it",
    ),
    "an event that the topic does not match": (
        '@worker(topic="*.*.room.*")\nasync def w(event: ParticipantJoined): ...',
        "'event' is annotated with ParticipantJoined, which topic '*.*.room.*' does not match",
    ),
    "parameters in the wrong order": (
        "@worker(ParticipantJoined)\nasync def w(delivery: Delivery, event: ParticipantJoined): ...",
        "'delivery' is the first parameter, which receives the event, but is annotated with Delivery",
    ),
    "two events as parameters": (
        "@worker(ParticipantJoined)\nasync def w(event: ParticipantJoined, left: ParticipantLeft): ...",
        "'left' receives the Delivery, but is annotated with ParticipantLeft",
    ),
    "a state that is not decorated": (
        "async def pool():\n    yield 1\n@worker(RoomCreated, state=pool)\nasync def w(event): ...",
        "state pool gives no async context manager; decorate it with @asynccontextmanager",
    ),
    "a state that is an async function": (
        "async def pool(): ...\n@worker(RoomCreated, state=pool)\nasync def w(event): ...",
        "state pool gives no async context manager",
    ),
    "a state of a class": (
        "@worker(RoomCreated, state=dict)\nasync def w(event): ...",
        "state dict gives no async context manager",
    ),
    "a middleware that is async": (
        "async def log(call): ...\n@worker(RoomCreated, middleware=[log])\nasync def w(event): ...",
        "middleware log is async; write `def`: it takes the next step and returns one",
    ),
    "an annotation that is no event": (
        "@worker(ParticipantJoined)\nasync def w(event: int): ...",
        "'event' is the first parameter, which receives the event, but is annotated with int",
    ),
    "an annotation that is no event, in quotes": (
        "@worker(ParticipantJoined)\nasync def w(event: 'dict[str, str]', delivery: 'Missing'): ...",
        "'event' is the first parameter, which receives the event, but is annotated with dict[str, str]",
    ),
    "an annotation that is None": ("@worker(ParticipantJoined)\nasync def w(event: None): ...", "annotated with None"),
    "an annotation that is a value": (
        "from typing import Literal\n@worker(RoomCreated)\nasync def w(event: Literal['x']): ...",
        "but is annotated with typing.Literal['x']",
    ),
    "something else beside the event in the annotation": (
        "@worker(ParticipantJoined)\nasync def w(event: ParticipantJoined | str): ...",
        "which receives the event, but is annotated with str",
    ),
    "a list of the event in the annotation": (
        "@worker(ParticipantJoined)\nasync def w(event: list[ParticipantJoined]): ...",
        "which receives the event, but is annotated with list[",
    ),
    "the class of the event in the annotation": (
        "@worker(ParticipantJoined)\nasync def w(event: type[ParticipantJoined]): ...",
        "which receives the event, but is annotated with type[",
    ),
    "an annotation that is no event, with a topic": (
        '@worker(topic="#")\nasync def w(event: bytes): ...',
        "which receives the event, but is annotated with bytes",
    ),
    "an annotation with the base of other events": (
        "from hookline.schemas.event_kinds.media import Track\n@worker(RoomCreated)\nasync def w(event: Track): ...",
        "@worker(…) names RoomCreated, but 'event' is not annotated with it",
    ),
    "another second parameter": (
        "@worker(ParticipantJoined)\nasync def w(event: ParticipantJoined, tries: int): ...",
        "'tries' receives the Delivery, but is annotated with int",
    ),
    "a default that is never used": (
        "@worker(ParticipantJoined)\nasync def w(event, tries=3): ...",
        "'tries' receives the Delivery, so that its default 3 is never used; write `*, tries=3` to keep it",
    ),
    "three parameters": (
        "@worker(ParticipantJoined)\nasync def w(event, delivery, tries=3): ...",
        "w takes 3 parameters; a worker takes an event, and a Delivery if it wants",
    ),
    "a method": (
        "class Calls:\n    @worker(ParticipantJoined)\n    async def w(self, event): ...",
        "w is a method: its 'self' would receive the event; decorate a function",
    ),
    "a static method": (
        "class Calls:\n    @worker(ParticipantJoined)\n    @staticmethod\n    async def w(event): ...",
        "w is a method; decorate a function of the module",
    ),
    "a generator": (
        "@worker(ParticipantJoined)\nasync def w(event):\n    yield",
        "w has a `yield`, which makes it a generator; a worker's function returns nothing",
    ),
    "an object": ("worker(ParticipantJoined)(json.JSONDecoder())", "decorates an async function, not JSONDecoder"),
    "two decorators": (
        "@worker(ParticipantJoined)\n@worker(ParticipantLeft)\nasync def w(event): ...",
        "@worker(…) stands twice above 'w'; name all events in one: @worker(A, B)",
    ),
    "a queue that is no name": ('@worker(RoomCreated, queue="Not A Name")\nasync def w(event): ...', "is not a name"),
}


@pytest.fixture(autouse=True)
def path_restored() -> Iterator[None]:
    before = list(sys.path)
    yield
    sys.path[:] = before


def refusal(folder: Path, code: str) -> tuple[Path, str]:
    """A worker's file with this code, and the sentence that refuses it."""
    file = folder / "mine.py"
    file.write_text(HEAD + code + "\n")
    with pytest.raises(SettingsError) as refused:
        find_workers([str(file)])
    return file, str(refused.value)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_refused_with_the_line_of_the_file(tmp_path: Path, mistake: str) -> None:
    code, sentence = MISTAKES[mistake]
    file, refused = refusal(tmp_path, code)
    assert re.match(rf"{re.escape(str(file))}:(6|7|8|9): ", refused)
    assert sentence in refused


ERRORS = {
    "a key that is missing": ("URL = {}['NOT_SET_ANYWHERE']", "KeyError: 'NOT_SET_ANYWHERE'"),
    "an error within the standard library": ("CONFIG = json.loads('{')", "JSONDecodeError"),
    "an error of their own": ("raise RuntimeError('no')", "RuntimeError: no"),
}


@pytest.mark.parametrize("error", ERRORS)
def test_a_file_that_fails_is_blamed_at_its_own_line(tmp_path: Path, error: str) -> None:
    code, sentence = ERRORS[error]
    file, refused = refusal(tmp_path, code)
    assert refused.startswith(f"{file} cannot be imported: ")
    assert sentence in refused
    assert refused.endswith(f", in {file}:6")


REMEDIES = {
    "a variable that is not set": (
        "URL = os.environ['NOT_SET_ANYWHERE']",
        "KeyError: 'NOT_SET_ANYWHERE', in {file}:6: the environment has no such variable; set it",
    ),
    "an event instead of its type": (
        "@worker(ParticipantJoined())\nasync def w(event): ...",
        ", in {file}:6; ParticipantJoined(…) makes an event: write ParticipantJoined without brackets to name its type",
    ),
    "a library of another environment": (
        "import nobody_has_this_library",
        f", in {{file}}:6; install it for {sys.executable}, or use the Hookline of the environment that has it",
    ),
}


@pytest.mark.parametrize("mistake", REMEDIES)
def test_a_file_that_fails_for_a_known_reason_says_what_to_do(tmp_path: Path, mistake: str) -> None:
    code, sentence = REMEDIES[mistake]
    file, refused = refusal(tmp_path, code)
    assert refused.endswith(sentence.format(file=file))


@pytest.mark.parametrize(
    "topic",
    ["#", "*.*.#", "krtc.#", "#.joined", "*.*.*.*", "*.*.unknown.*", "*.*.unknown.x-y", "*.*.unreadable", "*.*.*"],
)
def test_a_topic_that_some_event_has_is_taken(topic: str) -> None:
    async def handle(event: Event) -> None: ...

    assert worker(topic=topic)(handle).patterns == (topic,)


@pytest.mark.parametrize("hint", [Any, CanonicalEvent, Event, "NotImportedHere", ParticipantJoined | ParticipantLeft])
def test_an_annotation_that_covers_the_events_is_taken(hint: Any) -> None:
    async def handle(event: Any) -> None: ...

    handle.__annotations__["event"] = hint
    handler: Handler[Any, Any] = handle
    assert worker(ParticipantJoined, ParticipantLeft)(handler).events == (ParticipantJoined, ParticipantLeft)


class _HasRoom(Protocol):
    room_id: str


T = TypeVar("T")


@pytest.mark.parametrize(
    "hint", [Any, object, T, _HasRoom, CanonicalEvent, ParticipantEvent, "Missing", RoomCreated | None]
)
def test_an_annotation_that_admits_the_event_is_taken(hint: Any) -> None:
    event = RoomCreated if hint == RoomCreated | None else ParticipantJoined

    async def handle(event: Any, delivery: Delivery[Any] | None = None) -> None: ...

    handle.__annotations__["event"] = hint
    handler: Handler[Any, Any] = handle
    assert worker(event)(handler).takes_delivery


@pytest.mark.parametrize("hint", [Any, object, T, "Missing", Delivery, Delivery[int], Delivery[Any] | None])
def test_an_annotation_that_admits_the_delivery_is_taken(hint: Any) -> None:
    async def handle(event: RoomCreated, delivery: Any) -> None: ...

    handle.__annotations__["delivery"] = hint
    handler: Handler[Any, Any] = handle
    assert worker(RoomCreated)(handler).takes_delivery


def test_default_values_beside_the_event_are_taken() -> None:
    async def handle(event: RoomCreated, *, verbose: bool = False) -> None: ...

    assert worker(RoomCreated)(handle).takes_delivery is False
