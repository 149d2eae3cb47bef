"""amqps with a private CA and client certificates, on a server that sets no limit to frames."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme
from yarl import URL

from hookline.aio.pulse import Pulse
from hookline.broker.rabbitmq import addresses
from hookline.broker.rabbitmq.addresses import Address
from hookline.broker.rabbitmq.broker import RabbitMQBroker
from hookline.broker.rabbitmq.connection import Connection, RabbitMQSettings
from hookline.doctor.broker import check_rabbitmq
from hookline.schemas.broker import Done
from hookline.schemas.errors import SettingsError, Unreachable
from hookline.settings import load
from tests.contract.installations import envelope, opened_rabbitmq, queue_name, taken
from tests.services.certificates import encrypt_key
from tests.services.rabbitmq import Node, programs
from tests.services.servers import free_ports


@dataclass(frozen=True)
class TlsNode:
    node: Node
    port: int
    folder: Path

    def url(self, host: str = "127.0.0.1", **files: str) -> str:
        query = {"cafile": "ca.pem", "certfile": "client.pem", "keyfile": "client.key"}
        given = {name: file for name, file in {**query, **files}.items() if file}
        return str(URL(f"amqps://guest:guest@{host}:{self.port}/").with_query(given))

    def settings(self, url: str) -> RabbitMQSettings:
        return RabbitMQSettings(url, folder=self.folder)


@pytest.fixture(scope="module")
def tls_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsNode]:
    folder = tmp_path_factory.mktemp("certificates")
    ca, other = trustme.CA(), trustme.CA()
    ca.cert_pem.write_to_path(folder / "ca.pem")
    other.cert_pem.write_to_path(folder / "other.pem")
    for name, issued in (("server", ca.issue_cert("127.0.0.1")), ("client", ca.issue_cert("client.example.com"))):
        issued.private_key_pem.write_to_path(folder / f"{name}.key")
        for pem in issued.cert_chain_pems:
            pem.write_to_path(folder / f"{name}.pem", append=True)
    (port,) = free_ports(1)
    options = {
        "cacertfile": folder / "ca.pem",
        "certfile": folder / "server.pem",
        "keyfile": folder / "server.key",
        "verify": "verify_peer",
        "fail_if_no_peer_cert": "true",
    }
    lines = [
        f"listeners.ssl.1 = 127.0.0.1:{port}",
        *(f"ssl_options.{name} = {value}" for name, value in options.items()),
    ]
    node = Node(programs(), {"frame_max": 0}, "\n".join(lines) + "\n")
    try:
        node.start()
        yield TlsNode(node, port, folder)
    finally:
        node.close()


async def test_events_pass_over_tls_and_in_frames_without_a_limit(tls_node: TlsNode) -> None:
    body = b"x" * 300_000
    async with opened_rabbitmq(tls_node.settings(tls_node.url())) as broker:
        queue = await broker.subscribe(queue_name(), ("#",), 10)
        await broker.publisher.publish(envelope(body=body))
        (received,) = await taken(queue)
        assert received.body == body
        await queue.settle(received, Done())
        assert broker.publisher.ready


@pytest.mark.parametrize(
    ("host", "files", "reason"),
    [
        pytest.param("localhost", {}, "the certificate is not valid for the name localhost", id="another name"),
        pytest.param("127.0.0.1", {"cafile": "other.pem"}, "the certificate is not trusted: ", id="another CA"),
        pytest.param(
            "127.0.0.1",
            {"certfile": "", "keyfile": ""},
            "(TLS failed: .*certificate required|.* wants another client certificate)",  # asyncio's, or uvloop's
            id="no client certificate",
        ),
    ],
)
async def test_an_error_says_what_is_wrong_with_a_certificate(
    host: str, files: dict[str, str], reason: str, tls_node: TlsNode
) -> None:
    with pytest.raises(Unreachable, match=f"RabbitMQ at {host}:{tls_node.port}: {reason}"):
        await RabbitMQBroker.open(tls_node.settings(tls_node.url(host, **files)))


async def test_tls_to_a_port_without_it_never_falls_back(tls_node: TlsNode) -> None:
    plain = str(URL(tls_node.url()).with_port(tls_node.node.port))
    with pytest.raises(Unreachable, match=f"RabbitMQ at 127.0.0.1:{tls_node.node.port}: TLS failed: "):
        await RabbitMQBroker.open(tls_node.settings(plain))


@pytest.mark.parametrize(
    ("host", "files", "remedy"),
    [
        pytest.param("localhost", {}, "use a name in broker.url that the certificate has", id="another name"),
        pytest.param("127.0.0.1", {"cafile": "other.pem"}, "name the file of its authority", id="another CA"),
        pytest.param(
            "127.0.0.1", {"certfile": "", "keyfile": ""}, "name a certificate of a client", id="no client certificate"
        ),
        pytest.param("127.0.0.1", None, "name its port for TLS in broker.url, which is 5671", id="another port"),
    ],
)
async def test_the_check_says_what_to_do_about_tls(
    host: str, files: dict[str, str] | None, remedy: str, tls_node: TlsNode
) -> None:
    url = tls_node.url(host, **(files or {}))
    if files is None:
        url = str(URL(url).with_port(tls_node.node.port))
    config = tls_node.folder / "hookline.toml"
    config.write_text(f'[broker]\nurl = "{url}"\n')
    (finding,) = await check_rabbitmq(load(config, with_sources=False), ())
    assert remedy in finding.text


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with files of a client, and with some that are of no use to it."""
    folder = tmp_path_factory.mktemp("files")
    ca = trustme.CA()
    ca.cert_pem.write_to_path(folder / "ca.pem")
    (folder / "zebra.pem").write_text("zebra")
    for name in ("client", "other"):
        issued = ca.issue_cert(f"{name}.example.com")
        issued.private_key_pem.write_to_path(folder / f"{name}.key")
        issued.private_key_and_cert_chain_pem.write_to_path(folder / f"{name}.pem")
    encrypt_key(folder / "client.key", folder / "locked.key", "hunter3")
    return folder


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        pytest.param("cafile=zebra.pem", "cafile .*zebra.pem cannot be used: no certificate or crl", id="no CA"),
        pytest.param(
            "certfile=ca.pem", "certfile .*ca.pem cannot be used with its key: a file is not in PEM", id="no key"
        ),
        pytest.param(
            "certfile=client.pem&keyfile=other.key",
            "certfile .*client.pem cannot be used with its key: key values mismatch",
            id="another key",
        ),
        pytest.param(
            "certfile=client.pem&keyfile=locked.key",
            "certfile .*client.pem cannot be used with its key: the key is encrypted",
            id="an encrypted key, whose password OpenSSL would ask for at the terminal",
        ),
        pytest.param("keyfile=client.key", "keyfile is the key of a certfile, and there is none", id="only a key"),
    ],
)
def test_a_file_of_no_use_is_named_before_connecting(query: str, expected: str, files: Path) -> None:
    with pytest.raises(SettingsError, match=f"^broker.url: {expected}") as caught:
        RabbitMQSettings(f"amqps://u:hunter2@h/?{query}", folder=files)
    assert "hunter" not in str(caught.value)


def test_files_are_read_again_only_after_a_change(files: Path) -> None:
    """A context takes most of a megabyte, and garbage of many is collected late."""
    authority = files / "replaced.pem"
    authority.write_bytes((files / "ca.pem").read_bytes())
    address = Address.read("amqps://h/?cafile=replaced.pem", folder=files)
    before = address.tls_context()
    assert address.tls_context() is before
    authority.write_bytes(trustme.CA().cert_pem.bytes())
    assert address.tls_context() is not before


def test_the_systems_authorities_are_read_again_after_a_change(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authorities = files / "system"
    authorities.mkdir()
    monkeypatch.setattr(addresses, "_AUTHORITIES", str(authorities))
    before = Address.read("amqps://h/").tls_context()
    (authorities / "another.pem").touch()
    assert Address.read("amqps://h/").tls_context() is not before


async def test_a_file_that_is_spoilt_later_is_named_and_connecting_is_tried_again(files: Path) -> None:
    """`Unreachable` is tried again; a file that is being replaced may be good a moment later."""
    renewed = files / "renewed.pem"
    renewed.write_bytes((files / "client.pem").read_bytes())
    settings = RabbitMQSettings("amqps://u:hunter2@127.0.0.1:1/?certfile=renewed.pem", folder=files)
    connection = Connection(settings, "publisher", Pulse())
    renewed.write_text("zebra")
    with pytest.raises(
        Unreachable, match=r"^RabbitMQ at 127.0.0.1:1: broker.url: certfile .*renewed.pem cannot be used"
    ):
        await connection.open()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        pytest.param("amqps://u:hunter2@h/?cafile=nowhere.pem", "cafile .*nowhere.pem cannot be read", id="no file"),
        pytest.param("amqps://u:hunter2@h/?no_verify_ssl=1", "there is no option no_verify_ssl", id="another option"),
        pytest.param("amqp://u:hunter2@h/?cafile=ca.pem", "need amqps://", id="without TLS"),
    ],
)
def test_a_wrong_option_of_an_address_is_refused(url: str, expected: str) -> None:
    with pytest.raises(SettingsError, match=expected) as caught:
        RabbitMQSettings(url)
    assert "hunter2" not in str(caught.value)
