"""Redis and PostgreSQL over TLS, with certificates of a private authority, by the URLs that the pages show."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest

from hookline.runtime.installation import Installation
from hookline.schemas.errors import Unreachable
from hookline.settings import load
from hookline.workers.store import Acquired, Store
from tests.services import postgresql, redis
from tests.services.certificates import Certificate, CertificateAuthority
from tests.services.servers import free_ports


@dataclass(frozen=True, slots=True)
class Authorities:
    """The authority that signed the servers, another one, and a certificate for the client."""

    ours: CertificateAuthority
    another: CertificateAuthority
    client: Certificate
    server: Certificate
    misnamed: Certificate


@pytest.fixture(scope="module")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> Authorities:
    folder = tmp_path_factory.mktemp("certificates")
    ours, another = CertificateAuthority(folder, "ours"), CertificateAuthority(folder, "another")
    return Authorities(
        ours,
        another,
        client=ours.issue("hookline"),
        server=ours.issue("server", "IP:127.0.0.1", "DNS:localhost"),
        misnamed=ours.issue("misnamed", "DNS:elsewhere.example"),
    )


def redis_with(certificate: Certificate, authorities: Authorities, clients: str) -> redis.Server:
    (port,) = free_ports(1)
    server = redis.Server(
        redis.program(),
        more={
            "tls-port": str(port),
            "tls-cert-file": str(certificate.certificate),
            "tls-key-file": str(certificate.key),
            "tls-ca-cert-file": str(authorities.ours.certificate),
            "tls-auth-clients": clients,
        },
    )
    server.start()
    return server


def redis_url(server: redis.Server, **options: Path) -> str:
    query = "&".join(f"{name}={quote(str(path), safe='')}" for name, path in options.items())
    return f"rediss://:{redis.PASSWORD}@127.0.0.1:{server.more['tls-port']}/0?{query}"


@pytest.fixture(scope="module")
def redis_server(authorities: Authorities) -> Iterator[redis.Server]:
    """It asks for a client's certificate."""
    server = redis_with(authorities.server, authorities, "yes")
    yield server
    server.close()


@pytest.fixture(scope="module")
def misnamed_redis(authorities: Authorities) -> Iterator[redis.Server]:
    server = redis_with(authorities.misnamed, authorities, "no")
    yield server
    server.close()


@pytest.fixture(scope="module")
def postgresql_server(authorities: Authorities) -> Iterator[postgresql.Server]:
    """It takes no connection without TLS, and asks for a client's certificate."""
    server = postgresql.Server(
        postgresql.programs(),
        more={
            "ssl": "on",
            "ssl_cert_file": "../server.pem",
            "ssl_key_file": "../server.key",
            "ssl_ca_file": "../ca.pem",
        },
    )
    server.take(authorities.server.certificate, "server.pem")
    server.take(authorities.server.key, "server.key")
    server.take(authorities.ours.certificate, "ca.pem")
    rules = server.home / "data" / "pg_hba.conf"
    rules.write_text("hostssl all all 127.0.0.1/32 scram-sha-256\nhostssl all all ::1/128 scram-sha-256\n")
    server.start()
    yield server
    server.close()


def postgresql_url(server: postgresql.Server, *, host: str = "127.0.0.1", **options: Path | str) -> str:
    query = "&".join(f"{name}={quote(str(value), safe='')}" for name, value in options.items())
    return f"postgresql://hookline:{postgresql.PASSWORD}@{host}:{server.port}/postgres?{query}"


async def use(url: str, tmp_path: Path) -> None:
    """Open the store of a settings file, and let it claim and finish an event. Raises Unreachable."""
    path = tmp_path / "hookline.toml"
    path.write_text(f'[store]\nurl = "{url}"\ntimeout_s = 30\n')
    async with Installation(load(path, with_sources=False)) as installation:
        await claim(await installation.store())
        await installation.event_log()


async def claim(store: Store) -> None:
    queue, event = uuid.uuid4().hex, uuid.uuid4().hex
    assert isinstance(await store.claim(queue, event, "room"), Acquired)
    await store.finish(queue, event, subject="room")


async def test_redis_with_a_private_authority_and_a_clients_certificate(
    redis_server: redis.Server, authorities: Authorities, tmp_path: Path
) -> None:
    client = authorities.client
    url = redis_url(
        redis_server,
        ssl_ca_certs=authorities.ours.certificate,
        ssl_certfile=client.certificate,
        ssl_keyfile=client.key,
    )
    await use(url, tmp_path)


async def test_redis_that_another_authority_signed_is_refused(
    redis_server: redis.Server, authorities: Authorities, tmp_path: Path
) -> None:
    with pytest.raises(Unreachable, match="certificate verify failed"):
        await use(redis_url(redis_server, ssl_ca_certs=authorities.another.certificate), tmp_path)


async def test_redis_that_no_public_authority_signed_is_refused(redis_server: redis.Server, tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="certificate verify failed"):
        await use(redis_url(redis_server), tmp_path)


async def test_redis_by_another_name_is_refused(
    misnamed_redis: redis.Server, authorities: Authorities, tmp_path: Path
) -> None:
    with pytest.raises(Unreachable, match="certificate verify failed"):
        await use(redis_url(misnamed_redis, ssl_ca_certs=authorities.ours.certificate), tmp_path)


async def test_redis_without_a_clients_certificate_is_refused(
    redis_server: redis.Server, authorities: Authorities, tmp_path: Path
) -> None:
    with pytest.raises(Unreachable):
        await use(redis_url(redis_server, ssl_ca_certs=authorities.ours.certificate), tmp_path)


async def test_postgresql_with_a_private_authority_and_a_clients_certificate(
    postgresql_server: postgresql.Server, authorities: Authorities, tmp_path: Path
) -> None:
    url = postgresql_url(
        postgresql_server,
        sslmode="verify-full",
        sslrootcert=authorities.ours.certificate,
        sslcert=authorities.client.certificate,
        sslkey=authorities.client.key,
    )
    await use(url, tmp_path)


async def test_postgresql_that_another_authority_signed_is_refused(
    postgresql_server: postgresql.Server, authorities: Authorities, tmp_path: Path
) -> None:
    url = postgresql_url(postgresql_server, sslmode="verify-full", sslrootcert=authorities.another.certificate)
    with pytest.raises(Unreachable, match="certificate verify failed"):
        await use(url, tmp_path)


async def test_postgresql_by_another_name_is_refused(
    postgresql_server: postgresql.Server, authorities: Authorities, tmp_path: Path
) -> None:
    """The certificate is for 127.0.0.1 and localhost; the URL names the host `elsewhere` at that address."""
    url = postgresql_url(
        postgresql_server,
        host="elsewhere.example",
        hostaddr="127.0.0.1",
        sslmode="verify-full",
        sslrootcert=authorities.ours.certificate,
    )
    with pytest.raises(Unreachable, match="does not match"):
        await use(url, tmp_path)


async def test_postgresql_that_wants_tls_refuses_a_client_without(
    postgresql_server: postgresql.Server, tmp_path: Path
) -> None:
    with pytest.raises(Unreachable):
        await use(postgresql_url(postgresql_server, sslmode="disable"), tmp_path)
