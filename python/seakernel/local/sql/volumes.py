"""Volumes: CREATE, DROP and SHOW VOLUMES, the files in them, and COPY INTO from them.

PUT, GET and REMOVE only say what is to be done; the client does it with the link that the server signs.
"""

from __future__ import annotations

import datetime
import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from seakernel.local.sql import syntax, types
from seakernel.local.sql.catalog import Volume
from seakernel.local.sql.errors import failure, unsupported
from seakernel.local.sql.execution import Execution, counts, rows_query
from seakernel.local.sql.typed import Column, QuerySql, RelationSql
from seakernel.local.sql.types import quoted, text_literal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seakernel.local.sql import commands
    from seakernel.local.sql.session import StatementEnvironment

__all__ = [
    "copy_into",
    "create_volume",
    "drop_volume",
    "files_relation",
    "list_files",
    "relation_of_files",
    "remove_folder",
    "transfer",
]


def create_volume(execution: Execution, command: commands.CreateVolume) -> None:
    """CREATE VOLUME."""
    from seakernel.local.sql.run_definition import writable_schema

    parts = execution.name(command.name)
    schema, (catalog_name, schema_name, name) = writable_schema(execution, parts)
    if name in schema.volumes:
        if command.if_not_exists:
            return
        raise failure(
            "VOLUME_ALREADY_EXISTS",
            "42000",
            f"Cannot create volume `{catalog_name}`.`{schema_name}`.`{name}` because it already exists. Choose a different name, drop or replace the existing object, or add the IF NOT EXISTS clause to tolerate pre-existing objects.",
        )
    if execution.environment.volume_folder is None:
        raise unsupported("A volume without a folder for its files")
    schema.volumes = {**schema.volumes, name: Volume(name, command.comment, execution.session.user)}


def drop_volume(execution: Execution, command: commands.Drop) -> None:
    """DROP VOLUME, with its files."""
    catalog, schema, name = execution.environment.qualified(execution.name(command.name))
    holder = execution.warehouse.schema(catalog, schema)
    if name.lower() not in holder.volumes:
        if command.if_exists:
            return
        raise _no_volume(catalog, schema, name)
    holder.volumes = {key: volume for key, volume in holder.volumes.items() if key != name.lower()}
    remove_folder(execution, catalog, schema, name)


def remove_folder(execution: Execution, *parts: str) -> None:
    """Deletes the files of a volume, or of all volumes of a schema or catalog."""
    folder = execution.environment.volume_folder
    if folder is not None:
        shutil.rmtree(folder.joinpath(*(part.lower() for part in parts)), ignore_errors=True)


def transfer(execution: Execution, command: commands.TransferFile) -> tuple[str, str, str | None]:
    """Checks PUT, GET or REMOVE, and gives the operation, the path of the file and the client's own file."""
    path, file = _file(execution.environment, command.path)
    if file.is_dir() or command.path.endswith("/") or path.count("/") < 5:
        raise failure("INVALID_PARAMETER_VALUE", "22023", f"The path '{command.path}' is that of a directory.")
    if command.operation == "PUT" and not command.overwrite and file.exists():
        raise failure(
            "FILE_IN_STAGING_PATH_ALREADY_EXISTS",
            "42K03",
            f"File in staging path {path} already exists but OVERWRITE is not set.",
        )
    return command.operation, path, command.local_file


def list_files(execution: Execution, command: commands.ListFiles) -> QuerySql:
    """LIST."""
    path, folder = _file(execution.environment, command.path)
    if folder.is_file():
        entries = [folder]
    elif folder.is_dir():
        entries = sorted(folder.iterdir())
    elif path.count("/") == 4:
        entries = []
    else:
        raise _no_path(command.path)
    rows = []
    for entry in entries[: command.limit]:
        about, directory = entry.stat(), entry.is_dir()
        shown = f"{path}/{entry.name}" if entry != folder else path
        modified = datetime.datetime.fromtimestamp(about.st_mtime, datetime.timezone.utc)
        rows.append(
            (
                shown + "/" if directory else shown,
                entry.name + "/" if directory else entry.name,
                0 if directory else about.st_size,
                modified,
            )
        )
    columns = [
        ("path", types.STRING),
        ("name", types.STRING),
        ("size", types.BIGINT),
        ("modification_time", types.TIMESTAMP),
    ]
    return rows_query(columns, rows)


def files_relation(environment: StatementEnvironment, path: str, alias: str) -> RelationSql:
    """The rows of all Parquet files at a path of a volume, which is a file or a folder."""
    files = [str(file) for _, file in _parquet_files(environment, path)]
    return relation_of_files(environment, files, alias)


def relation_of_files(environment: StatementEnvironment, files: list[str], alias: str) -> RelationSql:
    """The rows of Parquet files on disk; the first tells the columns."""
    from seakernel.local.engine import from_engine_type

    reader = f"read_parquet([{', '.join(map(text_literal, files))}], hive_partitioning = false)"
    described = environment.run(f"DESCRIBE SELECT * FROM {reader}")
    try:
        kinds = [(str(row[0]), from_engine_type(str(row[1]))) for row in described]
    except ValueError as error:
        raise unsupported(f"A Parquet file with {error}") from error
    items = ", ".join(f"CAST({quoted(name)} AS {kind.engine}) AS {quoted(name)}" for name, kind in kinds)
    return RelationSql(
        f"(SELECT {items} FROM {reader}) AS {alias}",
        [Column(name, kind, f"{alias}.{quoted(name)}") for name, kind in kinds],
    )


def copy_into(execution: Execution, command: commands.CopyInto) -> QuerySql:
    """COPY INTO: adds the rows of those files that were not loaded into the table before."""
    from seakernel.local.sql.execution import require_table
    from seakernel.local.sql.run_rows import insert

    parts = execution.name(command.name)
    table = require_table(execution, parts, "COPY INTO")
    found = _parquet_files(execution.environment, command.path)
    files = [(path, file) for path, file in found if command.force or path not in table.loaded_files]
    if not files:
        return counts(num_affected_rows=0, num_inserted_rows=0, num_skipped_corrupt_files=0)
    given = relation_of_files(execution.environment, [str(file) for _, file in files], "f0")
    columns = {column.name.lower() for column in table.columns}
    surplus = [column.name for column in given.columns if column.name.lower() not in columns]
    if surplus:
        raise failure(
            "DELTA_METADATA_MISMATCH",
            "42KDG",
            f"A schema mismatch detected when writing to the Delta table: it has no column `{surplus[0]}`.",
        )
    names = [column.name for column in given.columns]
    query = syntax.Query(
        syntax.Select(
            [syntax.Name([name]) for name in names],
            source=syntax.FilesRelation([str(file) for _, file in files]),
        )
    )
    added = insert(execution, command.as_insert(query, names))
    table.loaded_files = table.loaded_files | {path for path, _ in files}
    count = execution.run(added.sql)[0][0]
    return counts(num_affected_rows=count, num_inserted_rows=count, num_skipped_corrupt_files=0)


def _parquet_files(environment: StatementEnvironment, text: str) -> list[tuple[str, Path]]:
    path, start = _file(environment, text)
    if start.is_file():
        return [(path, start)]
    files = [(f"{path}/{file.relative_to(start).as_posix()}", file) for file in sorted(_walk(start))]
    if not files:
        raise _no_path(text)
    return files


def _walk(folder: Path) -> Iterator[Path]:
    for directory, folders, names in os.walk(folder):
        # The marks of writers are no data.
        folders[:] = [name for name in folders if not name.startswith(("_", "."))]
        yield from (Path(directory) / name for name in names if not name.startswith(("_", ".")))


def _file(environment: StatementEnvironment, text: str) -> tuple[str, Path]:
    """The path within a volume that exists, in its one spelling, and where it lies on disk."""
    folder = environment.volume_folder
    if folder is None:
        raise unsupported("A volume without a folder for its files")
    wrong = failure("INVALID_PARAMETER_VALUE", "22023", f"The path '{text}' is not that of a file in a volume.")
    parts = re.sub("^dbfs:", "", text).removesuffix("/").split("/")
    if len(parts) < 5 or parts[0] or parts[1] != "Volumes":
        raise wrong
    inner = parts[2:]
    if any(
        part in ("", ".", "..") or re.search(r"[\x00-\x1f\x7f\\]", part) or len(part.encode()) > 255 for part in inner
    ):
        raise wrong
    catalog, schema, name = inner[:3]
    if name.lower() not in environment.warehouse.schema(catalog, schema).volumes:
        raise _no_volume(catalog, schema, name)
    inner[:3] = [part.lower() for part in inner[:3]]
    return "/Volumes/" + "/".join(inner), folder.joinpath(*inner)


def _no_volume(catalog: str, schema: str, name: str) -> Exception:
    return failure(
        "UC_VOLUME_NOT_FOUND",
        "42704",
        f"Volume `{catalog}`.`{schema}`.`{name}` does not exist. Please use 'SHOW VOLUMES' to list available volumes.",
    )


def _no_path(path: str) -> Exception:
    return failure("PATH_NOT_FOUND", "42K03", f"Path does not exist: {path}.")
