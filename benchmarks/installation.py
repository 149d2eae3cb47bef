"""A folder with the settings of `hookline init`, and the commands that run in it."""

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

from benchmarks.processes import Consumer, Ingress
from hookline.cli.settings_template import settings_file
from hookline.schemas.provider import AnySource
from hookline.settings import Settings, load
from tests.services.servers import free_ports

_DEFAULT = 'url = "sqlite:hookline.db"'
_SOURCE = re.compile(r"^\[sources\.(.+)\]$", re.MULTILINE)
USUAL = ("cloudroom", "gme", "krtc", "netease", "roomkit")
"""The providers whose callbacks make up the load. Hardly an installation has more than five."""


class Installation:
    """Hookline with its default settings, except for addresses, their limit and the sources."""

    def __init__(
        self,
        folder: Path,
        broker_url: str,
        store_url: str,
        sources_per_provider: int = 1,
        providers: Sequence[str] = USUAL,
    ) -> None:
        self.folder = folder
        self._config = folder / "hookline.toml"
        (port,) = free_ports(1)
        head, sources = _parts(settings_file(), providers)
        head = head.replace(_DEFAULT, f'url = "{broker_url}"', 1).replace(_DEFAULT, f'url = "{store_url}"', 1)
        head = head.replace("port = 8080", f"port = {port}\nmax_connections_per_address = 10000")
        copies = [_parts(settings_file(), providers)[1] for _ in range(1, sources_per_provider)]
        renamed = [_SOURCE.sub(rf"[sources.\1-{number}]", copy) for number, copy in enumerate(copies)]
        self._config.write_text(head + sources + "".join(renamed))

    @cached_property
    def settings(self) -> Settings:
        return load(self._config, with_sources=True)

    def set(self, section: str, line: str) -> None:
        """Add a section with one setting."""
        self._write(f"{section}\n{line}\n\n{self._config.read_text()}")

    def use_processes(self, count: int) -> None:
        """Have the ingress run as so many processes, which share its port."""
        port = f"port = {self.settings.ingress.port}\n"
        self._write(self._config.read_text().replace(port, f"{port}processes = {count}\n", 1))

    def _write(self, text: str) -> None:
        self._config.write_text(text)
        self.__dict__.pop("settings", None)  # what was read before

    @property
    def sources(self) -> Mapping[str, AnySource]:
        return self.settings.sources

    def ingress(self) -> Ingress:
        arguments = ["hookline", "ingress", "--config", str(self._config)]
        return Ingress("hookline-ingress", arguments, self.folder, self.settings.ingress.port)

    def worker(self, module: str, notes_folder: Path) -> Consumer:
        arguments = ["hookline", "worker", module, "--config", str(self._config)]
        listens = bool(self.settings.admin.port)
        return Consumer("hookline-worker", arguments, self.folder, notes_folder, listens=listens)


def _parts(text: str, providers: Sequence[str]) -> tuple[str, str]:
    """The settings before the first source, and the sources of these providers."""
    head, *tables = re.split(r"^(?=\[sources\.)", text, flags=re.MULTILINE)
    return head, "".join(table for table in tables if any(f'provider = "{name}"' in table for name in providers))
