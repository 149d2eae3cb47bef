"""Makes the secrets that compose.yaml mounts: `python3 compose_secrets.py [FOLDER]`, by default into .secrets.

What is there already is left alone, so it can be run again at any time. The providers' secrets are random: write the
real ones into their files (and restart the doors), or let `hookline send` sign with these to try things out.
"""

import base64
import hashlib
import json
import os
import secrets
import sys
from pathlib import Path

PROVIDERS = ("krtc_secret", "roomkit_token", "netease_app_secret", "cloudroom_secret", "gme_secret")
DEFINITIONS = "rabbitmq_definitions.json"
DOOR, WORKER = "amqp_ingress_url", "amqp_worker_url"
VHOST = "hookline"

# Both declare what they need when they start, so both may configure it. The door can publish and cannot read what
# workers are sent; workers can read, retry and park (through the default exchange), and cannot publish events.
RIGHTS = {
    "hookline-ingress": {
        "configure": r"^hookline\.(events|unrouted)$",
        "write": r"^hookline\.(events|unrouted)$",
        "read": r"^hookline\.(events|unrouted)$",
    },
    "hookline-worker": {
        "configure": r"^hookline\.",
        "write": r"^(amq\.default|hookline\.(?!events$).+)$",
        "read": r"^hookline\.",
    },
}


def main() -> None:
    """Write what is missing."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".secrets")
    folder.mkdir(mode=0o700, exist_ok=True)
    folder.chmod(0o700)
    for name in PROVIDERS:
        write(folder / name, secrets.token_urlsafe(24))
    broker = [folder / name for name in (DEFINITIONS, DOOR, WORKER)]
    if not all(path.exists() for path in broker):  # they hold the same passwords, so they are made together
        for path in broker:
            path.unlink(missing_ok=True)
        passwords = {user: secrets.token_urlsafe(24) for user in RIGHTS}
        write(folder / DEFINITIONS, json.dumps(definitions(passwords), indent=2))
        for name, (user, password) in zip((DOOR, WORKER), passwords.items(), strict=True):
            write(folder / name, f"amqp://{user}:{password}@rabbitmq:5672/{VHOST}")


def write(path: Path, text: str) -> None:
    """Make the file if it is not there.

    Everybody may read it, because the containers' users are not you; but nobody else can enter the folder.
    """
    if path.exists():
        return
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o444), "w", encoding="utf-8") as file:
        file.write(text)
    path.chmod(0o444)
    sys.stdout.write(f"{path} is new\n")


def definitions(passwords: dict[str, str]) -> dict[str, object]:
    """RabbitMQ's users and rights. It is given hashes only."""
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
        "permissions": [{"user": user, "vhost": VHOST, **rights} for user, rights in RIGHTS.items()],
    }


def password_hash(password: str) -> str:
    """RabbitMQ's form: base64 of four bytes of salt and the SHA-256 of salt and password."""
    salt = secrets.token_bytes(4)
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


if __name__ == "__main__":
    main()
