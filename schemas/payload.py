"""Reading a provider's JSON: field types that take what providers really send, and one way to decode.

Bounds are part of the types: an identifier of a megabyte, or an integer that no database holds, is unreadable rather
than a surprise later. A decoder for a struct skips unknown fields.
"""

from typing import Annotated, Any, Literal, TypeVar

import msgspec

from schemas.envelope import Identity
from schemas.errors import Unreadable
from schemas.topics import word

MAX_ID_CHARACTERS = 512

Int = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Text = Annotated[str, msgspec.Meta(max_length=MAX_ID_CHARACTERS)]
Id = Int | Text
"""An identifier; some providers send the same one as a number here and as a string there."""
Flag = bool | Literal["true", "false"]
"""A boolean, also in quotes."""

T = TypeVar("T")
_any_decoder = msgspec.json.Decoder()


def read(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """Decode a whole body.

    Raises Unreadable for whatever is wrong with it: not JSON, not UTF-8 (also in fields that we skip), nested too deep,
    a field of another type, or an identifier out of bounds.
    """
    try:
        body.decode()
        return decoder.decode(body)
    except UnicodeDecodeError:
        raise Unreadable("the body is not UTF-8") from None
    except RecursionError:
        raise Unreadable("the body is nested too deep") from None
    except msgspec.ValidationError as error:
        raise Unreadable(f"the body does not have the documented form: {_place(error)}") from None
    except (msgspec.DecodeError, ValueError):
        raise Unreadable("the body is not JSON") from None


def read_any(body: bytes) -> Any:
    """Decode a body whose form we do not know. Raises Unreadable."""
    return read(_any_decoder, body)


def text(value: Id) -> str:
    """An identifier as text."""
    return value if isinstance(value, str) else str(value)


def optional_text(value: Id | None) -> str | None:
    """An identifier as text, or None where there is none."""
    return None if value is None else text(value)


def flag(value: Flag | None) -> bool | None:
    """A boolean, whether or not it came in quotes."""
    return value == "true" if isinstance(value, str) else value


def unknown_type(provider_type: str | int) -> str:
    """The event type under which a callback of a type that we do not know is kept: `unknown.<their type>`."""
    return f"unknown.{word(str(provider_type))}"


def unknown_facts(provider_type: str | int, payload: Any) -> tuple[str, str]:
    """The facts of a callback of unknown type: all that it says, however it is spaced and ordered."""
    return (str(provider_type), msgspec.json.encode(payload, order="deterministic").decode())


def check_identity(identity: Identity) -> Identity:
    """The identity as given, or Unreadable where an identifier holds a NUL: databases and logs choke on it."""
    if any("\0" in fact for fact in (*identity.facts, identity.subject) if isinstance(fact, str)):
        raise Unreadable("an identifier holds a NUL character")
    return identity


def _place(error: msgspec.ValidationError) -> str:
    """What was expected and where, without the value that stood there."""
    said = str(error)
    return said if said.startswith("Expected") else said.rpartition(" - at ")[2]
