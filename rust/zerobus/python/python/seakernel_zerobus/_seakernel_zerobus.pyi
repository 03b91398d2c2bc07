"""The extension module; what is for callers is re-exported by `seakernel_zerobus`."""

from asyncio import Future
from collections.abc import Mapping, Sequence
from os import PathLike
from types import TracebackType
from typing import Any, Literal, final

from typing_extensions import Self

__all__ = ["TransmissionResult", "WrapperConfiguration", "ZerobusWrapper"]

@final
class ZerobusWrapper:
    """Sends batches of Arrow into one table, and tells what became of each row.

    Any number of threads and tasks may send at once through one wrapper; they share streams, token, limits and pauses.
    Nothing is sent before the first batch. A child of a forked process goes on with connections of its own.

    Example:
        >>> import pyarrow
        >>> from seakernel.zerobus import ZerobusWrapper
        >>> batch = pyarrow.record_batch({"id": [1, 2, 3], "name": ["one", "two", None]})
        >>> options = {"zerobus_writer_disabled": True, "debug_arrow_enabled": True, "debug_output_dir": "debug"}
        >>> with ZerobusWrapper("https://1.zerobus.eu-west-1.cloud.databricks.com", "main.default.names", **options) as wrapper:
        ...     wrapper.send_batch_sync(batch)
        TransmissionResult(success=True, total_rows=3, successful_count=3, failed_count=0, attempts=1)
    """

    def __new__(cls, *arguments: Any, **options: Any) -> Self:
        """Takes a `WrapperConfiguration`, or the arguments of one, and checks it.

        Raises:
            TypeError: an option is unknown, or its value of another type.
            ConfigurationError: a value is not accepted.
        """

    def send_batch(
        self, batch: Any, descriptor: bytes | None = None, *, traceparent: str | None = None
    ) -> Future[TransmissionResult]:
        """Sends rows, and gives the result when each of them is stored or has failed.

        Cancelling stops the waiting: rows on the wire may still be stored, others are not sent.

        Args:
            batch: A `pyarrow.RecordBatch`, a `pyarrow.Table`, or any object with `__arrow_c_array__` or
                `__arrow_c_stream__`. Tables and streams are sent batch by batch, with one result for all rows.
            descriptor: A serialised `DescriptorProto` to encode rows by; by default one is made of the schema.
            traceparent: W3C trace context that the spans of this call are below.

        Raises:
            TypeError: `batch` holds no rows.
            ConfigurationError: the wrapper was shut down, or `descriptor` is none. What is wrong with rows, or with the way to
                the service, is in the result.

        Example:
            >>> import pyarrow
            >>> from seakernel.zerobus import ZerobusWrapper
            >>> options = {"zerobus_writer_disabled": True, "debug_enabled": True, "debug_output_dir": "debug"}
            >>> async with ZerobusWrapper("https://host", "main.default.orders", **options) as wrapper:
            ...     result = await wrapper.send_batch(pyarrow.table({"id": [1, 2, 3]}))
            >>> result.successful_rows
            [0, 1, 2]
        """

    def send_batch_sync(
        self, batch: Any, descriptor: bytes | None = None, *, traceparent: str | None = None
    ) -> TransmissionResult:
        """Does what `send_batch` does, and waits for it. Other threads run meanwhile, and Ctrl-C ends the waiting.

        Example:
            >>> import pyarrow
            >>> from seakernel.zerobus import ZerobusWrapper
            >>> options = {"zerobus_writer_disabled": True, "debug_enabled": True, "debug_output_dir": "debug"}
            >>> with ZerobusWrapper("https://host", "main.default.orders", **options) as wrapper:
            ...     wrapper.send_batch_sync(pyarrow.table({"id": [1, 2, 3]})).successful_count
            3
        """

    def flush(self) -> Future[None]:
        """Waits until every batch given so far is done with, and brings debug files and telemetry to where they go.

        Raises:
            ConnectionError: it took longer than `flush_timeout_ms`.
        """

    def flush_sync(self) -> None:
        """Does what `flush` does, and waits for it.

        Example:
            >>> from seakernel.zerobus import ZerobusWrapper
            >>> options = {"zerobus_writer_disabled": True, "debug_enabled": True, "debug_output_dir": "debug"}
            >>> wrapper = ZerobusWrapper("https://host", "main.default.orders", **options)
            >>> wrapper.flush_sync()
        """

    def shutdown(self) -> Future[None]:
        """Takes no more batches, waits as `flush` does, and ends streams, debug files and telemetry.

        Once is enough, and more does no harm; `with` and `async with` do it at their end.

        Raises:
            ConnectionError: the batches under way took longer than `flush_timeout_ms`; all has ended nonetheless.
        """

    def shutdown_sync(self) -> None:
        """Does what `shutdown` does, and waits for it.

        Example:
            >>> from seakernel.zerobus import ZerobusWrapper
            >>> options = {"zerobus_writer_disabled": True, "debug_enabled": True, "debug_output_dir": "debug"}
            >>> wrapper = ZerobusWrapper("https://host", "main.default.orders", **options)
            >>> wrapper.shutdown_sync()
            >>> wrapper
            <ZerobusWrapper main.default.orders at https://host, shut down>
        """

    @property
    def config(self) -> WrapperConfiguration:
        """The options it was made with.

        Example:
            >>> from seakernel.zerobus import ZerobusWrapper
            >>> options = {"zerobus_writer_disabled": True, "debug_enabled": True, "debug_output_dir": "debug"}
            >>> wrapper = ZerobusWrapper("https://host", "main.default.orders", **options)
            >>> wrapper.config.table_name
            'main.default.orders'
        """

    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None: ...
    def __aenter__(self) -> Future[Self]: ...
    def __aexit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> Future[None]: ...

@final
class WrapperConfiguration:
    """Options of a `ZerobusWrapper`.

    All but the first two are keywords; each is a property of the same name, but for `client_secret`, which nothing shows.

    Example:
        >>> from seakernel.zerobus import WrapperConfiguration
        >>> config = WrapperConfiguration(
        ...     "https://1234567890.zerobus.eu-west-1.cloud.databricks.com",
        ...     "main.default.orders",
        ...     client_id="2c5a1d9e",
        ...     client_secret="...",
        ...     unity_catalog_url="https://workspace.cloud.databricks.com",
        ... )
        >>> config.validate()
        >>> config.retry_max_attempts
        5
    """

    def __new__(
        cls,
        endpoint: str,
        table_name: str,
        *,
        client_id: str | None = None,
        client_secret: str | None = None,
        unity_catalog_url: str | None = None,
        observability_enabled: bool = False,
        observability_config: Mapping[str, Any] | None = None,
        debug_enabled: bool = False,
        debug_arrow_enabled: bool | None = None,
        debug_protobuf_enabled: bool | None = None,
        debug_output_dir: str | PathLike[str] | None = None,
        debug_flush_interval_secs: int = 5,
        debug_max_file_size: int | None = None,
        debug_max_files_retained: int | None = 10,
        debug_rotation_rows: int = 1000,
        debug_protobuf_framing: Literal["length-delimited", "newline"] = "length-delimited",
        retry_max_attempts: int = 5,
        retry_base_delay_ms: int = 100,
        retry_max_delay_ms: int = 30_000,
        zerobus_writer_disabled: bool = False,
        ingest_mode: Literal["proto", "arrow"] = "proto",
        max_record_bytes: int = 4_194_285,
        max_request_bytes: int = 10_420_224,
        max_request_rows: int = 10_000,
        max_inflight_requests: int = 64,
        max_inflight_bytes: int = 67_108_864,
        ack_timeout_ms: int = 60_000,
        flush_timeout_ms: int = 300_000,
        connect_timeout_ms: int = 15_000,
        token_refresh_buffer_secs: int = 300,
        isolate_bad_rows: bool = True,
        isolate_max_probes: int = 32,
        null_list_element: Literal["error", "drop"] = "error",
        failure_backoff_enabled: bool = True,
        failure_backoff_shared: bool = False,
        workspace_id: str | None = None,
        application_name: str | None = None,
        tls_ca_file: str | PathLike[str] | None = None,
    ) -> WrapperConfiguration:
        """Takes the options; `validate` checks them together, as does every `ZerobusWrapper`.

        Args:
            endpoint: Address of the service, `https://<workspace-id>.zerobus.<region>.cloud.databricks.com`. It is not
                the address of the workspace.
            table_name: `catalog.schema.table`.
            client_id: Application id of the service principal that writes.
            client_secret: Its secret.
            unity_catalog_url: Address of the workspace, where tokens come from.
            observability_enabled: Whether metrics and traces are made.
            observability_config: Where they go: `endpoint`, an OTLP collector by gRPC; `output_dir`, a folder for lines of
                OTLP JSON, at most two files of 64 MiB for metrics and two for traces; `write_interval_secs` (5) between two
                exports; `log_level`, which is accepted for configurations of others and has no effect: logs go to Python's
                `logging`, to `seakernel_zerobus`, and the level of that logger counts.
            debug_enabled: Both debug formats, unless one of the next two is set.
            debug_arrow_enabled: Whether batches are kept as Arrow IPC streams.
            debug_protobuf_enabled: Whether records are kept as encoded, beside their descriptor.
            debug_output_dir: Folder of the debug files.
            debug_flush_interval_secs: Seconds between two flushes of them.
            debug_max_file_size: Bytes after which one is closed; None is no limit.
            debug_max_files_retained: Closed ones that are kept, per format; None keeps all.
            debug_rotation_rows: Rows after which one is closed; 0 is no limit.
            debug_protobuf_framing: Whether a record is preceded by its length, or ended by a newline, at which no reader can
                split them again.
            retry_max_attempts: Tries in all.
            retry_base_delay_ms: Longest pause before the second try; it doubles from try to try.
            retry_max_delay_ms: Longest pause between any two tries.
            zerobus_writer_disabled: Whether nothing is sent: rows are converted and written to debug files alone.
            ingest_mode: What a batch travels as: one Protobuf message a row, or Arrow Flight.
            max_record_bytes: Bytes of the largest record.
            max_request_bytes: Bytes of the records of one request.
            max_request_rows: Rows of one request.
            max_inflight_requests: Requests that wait for acknowledgement, all streams together.
            max_inflight_bytes: Bytes that do.
            ack_timeout_ms: How long to wait for an acknowledgement while one is due.
            flush_timeout_ms: How long `flush` waits.
            connect_timeout_ms: How long opening a stream may take.
            token_refresh_buffer_secs: Seconds before its end in which a token is renewed.
            isolate_bad_rows: Whether the rows that the service refuses are looked for one by one.
            isolate_max_probes: Streams that may be opened per call to find them.
            null_list_element: What becomes of a list with a null element, which Protobuf cannot carry: the row fails, or
                the element is dropped.
            failure_backoff_enabled: Whether writes pause where more than 1 % of the rows failed.
            failure_backoff_shared: Whether pauses of the table, for failed rows or because the service refuses streams into
                it, hold for all wrappers of this process with the same endpoint and table that have this on.
            workspace_id: Id of the workspace; by default the first label of the endpoint's host.
            application_name: Name of the application, for the user agent.
            tls_ca_file: PEM file with the authorities to trust for the endpoint and for the workspace that tokens come
                from, besides the system's, of which there need not be any. It is read once, when the wrapper is made.

        Raises:
            TypeError: an option is unknown, or its value of another type.
            ConfigurationError: a value is not accepted.
        """

    @staticmethod
    def from_yaml(path: str | PathLike[str]) -> WrapperConfiguration:
        """Reads and checks the options in a YAML file.

        Its keys are those of the constructor, with `zerobus_endpoint` for `endpoint`; those that begin with `debug_` and
        `retry_` are in the sections `debug` and `retry`, without that, and `observability` has `enabled` and the keys of
        `observability_config`.

        Raises:
            ConfigurationError: there is no such file, a key is unknown, or a value is not accepted.

        Example:
            >>> from pathlib import Path
            >>> from seakernel.zerobus import WrapperConfiguration
            >>> _ = Path("zerobus.yaml").write_text('''
            ... zerobus_endpoint: https://1234567890.zerobus.eu-west-1.cloud.databricks.com
            ... table_name: main.default.orders
            ... zerobus_writer_disabled: true
            ... debug: {enabled: true, output_dir: debug}
            ... retry: {max_attempts: 3}
            ... ''')
            >>> WrapperConfiguration.from_yaml("zerobus.yaml").retry_max_attempts
            3
        """

    @staticmethod
    def from_env() -> WrapperConfiguration:
        """Reads and checks the options in the environment.

        `ZEROBUS_ENDPOINT`, `ZEROBUS_TABLE_NAME`, `ZEROBUS_CLIENT_ID`, `ZEROBUS_CLIENT_SECRET`, `UNITY_CATALOG_URL`,
        `ZEROBUS_WRITER_DISABLED`; `OTLP_...`, `DEBUG_...` and `RETRY_...` for what the sections of the file have; `ZEROBUS_...`
        for the others. A variable that is empty counts as unset.

        Raises:
            ConfigurationError: an option that is needed is not set, or a value is not accepted.

        Example:
            >>> import os
            >>> from seakernel.zerobus import WrapperConfiguration
            >>> os.environ |= {"ZEROBUS_ENDPOINT": "http://127.0.0.1:1", "ZEROBUS_TABLE_NAME": "main.default.orders"}
            >>> os.environ |= {"ZEROBUS_WRITER_DISABLED": "true", "DEBUG_ENABLED": "true", "DEBUG_OUTPUT_DIR": "debug"}
            >>> WrapperConfiguration.from_env().table_name
            'main.default.orders'
        """

    def validate(self) -> None:
        """Checks every rule that can be checked without a network.

        Raises:
            ConfigurationError: one is broken; the message has the option, its value and what is accepted.

        Example:
            >>> from seakernel.zerobus import WrapperConfiguration
            >>> WrapperConfiguration("https://host", "orders").validate()
            Traceback (most recent call last):
                ...
            seakernel_zerobus.exceptions.ConfigurationError: Configuration error: `table_name` is `orders`; accepted: ...
        """

    @property
    def endpoint(self) -> str: ...
    @property
    def table_name(self) -> str: ...
    @property
    def client_id(self) -> str | None: ...
    @property
    def unity_catalog_url(self) -> str | None: ...
    @property
    def observability_enabled(self) -> bool: ...
    @property
    def observability_config(self) -> dict[str, Any] | None: ...
    @property
    def debug_enabled(self) -> bool: ...
    @property
    def debug_arrow_enabled(self) -> bool:
        """Whether batches are kept, by what follows from all three flags."""

    @property
    def debug_protobuf_enabled(self) -> bool:
        """Whether records are kept, by what follows from all three flags."""

    @property
    def debug_output_dir(self) -> str | None: ...
    @property
    def debug_flush_interval_secs(self) -> int: ...
    @property
    def debug_max_file_size(self) -> int | None: ...
    @property
    def debug_max_files_retained(self) -> int | None: ...
    @property
    def debug_rotation_rows(self) -> int: ...
    @property
    def debug_protobuf_framing(self) -> Literal["length-delimited", "newline"]: ...
    @property
    def retry_max_attempts(self) -> int: ...
    @property
    def retry_base_delay_ms(self) -> int: ...
    @property
    def retry_max_delay_ms(self) -> int: ...
    @property
    def zerobus_writer_disabled(self) -> bool: ...
    @property
    def ingest_mode(self) -> Literal["proto", "arrow"]: ...
    @property
    def max_record_bytes(self) -> int: ...
    @property
    def max_request_bytes(self) -> int: ...
    @property
    def max_request_rows(self) -> int: ...
    @property
    def max_inflight_requests(self) -> int: ...
    @property
    def max_inflight_bytes(self) -> int: ...
    @property
    def ack_timeout_ms(self) -> int: ...
    @property
    def flush_timeout_ms(self) -> int: ...
    @property
    def connect_timeout_ms(self) -> int: ...
    @property
    def token_refresh_buffer_secs(self) -> int: ...
    @property
    def isolate_bad_rows(self) -> bool: ...
    @property
    def isolate_max_probes(self) -> int: ...
    @property
    def null_list_element(self) -> Literal["error", "drop"]: ...
    @property
    def failure_backoff_enabled(self) -> bool: ...
    @property
    def failure_backoff_shared(self) -> bool: ...
    @property
    def workspace_id(self) -> str | None: ...
    @property
    def application_name(self) -> str | None: ...
    @property
    def tls_ca_file(self) -> str | None: ...

@final
class TransmissionResult:
    """What became of each row of a batch.

    Without `error`, the indices of failed and of successful rows are disjoint and cover all rows. Callers can make one
    themselves, for their tests.

    Example:
        >>> from seakernel.zerobus import TransmissionResult
        >>> result = TransmissionResult(True, successful_rows=[0, 2], failed_rows=[(1, "ConversionError: too long")])
        >>> result.is_partial_success(), result.group_errors_by_type()
        (True, {'ConversionError': [1]})

    Attributes:
        success: Whether any row was stored, or there was none.
        error: Why nothing of the batch was put on the wire; None where something was.
        error_type: The name of its class.
        attempts: Rounds of transmission, 1 where the first did.
        latency_ms: Milliseconds of the whole call.
        batch_size_bytes: Bytes of the rows in Arrow.
        wire_bytes: Bytes of the rows as sent.
        failed_rows: Each failed row with its error, ascending; None where no row failed.
        successful_rows: The stored rows, ascending; None where no row was stored.
        total_rows: Rows of the batch or table. Of a reader whose first batch was refused it is the rows read until then, for
            nothing more is read.
        successful_count: Length of `successful_rows`.
        failed_count: Length of `failed_rows`.
    """

    def __new__(
        cls,
        success: bool,
        *,
        error: str | None = None,
        attempts: int = 1,
        latency_ms: int | None = None,
        batch_size_bytes: int = 0,
        failed_rows: Sequence[tuple[int, str]] | None = None,
        successful_rows: Sequence[int] | None = None,
        total_rows: int = 0,
        successful_count: int = 0,
        failed_count: int = 0,
        message: str | None = None,
    ) -> TransmissionResult:
        """Takes the fields.

        Errors are texts such as `ConversionError: text` or `Conversion error: text`; any other text is a `ConversionError`.
        Counts follow from the rows where those are given; `message` is the `error` of what failed.
        """

    @property
    def success(self) -> bool: ...
    @property
    def error(self) -> str | None: ...
    @property
    def error_type(self) -> str | None: ...
    @property
    def attempts(self) -> int: ...
    @property
    def latency_ms(self) -> int | None: ...
    @property
    def batch_size_bytes(self) -> int: ...
    @property
    def wire_bytes(self) -> int: ...
    @property
    def failed_rows(self) -> list[tuple[int, str]] | None: ...
    @property
    def successful_rows(self) -> list[int] | None: ...
    @property
    def total_rows(self) -> int: ...
    @property
    def successful_count(self) -> int: ...
    @property
    def failed_count(self) -> int: ...
    def is_partial_success(self) -> bool:
        """Whether some rows were stored and some failed.

        Example:
            >>> from seakernel.zerobus import TransmissionResult
            >>> result = TransmissionResult(True, successful_rows=[0], failed_rows=[(1, "ConnectionError: gone")])
            >>> result.is_partial_success()
            True
        """

    def has_failed_rows(self) -> bool:
        """Whether any row failed.

        Example:
            >>> from seakernel.zerobus import TransmissionResult
            >>> result = TransmissionResult(True, successful_rows=[0], failed_rows=[(1, "ConnectionError: gone")])
            >>> result.has_failed_rows()
            True
        """

    def has_successful_rows(self) -> bool:
        """Whether any row was stored.

        Example:
            >>> from seakernel.zerobus import TransmissionResult
            >>> result = TransmissionResult(True, successful_rows=[0], failed_rows=[(1, "ConnectionError: gone")])
            >>> result.has_successful_rows()
            True
        """

    def get_failed_row_indices(self) -> list[int]:
        """The failed rows, ascending.

        Example:
            >>> from seakernel.zerobus import TransmissionResult
            >>> result = TransmissionResult(True, successful_rows=[0], failed_rows=[(1, "ConnectionError: gone")])
            >>> result.get_failed_row_indices()
            [1]
        """

    def get_successful_row_indices(self) -> list[int]:
        """The stored rows, ascending.

        Example:
            >>> from seakernel.zerobus import TransmissionResult
            >>> result = TransmissionResult(True, successful_rows=[0], failed_rows=[(1, "ConnectionError: gone")])
            >>> result.get_successful_row_indices()
            [0]
        """

    def get_uncertain_row_indices(self) -> list[int]:
        """The failed rows that were written to the socket and never acknowledged.

        They may be stored, so sending them again can store them twice.
        """

    def get_failed_row_indices_by_error_type(self, error_type: str) -> list[int]:
        """The failed rows whose error is of this class, ascending; none for a name that is no class.

        Example:
            >>> from seakernel.zerobus import TransmissionResult
            >>> result = TransmissionResult(False, failed_rows=[(0, "Connection error: gone"), (1, "Conversion error: no")])
            >>> result.get_failed_row_indices_by_error_type("ConnectionError")
            [0]
        """

    def group_errors_by_type(self) -> dict[str, list[int]]:
        """The failed rows by the class of their error.

        Example:
            >>> from seakernel.zerobus import TransmissionResult
            >>> result = TransmissionResult(True, successful_rows=[0], failed_rows=[(1, "ConnectionError: gone")])
            >>> result.group_errors_by_type()
            {'ConnectionError': [1]}
        """

    def get_error_messages(self) -> list[str]:
        """The messages of the failed rows, in their order.

        Example:
            >>> from seakernel.zerobus import TransmissionResult
            >>> result = TransmissionResult(True, successful_rows=[0], failed_rows=[(1, "ConnectionError: gone")])
            >>> result.get_error_messages()
            ['Connection error: gone']
        """

    def get_error_statistics(self) -> dict[str, Any]:
        """Counts and shares.

        `total_rows`, `successful_count`, `failed_count`, `success_rate`, `failure_rate` and `error_type_counts`. The rates
        are 0.0 for an empty batch.

        Example:
            >>> from seakernel.zerobus import TransmissionResult
            >>> TransmissionResult(True, successful_rows=[0, 1, 2, 3]).get_error_statistics()["success_rate"]
            1.0
        """

    def extract_failed_batch(self, original: Any) -> Any | None:
        """The failed rows of what was sent, to be mended and sent again; None where no row failed.

        Returns:
            A `pyarrow.RecordBatch` for a record batch, a `pyarrow.Table` for a table and whatever else gives batches.

        Raises:
            ConfigurationError: `original` has another number of rows than this result.

        Example:
            >>> import pyarrow
            >>> from seakernel.zerobus import TransmissionResult
            >>> batch = pyarrow.record_batch({"id": [1, 2, 3]})
            >>> result = TransmissionResult(True, successful_rows=[0, 2], failed_rows=[(1, "ConversionError: too long")])
            >>> result.extract_failed_batch(batch).to_pydict()
            {'id': [2]}
        """

    def extract_successful_batch(self, original: Any) -> Any | None:
        """The stored rows of what was sent; None where no row was stored. As `extract_failed_batch` otherwise."""

    def to_dict(self) -> dict[str, Any]:
        """All fields, as what JSON has.

        Example:
            >>> from seakernel.zerobus import TransmissionResult
            >>> result = TransmissionResult(True, successful_rows=[0], failed_rows=[(1, "ConnectionError: gone")])
            >>> result.to_dict()["failed_rows"]
            [(1, 'Connection error: gone')]
        """
