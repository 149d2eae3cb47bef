"""The canonical events, for workers to import: `from hookline.events import ParticipantJoined`."""

from hookline.schemas.events import *  # noqa: F403  the same names, under a public module
