"""Certificates made by openssl, and a TLS listener in front of the local warehouse."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from seakernel.local import LocalWarehouse

# For `openssl ca`, which alone can make certificates of other times than now.
CA_CONFIGURATION = """
[ca]
default_ca = own
[own]
dir = {folder}
database = {folder}/index.txt
new_certs_dir = {folder}
rand_serial = yes
default_md = sha256
policy = any
unique_subject = no
[any]
commonName = supplied
"""


@dataclass(frozen=True)
class Authority:
    """A certificate authority in a folder."""

    folder: Path

    @classmethod
    def make(cls, folder: Path) -> Authority:
        (folder / "index.txt").touch()
        (folder / "ca.cnf").write_text(CA_CONFIGURATION.format(folder=folder))
        openssl(
            *("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", folder / "ca.key", "-out", folder / "ca.pem"),
            *("-subj", "/CN=test authority", "-days", "2", "-addext", "keyUsage=critical,keyCertSign"),
        )
        return cls(folder)

    @property
    def file(self) -> Path:
        return self.folder / "ca.pem"

    @property
    def pem(self) -> bytes:
        return self.file.read_bytes()

    def issue(self, name: str, host: str, *, valid: tuple[str, str] | None = None) -> tuple[Path, Path]:
        """Returns the files of a certificate for `host`, valid from now or between two times, and of its key."""
        certificate, key, request = (self.folder / f"{name}{end}" for end in (".pem", ".key", ".csr"))
        extensions = self.folder / f"{name}.txt"
        extensions.write_text(f"subjectAltName=DNS:{host}\n")
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", request, "-subj", f"/CN={name}")
        if valid is None:
            openssl(
                *("x509", "-req", "-in", request, "-CA", self.file, "-CAkey", self.folder / "ca.key"),
                *("-CAcreateserial", "-out", certificate, "-days", "2", "-extfile", extensions),
            )
        else:
            openssl(
                *("ca", "-batch", "-notext", "-config", self.folder / "ca.cnf", "-cert", self.file),
                *("-keyfile", self.folder / "ca.key", "-in", request, "-out", certificate, "-extfile", extensions),
                *("-startdate", valid[0], "-enddate", valid[1]),
            )
        return certificate, key


def openssl(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, timeout=60)


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


@contextlib.contextmanager
def behind_tls(warehouse: LocalWarehouse, context: ssl.SSLContext) -> Iterator[str]:
    """Listens with TLS in front of the warehouse.

    Yields:
        The address for clients.
    """
    port = int(warehouse.server_hostname.rpartition(":")[2])

    def forward(plain: socket.socket) -> None:
        with (
            context.wrap_socket(plain, server_side=True) as client,
            socket.create_connection(("127.0.0.1", port)) as server,
        ):
            back = threading.Thread(target=copy, args=(server, client), daemon=True)
            back.start()
            copy(client, server)
            back.join()

    with listening(forward) as port_of_clients:
        yield f"https://localhost:{port_of_clients}"


@contextlib.contextmanager
def listening(serve_one: object) -> Iterator[int]:
    """Gives every connection to `serve_one` in a thread.

    Yields:
        The port.
    """
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=one, args=(connection,), daemon=True).start()

    def one(connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            serve_one(connection)  # type: ignore[operator]

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(timeout=5)


def copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


def closed_port() -> int:
    """A port of this machine where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
