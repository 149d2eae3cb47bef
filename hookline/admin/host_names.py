"""The names under which the operator's port may be asked for.

A site can have its name point to a visitor's own machine, and then read in the visitor's browser what that machine
serves (DNS rebinding). The browser sends the site's name as `Host`.
"""

from collections.abc import Collection
from urllib.parse import urlsplit

from hookline.aio.name_lookup import is_address


def is_own_name(host: str, names: Collection[str]) -> bool:
    """Whether a `Host` header names this machine: by an address, as `localhost`, or by one of these names.

    No header is none of another machine: browsers always send one, and probes in HTTP/1.0 do not.
    """
    if not host:
        return True
    try:
        name = (urlsplit(f"//{host}").hostname or "").removesuffix(".")
    except ValueError:
        return False
    return is_address(name) or name == "localhost" or name.endswith(".localhost") or name in names
