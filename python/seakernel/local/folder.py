"""A folder of Parquet and CSV files as a schema: one table per file or per sub-folder of parts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

__all__ = ["FolderTable", "folder_schema", "folder_tables"]

FileFormat = Literal["parquet", "csv"]

_FORMATS: dict[str, FileFormat] = {".parquet": "parquet", ".csv": "csv"}


@dataclass(frozen=True)
class FolderTable:
    """A table found in a data folder: all `paths` have the same `file_format`."""

    name: str
    file_format: FileFormat
    paths: Sequence[Path]


def folder_schema(directory: str | os.PathLike[str]) -> str:
    """Returns the schema's name for a data folder: the folder's own name as an identifier."""
    return _identifier(Path(directory).resolve().name, Path(directory))


def folder_tables(directory: str | os.PathLike[str]) -> list[FolderTable]:
    """Returns the tables of a data folder, sorted by name: `x.parquet`, `x.csv`, and sub-folders `x` of such parts.

    Characters that an unquoted SQL name cannot have become `_`. Hidden files and files of other kinds are left out.

    Raises:
        NotADirectoryError: `directory` is no folder.
        ValueError: there is no table, two files would become the same table, or a sub-folder mixes formats.
    """
    root = Path(directory)
    if not root.is_dir():
        raise NotADirectoryError(f"data folder `{root}` does not exist or is not a folder")
    tables: dict[str, FolderTable] = {}
    origins: dict[str, Path] = {}
    for entry in sorted(root.iterdir()):
        if not _is_data(Path(entry.name)):
            continue
        table = _part_folder(entry) if entry.is_dir() else _single_file(entry)
        if table is None:
            continue
        if table.name in tables:
            raise ValueError(
                f"`{origins[table.name]}` and `{entry}` would both be table `{table.name}`: rename one of them"
            )
        tables[table.name] = table
        origins[table.name] = entry
    if not tables:
        raise ValueError(f"data folder `{root}` has no table: put `.parquet` or `.csv` files into it")
    return [tables[name] for name in sorted(tables)]


def _single_file(path: Path) -> FolderTable | None:
    file_format = _FORMATS.get(path.suffix.lower())
    return FolderTable(_identifier(path.stem, path), file_format, [path.resolve()]) if file_format else None


def _part_folder(path: Path) -> FolderTable | None:
    parts = sorted(
        part.resolve()
        for part in path.rglob("*")
        if part.suffix.lower() in _FORMATS and part.is_file() and _is_data(part.relative_to(path))
    )
    if not parts:
        return None
    formats = {_FORMATS[part.suffix.lower()] for part in parts}
    if len(formats) > 1:
        raise ValueError(f"`{path}` mixes Parquet and CSV files: a folder of parts must hold one kind")
    return FolderTable(_identifier(path.name, path), formats.pop(), parts)


def _is_data(path: Path) -> bool:
    # Names that begin with `_` or `.` are the marks of writers, such as `_SUCCESS`, never data.
    return not any(part.startswith((".", "_")) for part in path.parts)


def _identifier(name: str, origin: Path) -> str:
    identifier = re.sub(r"[^0-9a-z_]+", "_", name.lower()).strip("_")
    if not identifier:
        raise ValueError(f"`{origin}` gives no SQL name: rename it with letters, digits or `_`")
    return identifier
