"""Puts a spool on disk together with its publisher."""

from dataclasses import dataclass
from pathlib import Path

from hookline.broker.spool.drain import Primary
from hookline.broker.spool.files import RealFiles
from hookline.broker.spool.journal import Journal
from hookline.broker.spool.lanes import ThreadLane
from hookline.broker.spool.publisher import SpoolingPublisher
from hookline.broker.spool.spool import Spool, SpoolLimits
from hookline.schemas.errors import SettingsError

_WRITABLE_BY_ALL = 0o002


@dataclass(frozen=True, slots=True)
class SpoolSettings:
    """The folder of an installation, and limits. At most `max_draining` spooled events are in flight at a time."""

    folder: Path
    after_s: float
    max_bytes: int
    max_age_s: float
    max_draining: int


def spooling_publisher(primary: Primary, settings: SpoolSettings) -> SpoolingPublisher:
    """A publisher that is not open yet. Raises SettingsError for a folder that everybody may write to."""
    folder = settings.folder
    check_folder(folder)
    journal = Journal(folder, RealFiles())
    limits = SpoolLimits(settings.max_bytes, settings.max_age_s)
    spool = Spool(journal, limits, ThreadLane("spool writer"), ThreadLane("spool reader"))
    return SpoolingPublisher(primary, spool, after_s=settings.after_s, max_draining=settings.max_draining)


def check_folder(folder: Path) -> None:
    """Raises SettingsError for one that everybody may write to. What else is wrong with it, the spool says."""
    try:
        is_open_to_all = folder.exists() and folder.stat().st_mode & _WRITABLE_BY_ALL
    except OSError:
        return
    if is_open_to_all:
        raise SettingsError(f"spool.path: everybody may write to {folder}, and so plant events; chmod o-w it")
