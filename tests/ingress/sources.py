"""One source for each provider, with invented secrets."""

from collections.abc import Mapping

from hookline.schemas.provider import AnySource
from hookline.schemas.providers import catalogue
from tests.vector_cases import example_source

NOW_S = 1_700_000_000.0
SECRET = "the-secret-of-this-source"
OLD_SECRET = "the-one-before-it"
SOURCES: Mapping[str, AnySource] = {
    provider.example.source: example_source(provider, SECRET, OLD_SECRET) for provider in catalogue().values()
}
KRTC, VOICE, CALLS, CLASSROOM, MEETINGS = (
    SOURCES[name] for name in ("krtc-main", "voice", "calls", "classroom", "meetings")
)
