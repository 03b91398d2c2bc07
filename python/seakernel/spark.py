"""Results of SQL warehouses in Spark and Sail, by the Python Data Source API; needs the extra `seakernel[spark]` or `seakernel[sail]`.

Example:
    >>> from seakernel.spark import SeakernelDataSource
    >>> spark.dataSource.register(SeakernelDataSource)
    >>> spark.read.format("seakernel").option("query", "SELECT id FROM range(1000)").load().count()
    1000
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyspark.sql.datasource import DataSource, DataSourceReader, InputPartition
from pyspark.sql.pandas.types import from_arrow_schema, to_arrow_schema
from pyspark.sql.types import StructType

from seakernel.dbapi import connect
from seakernel.distributed import PartitionReader
from seakernel.exceptions import ProgrammingError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pyarrow as pa

    from seakernel._seakernel import Partition
    from seakernel.dbapi import Connection

__all__ = ["SeakernelDataSource"]

# Arguments of `connect` that are texts and no secrets: options stand in Spark's plan, and its pages show them.
_OF_CONNECT = ("server_hostname", "http_path", "warehouse_id", "profile", "catalog", "schema", "user_agent_entry")
_OWN = ("query", "target_bytes", "row_number", "sign_in")


class SeakernelDataSource(DataSource):  # type: ignore[misc] # untyped here
    """The format `seakernel`: a query of a SQL warehouse, whose rows the executors read from the warehouse by themselves.

    Options are texts:

    - `query`: SQL text, without parameters.
    - `server_hostname`, `http_path`, `warehouse_id`, `profile`, `catalog`, `schema` and `user_agent_entry`, as for
      `seakernel.connect`. Credentials are refused: options stand in Spark's plan.
    - `sign_in`: name of a function, as `module:function`, that is called wherever the source runs for options such as
      `access_token` or `auth`.
    - `row_number`: name of a further column with the place of each row in the result, from 0. Spark promises no order.
    - `target_bytes`: bytes of a partition, as for `Cursor.partitions`.

    Without `profile` and `sign_in` each process signs in by its own environment.

    Sail runs the query for each action that reads it. Spark runs it once for what `load` returns, at the first action, and
    keeps the partitions for all later ones: `load` again for newer rows. `explain` runs it in Sail, whose plan says how many
    partitions there are, and not in Spark. The schema is found before by `SELECT * FROM (query) LIMIT 0`, unless
    `.schema(...)` gives it, as it must for a statement that is no query, such as `SHOW TABLES`. The source learns of no end of
    a read, so the server's own deadline ends it: results are given up an hour after the statement has succeeded.

    Every task checks that it has got all rows of its partition, and can be repeated.

    Example:
        >>> from seakernel.spark import SeakernelDataSource
        >>> spark.dataSource.register(SeakernelDataSource)
        >>> reader = spark.read.format("seakernel").option("query", "SELECT id FROM range(3)")
        >>> [row.asDict() for row in reader.option("row_number", "row").load().orderBy("row").collect()]
        [{'id': 0, 'row': 0}, {'id': 1, 'row': 1}, {'id': 2, 'row': 2}]
    """

    @classmethod
    def name(cls) -> str:
        """Returns the name of the format.

        Example:
            >>> from seakernel.spark import SeakernelDataSource
            >>> SeakernelDataSource.name()
            'seakernel'
        """
        return "seakernel"

    def schema(self) -> StructType:
        """Asks the warehouse for the columns, without running the query.

        Example:
            >>> from seakernel.spark import SeakernelDataSource
            >>> SeakernelDataSource({"query": "SELECT 1 AS one"}).schema().simpleString()
            'struct<one:int>'
        """
        source = _Source(self.options)
        with source.connect() as connection, connection.cursor() as cursor:
            # On lines of its own: the query may end with a comment.
            lease = cursor.partitions(f"SELECT * FROM (\n{source.query.strip().rstrip(';')}\n) LIMIT 0")
            with lease:
                return _Schema(source.reader.schema(lease))

    def reader(self, schema: StructType | pa.Schema) -> DataSourceReader:
        """Returns the reader for `schema`, which Spark gives as its own and Sail as Arrow's.

        Example:
            >>> from seakernel.spark import SeakernelDataSource
            >>> source = SeakernelDataSource({"query": "SELECT id FROM range(3)"})
            >>> reader = source.reader(source.schema())
            >>> [batch.num_rows for part in reader.partitions() for batch in reader.read(part)]
            [3]
        """
        arrow = to_arrow_schema(schema, timezone="UTC") if isinstance(schema, StructType) else schema
        return _SeakernelReader(_Source(self.options), arrow)


class _Schema(StructType):  # type: ignore[misc] # untyped here
    """A schema of Spark's that is one of Arrow's, too: Sail makes none of its own from Spark's where it has timestamps."""

    def __init__(self, arrow: pa.Schema) -> None:
        super().__init__(from_arrow_schema(arrow).fields)

    @classmethod
    def typeName(cls) -> str:  # noqa: N802 - Spark's name
        name: str = StructType.typeName()
        return name

    def __arrow_c_schema__(self) -> object:
        return to_arrow_schema(self, timezone="UTC").__arrow_c_schema__()


class _Source:
    """The options, checked."""

    def __init__(self, options: dict[str, str]) -> None:
        given = {name.lower(): value for name, value in options.items()}
        unknown = given.keys() - {*_OF_CONNECT, *_OWN}
        if unknown:
            # Their values may be secrets, and are not told.
            raise ProgrammingError(
                f"unknown option `{min(unknown)}`; expected `{'`, `'.join((*_OWN, *_OF_CONNECT))}`; credentials come from"
                " `profile`, `sign_in` or the environment",
                kind="InvalidArgument",
            )
        if not given.get("query"):
            raise ProgrammingError("the option `query` is missing", kind="InvalidArgument")
        self.query = given["query"]
        self.target_bytes = _number("target_bytes", given.get("target_bytes", str(128 << 20)))
        self.reader = PartitionReader(given.get("sign_in"), given.get("row_number"))
        self._connect = {name: given[name] for name in _OF_CONNECT if name in given}

    def connect(self) -> Connection:
        options: dict[str, Any] = {**self._connect, **self.reader.options()}
        return connect(**options)


class _SeakernelReader(DataSourceReader):  # type: ignore[misc] # untyped here
    """Runs the query when partitions are asked for, and reads one wherever it is sent."""

    def __init__(self, source: _Source, schema: pa.Schema) -> None:
        self._source = source
        self._schema = schema
        self._partitions: list[InputPartition] | None = None

    def partitions(self) -> Sequence[InputPartition]:
        # An engine may ask again while it plans the one read that this reader is for.
        if self._partitions is None:
            self._partitions = self._planned()
        return self._partitions

    def __getstate__(self) -> dict[str, Any]:
        # Tasks get one partition each beside the reader, not all of them with it.
        return {**self.__dict__, "_partitions": None}

    def _planned(self) -> list[InputPartition]:
        source = self._source
        with source.connect() as connection, connection.cursor() as cursor:
            lease = cursor.partitions(source.query, target_bytes=source.target_bytes, ordered=True)
            with lease:
                partitions = [InputPartition(partition) for partition in lease]
                # The process that plans a read may end before the read, and no process learns when the read is over.
                lease.detach()
            return partitions

    def read(self, partition: InputPartition) -> Iterator[pa.RecordBatch]:
        value: Partition = partition.value
        for batch in self._source.reader.batches(value):
            yield batch.cast(self._schema)


def _number(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ProgrammingError(f"the option `{name}` is `{text}`; expected a number", kind="InvalidArgument") from None
