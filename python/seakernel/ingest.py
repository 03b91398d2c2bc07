"""Arrow data into a table: as Parquet files in a volume, which one statement loads."""

from __future__ import annotations

import itertools
import logging
import os
import re
import tempfile
import uuid
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from seakernel.exceptions import DataError, DataLossError, Error, NotSupportedError, OperationalError, ProgrammingError
from seakernel.volumes import check_path, string_literal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pyarrow as pa
    from typing_extensions import Self

    from seakernel._seakernel import VolumeOperation
    from seakernel.dbapi import Connection, Cursor
    from seakernel.types import ArrowStreamExportable

__all__ = ["ingest", "ingest_by_zerobus"]

IngestMode = Literal["append", "create", "replace"]

_LOG = logging.getLogger("seakernel.ingest")
# A part is closed once it has this size: a file that a warehouse reads well, and an upload that is repeated cheaply.
_PART_BYTES = 128 << 20
# Rows of one row group, by their size in memory: what is held while it is written.
_ROW_GROUP_BYTES = 64 << 20
# Rows that are cast at a time.
_CAST_ROWS = 1 << 20
# Parts that are under way to the storage host, while the next one is written.
_UPLOADS = 2
_NAME_PART = re.compile(r"`((?:[^`]|``)+)`|([^`.\s][^`.]*)")


def ingest(
    connection: Connection,
    table: str,
    data: ArrowStreamExportable,
    *,
    mode: IngestMode,
    volume: str,
) -> int:
    """Does what `Connection.ingest` says."""
    if mode not in ("append", "create", "replace"):
        raise ProgrammingError(f'`mode` is {mode!r}; expected "append", "create" or "replace"', kind="InvalidArgument")
    name = quoted_name(table)
    check_path(volume, directory=True)
    batches = _reader(data)
    written = _written_schema(batches.schema)
    directory = f"{volume.removesuffix('/')}/seakernel-ingest-{uuid.uuid4().hex}"
    uploads = _Uploads(connection, directory)
    # Whether the server may be reading the files; without them the statement would fail, or load a part of the rows.
    in_use = False
    with connection.cursor() as cursor:
        _check_target(cursor, name, batches.schema.names, mode)
        try:
            with uploads:
                for part in _parts(batches, written, uploads.folder):
                    uploads.add(part)
            sent = uploads.rows
            in_use = True
            try:
                cursor.execute(_load_statement(name, directory, batches.schema, mode))
            except Error as error:
                in_use = not _is_over(error)
                if in_use:
                    error.message += f"; it may still be done, so the files in {directory} are kept: delete them later"
                    error.args = (error.message,)
                raise
            in_use = False
            loaded = cursor.rowcount
            if loaded != sent:
                told = "did not say how many rows it added" if loaded < 0 else f"added {loaded} rows"
                message = f"{sent} rows were sent to {name} and the server {told}; the table has them already: check it"
                raise DataLossError(message, kind="DataLoss", statement_id=cursor.statement_id)
        finally:
            if in_use:
                _LOG.warning("the statement that loads %s may still run: delete them when it has ended", directory)
            else:
                uploads.remove()
    return sent


def _is_over(error: Error) -> bool:
    """Whether the statement that failed with `error` runs no more, for certain."""
    if error.kind == "Sql":
        return True
    # Refused before it was a statement; where it is one already, only the question for its state was refused.
    refused = error.kind in {"InvalidArgument", "NotFound", "PermissionDenied", "Unauthenticated"}
    return refused and error.statement_id is None


class _Uploads:
    """The parts on their way to the volume, a few at a time in threads of their own, and those that are there."""

    def __init__(self, connection: Connection, directory: str) -> None:
        self.rows = 0
        self._connection = connection
        self._directory = directory
        self._remote: list[str] = []
        self._operations: list[VolumeOperation] = []
        self._pending: set[Future[None]] = set()

    def __enter__(self) -> Self:
        self._local = tempfile.TemporaryDirectory(prefix="seakernel-ingest-")
        self.folder = Path(self._local.name)
        self._threads = ThreadPoolExecutor(_UPLOADS, thread_name_prefix="seakernel-ingest")
        return self

    def add(self, part: tuple[Path, int]) -> None:
        """Takes a file with so many rows; waits while too many are under way."""
        path, rows = part
        self.rows += rows
        self._settle(_UPLOADS - 1)
        remote = f"{self._directory}/part-{len(self._remote):05}.parquet"
        # Asked in this thread, for Ctrl-C ends the waits of the main thread only; the upload itself can be cancelled.
        operation = self._connection.volume._begin_put(remote)  # noqa: SLF001 - the same package
        # Noted before it begins: an upload that fails may have arrived.
        self._remote.append(remote)
        self._operations.append(operation)
        self._pending.add(self._threads.submit(self._upload, operation, path))

    def _upload(self, operation: VolumeOperation, path: Path) -> None:
        operation.put(str(path))
        path.unlink()

    def _settle(self, left: int) -> None:
        """Waits until no more than `left` uploads are under way; raises what one of them has raised."""
        while True:
            done = {future for future in self._pending if future.done()}
            self._pending -= done
            for future in done:
                future.result()
            if len(self._pending) <= left:
                return
            wait(self._pending, return_when=FIRST_COMPLETED)

    def __exit__(self, exception_type: object, exception: object, traceback: object) -> None:
        try:
            if exception_type is None:
                self._settle(0)
        finally:
            for operation in self._operations:
                operation.cancel()
            self._threads.shutdown(cancel_futures=True)
            self._local.cleanup()

    def remove(self) -> None:
        """Deletes the parts from the volume. Parts that stay are logged: the outcome of the ingest is another matter."""
        for remote in self._remote:
            try:
                self._connection.volume.remove(remote)
            except Exception as error:  # noqa: BLE001, PERF203 - what goes on, or failed before, must be told
                kind = error.kind if isinstance(error, Error) else None
                if kind == "NotFound":
                    continue
                _LOG.warning("%s stays in the volume: %s", remote, error)
                if kind != "Sql":
                    # A server that is away would have each of them wait for as long.
                    _LOG.warning("and so do those after it in %s: delete them later", self._directory)
                    return


def _reader(data: object) -> pa.RecordBatchReader:
    try:
        import pyarrow as pa
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "`ingest` writes Parquet with `pyarrow`: `pip install pyarrow`", name="pyarrow"
        ) from error
    if hasattr(data, "__arrow_c_stream__"):
        return pa.RecordBatchReader.from_stream(data)
    if hasattr(data, "__arrow_c_array__"):
        batch = pa.record_batch(data)
        return pa.RecordBatchReader.from_batches(batch.schema, [batch])
    message = f"`{type(data).__name__}` is no Arrow data: it has no `__arrow_c_stream__`"
    raise ProgrammingError(message, kind="InvalidArgument")


def _parts(batches: pa.RecordBatchReader, schema: pa.Schema, folder: Path) -> Iterator[tuple[Path, int]]:
    """Writes Parquet files of about `_PART_BYTES`, at least one; each with its number of rows."""
    import pyarrow.parquet as pq

    groups = _row_groups(batches, schema)
    group: pa.Table | None = next(groups)
    number = 0
    while group is not None:
        path, rows = folder / f"{number}.parquet", 0
        with path.open("wb") as file, pq.ParquetWriter(file, schema, compression="zstd") as writer:
            while group is not None:
                writer.write_table(group, row_group_size=max(1, group.num_rows))
                rows += group.num_rows
                group = next(groups, None)
                if file.tell() >= _PART_BYTES:
                    break
        yield path, rows
        number += 1


def _row_groups(batches: pa.RecordBatchReader, schema: pa.Schema) -> Iterator[pa.Table]:
    """Gathers small batches and divides large ones, and casts them to the types that are written; at least one."""
    import pyarrow as pa

    held: list[pa.Table] = []
    size, any_made = 0, False
    for batch in batches:
        for first in range(0, batch.num_rows, _CAST_ROWS):
            table = _cast(pa.Table.from_batches([batch.slice(first, _CAST_ROWS)]), schema)
            step = max(1, table.num_rows * _ROW_GROUP_BYTES // max(1, table.nbytes))
            for start in range(0, table.num_rows, step):
                held.append(table.slice(start, step))
                size += held[-1].nbytes
                if size >= _ROW_GROUP_BYTES:
                    yield pa.concat_tables(held)
                    held, size, any_made = [], 0, True
    if held or not any_made:
        yield pa.concat_tables(held or [schema.empty_table()])


def _cast(table: pa.Table, schema: pa.Schema) -> pa.Table:
    import pyarrow as pa

    if table.schema.equals(schema):
        return table
    columns = []
    for column, field in zip(table.columns, schema, strict=True):
        try:
            columns.append(column.cast(field.type, safe=True))
        except pa.ArrowInvalid:  # noqa: PERF203 - names the column
            # Its text quotes the value.
            message = f"column `{field.name}` has a value of type {column.type} that {field.type} does not hold exactly"
            raise DataError(message, kind="OutOfRange") from None
        except pa.ArrowNotImplementedError as error:
            raise _unsupported(field.name, column.type, f"cast it to {field.type}") from error
    return pa.Table.from_arrays(columns, schema=schema)


def _written_schema(schema: pa.Schema) -> pa.Schema:
    import pyarrow as pa

    names = [name.lower() for name in schema.names]
    for name in schema.names:
        if not name or names.count(name.lower()) > 1:
            message = f"column names must be different and not empty, letter case apart: `{name}`"
            raise ProgrammingError(message, kind="InvalidArgument")
    if not names:
        raise ProgrammingError("the data has no columns", kind="InvalidArgument")
    return pa.schema([pa.field(field.name, _types(field.name, field.type)[0]) for field in schema])


def _types(column: str, given: pa.DataType) -> tuple[pa.DataType, str]:
    """The Arrow type that is written, and the SQL type that it becomes.

    Raises:
        NotSupportedError: no SQL type holds the values exactly.
    """
    import pyarrow as pa
    import pyarrow.types as is_

    plain: dict[pa.DataType, tuple[pa.DataType, str]] = {
        pa.bool_(): (pa.bool_(), "BOOLEAN"),
        pa.int8(): (pa.int8(), "TINYINT"),
        pa.int16(): (pa.int16(), "SMALLINT"),
        pa.int32(): (pa.int32(), "INT"),
        pa.int64(): (pa.int64(), "BIGINT"),
        pa.uint8(): (pa.int16(), "SMALLINT"),
        pa.uint16(): (pa.int32(), "INT"),
        pa.uint32(): (pa.int64(), "BIGINT"),
        pa.uint64(): (pa.decimal128(20, 0), "DECIMAL(20,0)"),
        pa.float16(): (pa.float32(), "FLOAT"),
        pa.float32(): (pa.float32(), "FLOAT"),
        pa.float64(): (pa.float64(), "DOUBLE"),
        pa.date32(): (pa.date32(), "DATE"),
        pa.date64(): (pa.date32(), "DATE"),
    }
    if given in plain:
        return plain[given]
    if is_.is_string(given) or is_.is_large_string(given) or is_.is_string_view(given):
        return pa.large_string() if is_.is_large_string(given) else pa.string(), "STRING"
    if (
        is_.is_binary(given)
        or is_.is_large_binary(given)
        or is_.is_fixed_size_binary(given)
        or is_.is_binary_view(given)
    ):
        # A fixed length would be another Parquet type.
        return pa.large_binary() if is_.is_large_binary(given) else pa.binary(), "BINARY"
    if is_.is_timestamp(given):
        return pa.timestamp("us", "UTC" if given.tz else None), "TIMESTAMP" if given.tz else "TIMESTAMP_NTZ"
    if is_.is_decimal(given) and given.precision <= 38 and 0 <= given.scale <= given.precision:
        return pa.decimal128(given.precision, given.scale), f"DECIMAL({given.precision},{given.scale})"
    if is_.is_dictionary(given):
        return _types(column, given.value_type)
    if is_.is_run_end_encoded(given):
        raise _unsupported(column, given, "decode it first")
    if is_.is_list(given) or is_.is_large_list(given) or is_.is_fixed_size_list(given):
        item, sql = _types(f"{column}.element", given.value_type)
        return pa.list_(item), f"ARRAY<{sql}>"
    if is_.is_struct(given):
        fields = [given.field(place) for place in range(given.num_fields)]
        inner = [(field.name, *_types(f"{column}.{field.name}", field.type)) for field in fields]
        if inner:
            made = pa.struct([pa.field(name, kind) for name, kind, _ in inner])
            return made, f"STRUCT<{', '.join(f'{_quoted(name)}: {sql}' for name, _, sql in inner)}>"
    if is_.is_map(given):
        key, key_sql = _types(f"{column}.key", given.key_type)
        item, item_sql = _types(f"{column}.value", given.item_type)
        return pa.map_(key, item), f"MAP<{key_sql}, {item_sql}>"
    hints = {
        "time": "a table has no time of day: cast it to an integer or a string",
        "duration": "cast it to an integer",
        "null": "cast it to the type that the column shall have",
    }
    hint = next((hint for word, hint in hints.items() if str(given).startswith(word)), "cast it to another type")
    raise _unsupported(column, given, hint)


def _unsupported(column: str, given: pa.DataType, hint: str) -> NotSupportedError:
    message = f"column `{column}` has the Arrow type {given}, which no SQL type holds exactly: {hint}"
    return NotSupportedError(message, kind="InvalidArgument")


def _check_target(cursor: Cursor, name: str, columns: list[str], mode: IngestMode) -> None:
    """Fails before anything is uploaded where the statement at the end could only fail."""
    if mode == "replace":
        return
    try:
        cursor.execute(f"DESCRIBE TABLE {name}")
    except ProgrammingError as error:
        if mode == "create" and error.sql_state == "42P01":
            return
        raise
    if mode == "create":
        message = f'{name} exists; pass mode="append" to add to it or mode="replace" to replace it'
        raise ProgrammingError(message, kind="InvalidArgument")
    # Behind the columns come, set off by a `#`, those it is partitioned by.
    described = [str(row[0]) for row in cursor.fetchall()]
    known = {column.lower() for column in itertools.takewhile(lambda column: not column.startswith("# "), described)}
    surplus = [column for column in columns if column.lower() not in known]
    if surplus:
        raise ProgrammingError(f"{name} has no column `{surplus[0]}`", kind="InvalidArgument")


def _load_statement(name: str, directory: str, schema: pa.Schema, mode: IngestMode) -> str:
    if mode == "append":
        # By default, COPY INTO passes over files that have gone since it listed them.
        missing = "FORMAT_OPTIONS ('ignoreMissingFiles' = 'false')"
        return f"COPY INTO {name} FROM {string_literal(directory)} FILEFORMAT = PARQUET {missing}"
    # One statement, so that there is no table without its rows. The casts name the types, whatever the files would suggest.
    items = ", ".join(
        f"CAST({_quoted(field.name)} AS {_types(field.name, field.type)[1]}) AS {_quoted(field.name)}"
        for field in schema
    )
    create = "CREATE OR REPLACE TABLE" if mode == "replace" else "CREATE TABLE"
    return f"{create} {name} AS SELECT {items} FROM parquet.{_quoted(directory)}"


def ingest_by_zerobus(table: str, data: ArrowStreamExportable, given: Mapping[str, str | None]) -> int:
    """Does what `Connection.ingest` says of Zerobus; what is not given is in the environment."""
    from seakernel.zerobus import ZerobusError, ZerobusWrapper

    variables = {"unity_catalog_url": "UNITY_CATALOG_URL"}
    options = {
        name: value or os.environ.get(variables.get(name, f"ZEROBUS_{name.upper()}")) for name, value in given.items()
    }
    if not options["endpoint"]:
        message = "`zerobus_endpoint` is needed, or `ZEROBUS_ENDPOINT` in the environment"
        raise ProgrammingError(message, kind="InvalidArgument")
    result, refusal = None, ""
    try:
        with ZerobusWrapper(table_name=quoted_name(table).replace("`", ""), **options) as wrapper:
            result = wrapper.send_batch_sync(data)
    except ZerobusError as error:
        if result is None:
            # Without it the end of the wrapper failed, which changes nothing about rows that are known to be stored.
            result, refusal = error.result, str(error)
    # Tracebacks show what is in frames.
    del given, options
    if result is None or (refusal and not result.total_rows):
        raise ProgrammingError(refusal, kind="InvalidArgument")
    failed = result.failed_rows or []
    if not refusal and not failed and result.error is None:
        return result.successful_count
    uncertain = len(result.get_uncertain_row_indices())
    texts = list(dict.fromkeys(text for _, text in failed) or filter(None, [result.error]))[:3]
    some = ", ".join(str(row) for row, _ in failed[:20]) or "all"
    more = ", ..." if len(failed) > 20 else ""
    count = len(failed) or (0 if result.error is None else result.total_rows)
    maybe = f", of which {uncertain} may be stored" if uncertain else ""
    message = f"{count} of {result.total_rows} rows were not stored (rows {some}{more}){maybe}: {'; '.join(texts)}"
    if refusal:
        message = f"{refusal.rstrip()}; {result.successful_count} rows are stored" + (
            f", and {message}" if count else ""
        )
    kinds = set(result.group_errors_by_type()) or {str(result.error_type)} - {"None"}
    if kinds <= {"ConversionError", "TransmissionError", "ConfigurationError"}:
        raise DataError(message, kind="InvalidArgument")
    raise OperationalError(message, kind="Unauthenticated" if "AuthenticationError" in kinds else "Unavailable")


def quoted_name(table: str) -> str:
    """The name of a table with each of its one to three parts in backticks, which the given name may have as well."""
    parts, place = [], 0
    while match := _NAME_PART.match(table, place):
        parts.append(match[1].replace("``", "`") if match[1] else match[2].rstrip())
        place = match.end() + 1
        if place > len(table) or table[place - 1] != ".":
            break
    if not parts or len(parts) > 3 or place != len(table) + 1:
        message = f"{table!r} is no name of a table: expected `catalog.schema.table`, special characters in backticks"
        raise ProgrammingError(message, kind="InvalidArgument")
    return ".".join(map(_quoted, parts))


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"
