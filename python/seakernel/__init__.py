"""Databricks SQL through a Rust kernel: PEP 249 and Arrow, every row accounted for.

The examples of the reference start with what these lines give, and some with `await`, as in notebooks and in
`python -m asyncio`:

    import asyncio

    import seakernel
    from seakernel.local import LocalWarehouse

    warehouse = LocalWarehouse()
    connection = warehouse.connect()
    cursor = connection.cursor()
    session = seakernel.Session(warehouse.server_hostname, warehouse.http_path, warehouse.access_token)

Example:
    >>> import seakernel
    >>> with seakernel.connect("local") as connection, connection.cursor() as cursor:
    ...     cursor.execute("SELECT :greeting AS greeting", {"greeting": "hello"}).fetchall()
    [Row(greeting='hello')]
"""

from __future__ import annotations

from seakernel import aio
from seakernel._seakernel import (
    ArrowTable,
    Column,
    ExecutedStatement,
    Metadata,
    Parameter,
    Partition,
    PartitionLinks,
    PartitionStream,
    ResultStream,
    Session,
    Statement,
    Statistics,
    VolumeOperation,
    __version__,
    forget_log_levels,
)
from seakernel.dbapi import Connection, Cursor, SubmittedStatement, apilevel, connect, paramstyle, threadsafety
from seakernel.exceptions import (
    DatabaseError,
    DataError,
    DataLossError,
    Error,
    IntegrityError,
    InterfaceError,
    InternalError,
    NotSupportedError,
    OperationalError,
    ProgrammingError,
    ServerOperationError,
    Warning,  # noqa: A004 - PEP 249 gives the name
)
from seakernel.explanation import AuthExplanation, AuthStep, explain_auth
from seakernel.partitions import LinkServer, LinkServerAddress, PartitionLease, PartitionResult
from seakernel.progress import Progress
from seakernel.row import Row
from seakernel.types import (
    BINARY,
    DATETIME,
    NUMBER,
    ROWID,
    STRING,
    ArrowSchemaExportable,
    ArrowStreamExportable,
    AuthOptions,
    Binary,
    Date,
    DateFromTicks,
    ProxyOptions,
    RequestOptions,
    ResultOptions,
    RetryOptions,
    Time,
    TimeFromTicks,
    Timestamp,
    TimestampFromTicks,
    TlsOptions,
    TypeObject,
)
from seakernel.volumes import Volume, VolumeFile

__all__ = [
    "BINARY",
    "DATETIME",
    "NUMBER",
    "ROWID",
    "STRING",
    "ArrowSchemaExportable",
    "ArrowStreamExportable",
    "ArrowTable",
    "AuthExplanation",
    "AuthOptions",
    "AuthStep",
    "Binary",
    "Column",
    "Connection",
    "Cursor",
    "DataError",
    "DataLossError",
    "DatabaseError",
    "Date",
    "DateFromTicks",
    "Error",
    "ExecutedStatement",
    "IntegrityError",
    "InterfaceError",
    "InternalError",
    "LinkServer",
    "LinkServerAddress",
    "Metadata",
    "NotSupportedError",
    "OperationalError",
    "Parameter",
    "Partition",
    "PartitionLease",
    "PartitionLinks",
    "PartitionResult",
    "PartitionStream",
    "ProgrammingError",
    "Progress",
    "ProxyOptions",
    "RequestOptions",
    "ResultOptions",
    "ResultStream",
    "RetryOptions",
    "Row",
    "ServerOperationError",
    "Session",
    "Statement",
    "Statistics",
    "SubmittedStatement",
    "Time",
    "TimeFromTicks",
    "Timestamp",
    "TimestampFromTicks",
    "TlsOptions",
    "TypeObject",
    "Volume",
    "VolumeFile",
    "VolumeOperation",
    "Warning",
    "__version__",
    "aio",
    "apilevel",
    "connect",
    "explain_auth",
    "forget_log_levels",
    "paramstyle",
    "threadsafety",
]
