"""The way to a server is encrypted where it offers that, and checked where that is asked for."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from pathlib import Path

import pytest
from pg8000.exceptions import InterfaceError

from faces.errors import UserError
from recognizer.store.address import PostgresAddress
from recognizer.store.link import _encrypted

SSL_REQUEST = bytes.fromhex("0000000804d2162f")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of localhost, signed by itself; the key is in the same file."""
    path = tmp_path_factory.mktemp("certificate") / "both.pem"
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
            "-nodes", "-keyout", str(path), "-out", "cert.pem", "-days", "2",
            "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]  # fmt: skip
    try:
        subprocess.run(make, cwd=path.parent, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no openssl here to make a certificate")
    path.write_text(path.read_text() + (path.parent / "cert.pem").read_text())
    return path


def link(mode: str, certificate: Path | None) -> socket.socket:
    """What becomes of a link to a server that offers TLS if it has a certificate."""
    ours, theirs = socket.socketpair()

    def serve() -> None:
        assert theirs.recv(8) == SSL_REQUEST
        theirs.sendall(b"N" if certificate is None else b"S")
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            try:
                with context.wrap_socket(theirs, server_side=True) as encrypted:
                    encrypted.sendall(b"hello")
            except OSError:
                theirs.close()

    threading.Thread(target=serve, daemon=True).start()
    ours.settimeout(10)
    return _encrypted(ours, PostgresAddress(f"postgresql://ann@localhost/p?sslmode={mode}"))


@pytest.mark.parametrize(
    ("mode", "root"), [("prefer", False), ("require", False), ("verify-full&sslrootcert=", True)]
)
def test_it_is_encrypted_where_the_server_offers_it(certificate, mode, root):
    with link(f"{mode}{certificate.parent / 'cert.pem' if root else ''}", certificate) as found:
        assert isinstance(found, ssl.SSLSocket)
        assert found.recv(5) == b"hello"


def test_a_server_that_nobody_vouches_for_is_refused_where_that_is_asked(certificate):
    with pytest.raises(ssl.SSLCertVerificationError):
        link("verify-full", certificate)
    with pytest.raises(UserError, match=r"sslrootcert .*none\.pem cannot be read"):
        link("verify-full&sslrootcert=none.pem", certificate)


def test_a_server_without_tls_is_used_only_where_it_may_be():
    with link("prefer", None) as found:
        assert not isinstance(found, ssl.SSLSocket)
    for mode in ("require", "verify-full"):
        with pytest.raises(InterfaceError, match="refuses SSL"):
            link(mode, None)
