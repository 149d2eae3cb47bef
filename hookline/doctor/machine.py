"""Checks of this machine: files, disk, clock and ports."""

import os
import resource
import shutil
import sqlite3
import stat
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from hookline.age import age_text
from hookline.aio.certificates import ends_at
from hookline.broker.spool.opening import check_folder
from hookline.doctor.findings import Finding, fault, ok, warning
from hookline.ingress.listening import listening_sockets, server_context
from hookline.runtime.installation import is_rabbitmq, refusals_path, spool_folder, sqlite_path
from hookline.runtime.listening import cannot_listen, is_ingress
from hookline.schemas.errors import SettingsError, Unreachable
from hookline.settings import Settings
from hookline.sqlite.faults import READ_ONLY, is_read_only, is_there, not_opened
from hookline.sqlite.schema import version

_MIN_FREE_BYTES = 200 * 2**20
_LOW_FREE_BYTES = 2 * 2**30
_BUILT_S = 1_767_225_600  # 2026-01-01: no clock that is right says less
_MIN_FILES = 1024
_EXPIRES_SOON_S = 14 * 86_400
_OTHERS_MAY_READ = stat.S_IRGRP | stat.S_IROTH
_SQLITE = "sqlite:"


def check_settings_file(path: Path) -> Iterator[Finding]:
    """Others should not read the secrets that stand in it."""
    mode = path.stat().st_mode
    if mode & _OTHERS_MAY_READ and _has_secrets(path.read_text(errors="replace")):
        yield warning(
            "secrets", f'{path} holds secrets and others may read it: chmod 600, or take them from "${{NAME}}"'
        )


def _has_secrets(text: str) -> bool:
    lines = [line.split("#")[0] for line in text.splitlines()]
    return any(
        line.strip().startswith(("secrets", "token")) and "${" not in line and "file:" not in line for line in lines
    )


def check_clock() -> Iterator[Finding]:
    now_s = time.time()
    said = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now_s))
    if now_s < _BUILT_S:
        yield fault("clock", f"it says {said}, which is in the past: signatures would count as stale; set it, run NTP")
    else:
        yield ok("clock", f"it says {said}")


def check_disk(settings: Settings) -> Iterator[Finding]:
    """The folders of the files that this installation writes."""
    urls = [url for url in (*settings.broker.urls, settings.store.url) if url.startswith(_SQLITE)]
    folders = {sqlite_path(settings, url).parent for url in urls}
    if settings.spool.path and is_rabbitmq(settings.broker):
        spool = spool_folder(settings)
        folders.add(spool if os.path.exists(spool) else spool.parent)  # noqa: PTH110  Path.exists may raise
        yield from _spool(spool)
    for folder in sorted(folders):
        yield _folder(folder)


def _spool(folder: Path) -> Iterator[Finding]:
    """With what stops the start."""
    try:
        check_folder(folder)
    except SettingsError as error:
        yield fault("spool", str(error))


def _folder(folder: Path) -> Finding:
    if _is_missing(folder):
        return fault("disk", f"{folder} does not exist: make it, or name another folder")
    if is_read_only(folder):
        return fault("disk", f"{folder} cannot be written to: {READ_ONLY}")
    if not _may(folder, os.W_OK | os.X_OK):
        return fault("disk", f"{folder} is not writable by this user: change its owner, or name another folder")
    free_bytes = shutil.disk_usage(folder).free
    text = f"{folder} has {_size(free_bytes)} free"
    if free_bytes < _MIN_FREE_BYTES:
        return fault("disk", f"{text}: events are refused when it is full; make room")
    return warning("disk", f"{text}: make room soon") if free_bytes < _LOW_FREE_BYTES else ok("disk", text)


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count >> 20} MiB"


def _is_missing(folder: Path) -> bool:
    try:
        return not stat.S_ISDIR(folder.stat().st_mode)
    except PermissionError:  # in a folder that this user may not look into, so nor may it write there
        return False
    except OSError:
        return True


def check_audit(settings: Settings) -> Iterator[Finding]:
    """Callbacks are answered as ever while the audit cannot be written, so nothing of it is a fault."""
    path = refusals_path(settings)
    if path is None:
        return
    found = _folder(path.parent)
    if found.level == "fault":
        yield warning("audit", f"audit.path: {found.text}; refused requests are not recorded meanwhile")
    elif path.is_dir():
        yield warning("audit", f"audit.path: {path} is a folder: name a file in it, or no request is recorded")


def check_sqlite(settings: Settings, part: str, url: str) -> Iterator[Finding]:
    """A file that another program or a newer version has written is found before the start."""
    path = sqlite_path(settings, url)
    try:
        exists = is_there(path)
    except Unreachable as error:
        yield fault(part, f"{part}.url: {error}")
        return
    if not exists:
        yield ok(part, f"{path} does not exist yet; the first start makes it")
        return
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
            version(connection, path)
    except (SettingsError, sqlite3.Error) as error:
        yield fault(part, f"{part}.url: {not_opened(path, error)}")
    else:
        read_only = [each for each in _files_of(path) if not _may(each, os.W_OK)]
        if read_only:
            yield fault(part, f"{part}.url: {not_opened(read_only[0], PermissionError())}")
        else:
            yield ok(part, f"{path}")


def _files_of(path: Path) -> Iterator[Path]:
    """A SQLite file and those beside it, which a restore as root may have made root's."""
    yield from (each for each in (path, Path(f"{path}-wal"), Path(f"{path}-shm")) if each.exists())


def _may(path: Path, mode: int) -> bool:
    return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)


def check_certificate(settings: Settings) -> Iterator[Finding]:
    ingress = settings.ingress
    if not ingress.tls_certificate:
        return
    try:
        server_context(ingress.tls_certificate, ingress.tls_key)
        yield _validity(ingress.tls_certificate)
    except (SettingsError, ValueError) as error:
        yield fault("tls", str(error))


def _validity(certificate: str) -> Finding:
    """How long a certificate that can be used with its key is valid. Raises ValueError if that cannot be read."""
    end = ends_at(certificate)
    left_s, day = end.timestamp() - time.time(), f"{end:%Y-%m-%d}"
    renew = "renew it, and send SIGHUP to the ingress"
    if left_s <= 0:
        return fault("tls", f"{certificate} has expired ({day}), so that no provider connects: {renew}")
    if left_s < _EXPIRES_SOON_S:
        return warning("tls", f"{certificate} expires in {age_text(left_s)} ({day}): {renew}")
    return ok("tls", f"{certificate} can be used with its key, until {day}")


def check_ports(settings: Settings) -> Iterator[Finding]:
    ingress, admin = settings.ingress, settings.admin
    try:
        for each in listening_sockets(ingress.host, ingress.port, shared=False):
            each.close()
    except OSError as error:
        if is_ingress(ingress.host, ingress.port):
            yield ok("ingress", f"an ingress answers on port {ingress.port}")
        else:
            yield fault("ingress", str(cannot_listen(ingress.host, ingress.port, error)))
    else:
        yield ok("ingress", f"port {ingress.port} is free")
    if not admin.port:
        yield warning("admin", "the operator's port is switched off, so there are no metrics: set admin.port")


def check_files(settings: Settings) -> Iterator[Finding]:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 < hard < _MIN_FILES:
        yield warning("files", f"a process may open {hard} files, and each connection takes one: raise `ulimit -n`")
    if is_rabbitmq(settings.broker) and settings.store.url.startswith(_SQLITE):
        yield warning("store", "workers on another machine would not share this file: use Redis or PostgreSQL for them")
