"""Private certificate authorities for tests, made with openssl in a folder of the test."""

from dataclasses import dataclass
from pathlib import Path

from tests.services.commands import output_of

_OPENSSL_S = 60.0
_DAYS = "2"
_OF_AUTHORITY = ("basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign", "subjectKeyIdentifier=hash")
AS_AUTHORITY = tuple(word for each in _OF_AUTHORITY for word in ("-addext", each))
AS_ISSUED = ("subjectKeyIdentifier=hash", "authorityKeyIdentifier=keyid")
"""What RFC 5280 demands, and so Python from 3.13 on: words for `openssl req`, and lines of an extension file."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate and its key, as files in PEM."""

    certificate: Path
    key: Path


class CertificateAuthority:
    """An authority that nobody but the test knows. `certificate` is the file that a client has to trust."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._name = name
        self.certificate, self._key = folder / f"{name}.pem", folder / f"{name}.key"
        subject = ["-subj", f"/CN={name}", "-days", _DAYS]
        self._openssl("req", "-x509", *_new_key(self._key), "-out", str(self.certificate), *subject, *AS_AUTHORITY)

    def issue(self, name: str, *addresses: str) -> Certificate:
        """A certificate for these names, such as `IP:127.0.0.1` or `DNS:localhost`."""
        made = Certificate(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        request, extensions = self._folder / f"{name}.csr", self._folder / f"{name}.ext"
        names = [f"subjectAltName={','.join(addresses)}"] if addresses else []
        extensions.write_text("\n".join([*AS_ISSUED, *names, ""]))
        self._openssl("req", *_new_key(made.key), "-out", str(request), "-subj", f"/CN={name}")
        signer = ["-CA", str(self.certificate), "-CAkey", str(self._key), "-CAcreateserial", "-days", _DAYS]
        self._openssl(
            "x509", "-req", "-in", str(request), *signer, "-extfile", str(extensions), "-out", str(made.certificate)
        )
        made.key.chmod(0o600)
        return made

    def _openssl(self, *arguments: str) -> None:
        output_of(["openssl", *arguments], folder=self._folder, timeout_s=_OPENSSL_S)


def encrypt_key(key: Path, encrypted: Path, password: str) -> None:
    """Write a key as a file for which OpenSSL needs a password."""
    files = ["-in", str(key), "-out", str(encrypted)]
    command = ["openssl", "pkey", *files, "-aes256", "-passout", f"pass:{password}"]
    output_of(command, folder=encrypted.parent, timeout_s=_OPENSSL_S)


def _new_key(path: Path) -> list[str]:
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    return [*curve, "-nodes", "-keyout", str(path)]
