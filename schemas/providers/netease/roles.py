"""The names of roles in D and F."""

from collections.abc import Mapping
from typing import Any

from hookline.schemas.events import (
    Role,
)

ROLES: Mapping[str | None, Role] = {"host": "host", "broadcaster": "host", "audience": "audience"}


def role_fields(name: str | None) -> Mapping[str, Any]:
    return {"role": ROLES.get(name), "role_name": name}
