"""What an operator or a supervisor may ask of a running process: to stop, to read the settings anew, to reconnect."""

import logging
from collections.abc import Callable
from typing import Protocol

from hookline.runtime.installation import Installation
from hookline.runtime.service_manager import ServiceManager
from hookline.runtime.settings_reload import SettingsReload
from hookline.runtime.shutdown import Stop
from hookline.runtime.supervised import BROKER_BACK, OPEN, READ_SETTINGS, STOP, STOP_NOW, Pipes, SupervisorLink
from hookline.settings import Settings

log = logging.getLogger("hookline")


class UsesSettings(Protocol):
    """A part whose settings may change while it runs."""

    def use(self, settings: Settings) -> None: ...


class Control:
    """Listens to signals, and to the supervisor if there is one. `settings` are those that were read last."""

    def __init__(self, settings: Settings, *, with_sources: bool, pipes: Pipes | None) -> None:
        self.stop = Stop(supervised=pipes is not None)
        self.installation = Installation(settings, self._broker_is_back)
        self.service_manager = ServiceManager.of_environment()
        self._checks: list[Callable[[], None]] = []
        self._users: list[UsesSettings] = [self.installation]
        self._reload = SettingsReload(
            settings, self._use, self.stop.ask, self.service_manager, with_sources=with_sources
        )
        self._link = self._linked(pipes) if pipes is not None else None
        self._is_stopping = False

    @property
    def settings(self) -> Settings:
        return self._reload.settings

    @property
    def is_supervised(self) -> bool:
        return self._link is not None

    def has_opened(self) -> None:
        """Tell the supervisor and the service manager that everything is open."""
        self.service_manager.ready()
        if self._link is not None:
            self._link.tell(OPEN)

    def stopping(self) -> None:
        """Log once that the process stops, and tell the service manager."""
        if not self._is_stopping:
            self._is_stopping = True
            log.info("stopping")
            self.service_manager.stopping()

    def gives_settings_to(self, user: UsesSettings) -> None:
        """Give a part the settings whenever they are read anew."""
        self._users.append(user)

    def checks_settings_by(self, check: Callable[[], None]) -> None:
        """Call this before any part is given settings that were read anew. If it raises SettingsError, none is."""
        self._checks.append(check)

    def close(self) -> None:
        self.service_manager.close()
        if self._link is not None:
            self._link.close()

    def _use(self, settings: Settings) -> None:
        for check in self._checks:
            check()
        for user in self._users:
            user.use(settings)

    def _broker_is_back(self) -> None:
        if self._link is not None:
            self._link.tell(BROKER_BACK)

    def _linked(self, pipes: Pipes) -> SupervisorLink:
        return SupervisorLink(
            pipes,
            {
                STOP: self.stop.ask,
                STOP_NOW: self.stop.ask_again,
                READ_SETTINGS: self._reload.read_soon,
                BROKER_BACK: self.installation.connect_soon,
            },
        )
