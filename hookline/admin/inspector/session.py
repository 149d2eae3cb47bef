"""Who may see the inspector's pages, and who may do something on them.

A browser cannot send the token in a header, so it exchanges it for a cookie. The cookie is signed with the token, so
that nothing is stored, and a new token ends all sessions. A form carries a value that only its own session has.
"""

import hmac
import time
from collections.abc import Callable

from aiohttp import web

SESSION_S = 12 * 3600
FORM_FIELD = "form_proof"
_COOKIE = "hookline-inspector"
_SAME_ORIGIN = frozenset({"same-origin", "none", ""})


class Sessions:
    """Signs and checks cookies and forms. Without a token everybody who reaches the port may look, and nobody may act.

    `token` gives the token of now, and `clock` Unix seconds.
    """

    def __init__(self, token: Callable[[], str], clock: Callable[[], float] = time.time) -> None:
        self._token = token
        self._clock = clock

    @property
    def _key(self) -> bytes:
        return self._token().encode()

    @property
    def needs_token(self) -> bool:
        return bool(self._key)

    def is_token(self, text: str) -> bool:
        return bool(self._key) and _are_equal(text, self._key.decode())

    def may_look(self, request: web.BaseRequest) -> bool:
        return not self._key or self._has_bearer(request) or bool(self._session(request))

    def may_act(self, request: web.BaseRequest, proof: str) -> bool:
        """Whether a request with this proof in its form comes from the holder of the token, by their own will."""
        if self._has_bearer(request):  # no other site can have a browser send it
            return True
        session = self._session(request)
        return bool(session) and is_own_form(request) and _are_equal(proof, self._signed("form", session))

    def proof(self, request: web.BaseRequest) -> str:
        """What a form of this session carries; empty if its holder may not act."""
        session = self._session(request)
        return self._signed("form", session) if session else ""

    def open(self, response: web.StreamResponse, request: web.BaseRequest) -> None:
        """Begin a session with this response."""
        expires = str(int(self._clock()) + SESSION_S)
        value = f"{expires}.{self._signed('session', expires)}"
        is_secure = request.headers.get("X-Forwarded-Proto", request.scheme) == "https"
        response.set_cookie(
            _COOKIE, value, max_age=SESSION_S, path="/", httponly=True, samesite="Strict", secure=is_secure
        )

    def end(self, response: web.StreamResponse) -> None:
        response.del_cookie(_COOKIE, path="/", httponly=True, samesite="Strict")

    def _session(self, request: web.BaseRequest) -> str:
        """The valid session of a request; empty if it has none."""
        value = request.cookies.get(_COOKIE, "")
        expires, _, signature = value.partition(".")
        if not self._key or not (expires.isascii() and expires.isdecimal() and len(expires) < 16):
            return ""
        good = _are_equal(signature, self._signed("session", expires))
        return value if good and int(expires) > self._clock() else ""

    def _signed(self, purpose: str, text: str) -> str:
        return hmac.new(self._key, f"{purpose}|{text}".encode(), "sha256").hexdigest()

    def _has_bearer(self, request: web.BaseRequest) -> bool:
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        return kind.lower() == "bearer" and self.is_token(token.strip())


def _are_equal(given: str, right: str) -> bool:
    """Whether two texts are equal, in a time that says nothing about where they differ."""
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), right.encode())


def is_own_form(request: web.BaseRequest) -> bool:
    """Whether the browser says that one of our own pages has sent the request."""
    origin, host = request.headers.get("Origin", ""), request.headers.get("Host", "")
    has_own_origin = not origin or origin.partition("://")[2] == host
    return has_own_origin and request.headers.get("Sec-Fetch-Site", "") in _SAME_ORIGIN


def is_embedded_elsewhere(request: web.BaseRequest) -> bool:
    """Whether the browser says that a page of another site embeds or fetches this one. A link from there is none.

    Such a page can read nothing of the answer. But it could take all live views, and keep the others waiting.
    """
    site, use = request.headers.get("Sec-Fetch-Site", ""), request.headers.get("Sec-Fetch-Dest", "")
    return site not in _SAME_ORIGIN and use != "document"
