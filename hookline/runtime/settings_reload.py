"""SIGHUP: reads the settings and secrets anew, and gives the parts that run what may change while they do."""

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Iterator

import msgspec

from hookline.runtime.early_signals import admit_hangup
from hookline.runtime.installation import is_rabbitmq
from hookline.runtime.service_manager import ServiceManager
from hookline.schemas.errors import SettingsError
from hookline.settings import Settings, load
from hookline.settings_sections import SECTIONS
from hookline.workers.user_code import described

log = logging.getLogger("hookline")

_STDIN = 0  # which may be closed


class SettingsReload:
    """The settings as they were read last. A file with an error changes nothing.

    `ended` is called instead if the process had a terminal, and SIGHUP says that it is gone. `names_changes` is whether
    the log says what changed.
    """

    def __init__(
        self,
        settings: Settings,
        apply: Callable[[Settings], None],
        ended: Callable[[], None],
        service_manager: ServiceManager,
        *,
        with_sources: bool,
        names_changes: bool = True,
    ) -> None:
        self.settings = settings
        self._started = settings
        self._apply = apply
        self._service_manager = service_manager
        self._with_sources = with_sources
        self._names_changes = names_changes
        self._reading: asyncio.Task[None] | None = None
        self._asked = asyncio.Event()
        on_hangup(self.read_soon, ended)

    def read_soon(self) -> None:
        """Read the settings anew. What is asked for meanwhile is read afterwards."""
        self._asked.set()
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        while self._asked.is_set():
            self._asked.clear()
            with self._service_manager.reloading():
                await self._read_once()

    async def _read_once(self) -> None:
        try:
            new = await asyncio.to_thread(load, self.settings.path, with_sources=self._with_sources)
            _check_token(self._started, new)
            self._apply(new)
        except SettingsError as error:
            log.error("the settings stay as they were: %s", error)
        except Exception as error:  # noqa: BLE001  a provider from outside checks its sources, and may raise anything
            log.error("the settings stay as they were: to read them failed with %s", described(error))
        else:
            if self._names_changes:
                _log_changes(self._started, self.settings, new)
            self.settings = new


def on_hangup(read: Callable[[], None], ended: Callable[[], None]) -> None:
    """Call `read` at SIGHUP, or `ended` if it comes from a terminal that was closed."""
    has_terminal = os.isatty(_STDIN)

    def hang_up() -> None:
        (ended if has_terminal and not os.isatty(_STDIN) else read)()

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, hang_up)
    admit_hangup()


def _check_token(started: Settings, new: Settings) -> None:
    """Raises SettingsError for a token that does not do for the host on which the process listens."""
    running = msgspec.structs.replace(started.admin, token=new.admin.token)
    if running.fault is not None:
        raise SettingsError(f"{new.path}: admin.{running.fault} (the host changes only at a restart)")


def _log_changes(started: Settings, old: Settings, new: Settings) -> None:
    """Name what changed, without values."""
    changed = sorted(name for name in {*old.sources, *new.sources} if old.sources.get(name) != new.sources.get(name))
    log.info("the settings were read anew; changed sources: %s", ", ".join(changed) or "none")
    live = {"ingress.trusted_proxies", "admin.token"}
    if old.admin.token != new.admin.token:
        log.info("admin.token changed: the new one holds from the next request to the operator's port on")
    if is_rabbitmq(started.broker) and is_rabbitmq(new.broker):
        live.add("broker.url")
        if old.broker.url != new.broker.url:
            log.info("broker.url changed: the next connection uses it")
    if fixed := [key for key in _different(started, new) if key not in live]:
        log.warning("these settings change only at a restart: %s", ", ".join(fixed))


def _different(old: Settings, new: Settings) -> Iterator[str]:
    for name in SECTIONS:
        before, after = getattr(old, name), getattr(new, name)
        for field in msgspec.structs.fields(before):
            if getattr(before, field.name) != getattr(after, field.name):
                yield f"{name}.{field.name}"
