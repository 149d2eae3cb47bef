"""Writes what compose.yaml mounts: the settings, the secrets, and the users of RabbitMQ.

`docker compose run --rm setup` runs it in the image. Files that exist are left alone, so it can run again at any time.
The providers' secrets are random: write the real ones into their files and restart the ingress, or let `hookline send`
sign with these to try things out. The files belong to the owner of the folder.
"""

import base64
import hashlib
import json
import os
import re
import secrets
import sys
import tomllib
from pathlib import Path

from hookline.broker.rabbitmq.topology import rights as roles
from hookline.broker.rabbitmq.topology.definitions import event_exchange
from hookline.broker.rabbitmq.topology.rights import topic_permission
from hookline.cli.settings_template import source_table
from hookline.schemas.providers import catalogue

SETTINGS = "hookline.toml"
SOURCES = "sources"
DEFINITIONS = "rabbitmq_definitions.json"
PASSWORDS = ("store_password", "postgresql_password", "admin_token", "grafana_password")
NO_PASSWORD = "no_password"  # noqa: S105  mounted where the settings name a password that a role must not have
VHOST = "hookline"
RIGHTS = {f"hookline-{role}": rights for role, rights in roles.ROLES.items()}
URLS = {f"hookline-{role}": f"amqp_{role}_url" for role in roles.ROLES}
_MOUNTED = "file:/run/secrets/sources/"


def main() -> None:
    """Write what is missing."""
    folder = Path(sys.argv[1])
    become_owner(folder)
    folder.chmod(0o700)
    remove_empty_folders(folder)
    write(folder / SETTINGS, settings())
    write_secrets(folder)
    write_passwords(folder)
    write_broker_files(folder)


def become_owner(folder: Path) -> None:
    """Go on as the user that the folder belongs to, where this is root."""
    owner = folder.stat()
    if os.getuid() == 0 and owner.st_uid != 0:
        os.setgroups([])
        os.setgid(owner.st_gid)
        os.setuid(owner.st_uid)


def remove_empty_folders(folder: Path) -> None:
    """Remove what Docker may have made: an empty folder in the place of each file that it could not find to mount."""
    for path in folder.iterdir():
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()


def settings() -> str:
    """The settings, with a source for each built-in provider."""
    head = Path(__file__).with_name("settings.toml").read_text(encoding="utf-8")
    sources = [source_table(each, f"{_MOUNTED}{each.example.source}") for each in catalogue().values()]
    return "\n".join([head, *sources])


def write_secrets(folder: Path) -> None:
    """A secret for each source of the settings that takes one from a mounted file."""
    sources = folder / SOURCES
    sources.mkdir(exist_ok=True)
    sources.chmod(0o755)
    tables = tomllib.loads((folder / SETTINGS).read_text(encoding="utf-8")).get("sources", {})
    for secret in (secret for table in tables.values() for secret in table.get("secrets", ())):
        name = secret.removeprefix(_MOUNTED)
        if secret.startswith(_MOUNTED) and re.fullmatch(r"[\w.-]+", name):
            write(sources / name, base64.b64encode(secrets.token_bytes(24)).decode())


def write_passwords(folder: Path) -> None:
    """The passwords of PostgreSQL and Grafana, and the token of the operator's ports."""
    for name in PASSWORDS:
        write(folder / name, secrets.token_urlsafe(24))
    write(folder / NO_PASSWORD, "none")


def write_broker_files(folder: Path) -> None:
    """RabbitMQ's users, and the URL of each. They contain the same passwords, so they are written together."""
    paths = [folder / name for name in (DEFINITIONS, *URLS.values())]
    if all(path.exists() for path in paths):
        return
    for path in paths:
        path.unlink(missing_ok=True)
    passwords = {user: secrets.token_urlsafe(24) for user in RIGHTS}
    write(folder / DEFINITIONS, json.dumps(definitions(passwords), indent=2))
    for user, name in URLS.items():
        write(folder / name, f"amqp://{user}:{passwords[user]}@rabbitmq:5672/{VHOST}")


def write(path: Path, text: str) -> None:
    """Write the file unless it exists.

    Everybody may read it, because the containers have other users; nobody but the owner can enter the folder.
    """
    if path.exists():
        return
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), "w", encoding="utf-8") as file:
        file.write(text)
    path.chmod(0o644)
    sys.stdout.write(f"wrote {path.name}\n")


def definitions(passwords: dict[str, str]) -> dict[str, object]:
    """RabbitMQ's users and their rights, and what these name. The passwords are in it as hashes only."""
    return {
        "vhosts": [{"name": VHOST}],
        "users": [
            {
                "name": user,
                "password_hash": password_hash(password),
                "hashing_algorithm": "rabbit_password_hashing_sha256",
                "tags": [],
            }
            for user, password in passwords.items()
        ],
        "permissions": [
            {"user": user, "vhost": VHOST, "configure": rights.configure, "write": rights.write, "read": rights.read}
            for user, rights in RIGHTS.items()
        ],
        "topic_permissions": [
            {"user": user, "vhost": VHOST, **topic}
            for user, rights in RIGHTS.items()
            if (topic := topic_permission(rights)) is not None
        ],
        **event_exchange(VHOST),
    }


def password_hash(password: str) -> str:
    """RabbitMQ's form: base64 of four bytes of salt and the SHA-256 of salt and password."""
    salt = secrets.token_bytes(4)
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


if __name__ == "__main__":
    main()
