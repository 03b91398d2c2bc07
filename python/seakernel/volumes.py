"""Files of Unity Catalog volumes: upload, download, delete, list; and the PUT, GET and REMOVE statements of a cursor."""

from __future__ import annotations

import datetime as dt
import os
import stat
from collections.abc import Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, TypeAlias, overload

from seakernel.exceptions import OperationalError, ProgrammingError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from seakernel._seakernel import VolumeOperation
    from seakernel.dbapi import Connection

__all__ = ["Progress", "Volume", "VolumeFile"]

#: Called with the bytes transferred and the bytes in all, None while they are not known.
Progress: TypeAlias = "Callable[[int, int | None], object]"
LocalPath: TypeAlias = "str | os.PathLike[str]"

# A statement with this name in place of a file leaves it to the client what is uploaded.
_INPUT_STREAM = "__input_stream__"
# What an upload without a position is kept in until all of it is there; more of it goes to disk.
_SPOOLED_BYTES = 8 << 20


class VolumeFile(NamedTuple):
    """A file or directory in a volume, as `Volume.list` gives it.

    Example:
        >>> _ = cursor.execute("CREATE VOLUME main.default.files")
        >>> _ = connection.volume.put(b"1,9.90", "/Volumes/main/default/files/2024/prices.csv")
        >>> [file.path for file in connection.volume.list("/Volumes/main/default/files")]
        ['/Volumes/main/default/files/2024/']
        >>> [(file.name, file.size) for file in connection.volume.list("/Volumes/main/default/files/2024")]
        [('prices.csv', 6)]
    """

    path: str
    """The whole path, `/Volumes/...`; that of a directory ends with `/`."""
    name: str
    """The last part of the path; that of a directory ends with `/`, too."""
    size: int
    """Bytes; 0 for a directory."""
    modified: dt.datetime | None
    """When it was written last, with its time zone."""

    @property
    def is_directory(self) -> bool:
        """Whether it is a directory.

        Example:
            >>> _ = cursor.execute("CREATE VOLUME main.default.files")
            >>> _ = connection.volume.put(b"1,9.90", "/Volumes/main/default/files/2024/prices.csv")
            >>> [file.name for file in connection.volume.list("/Volumes/main/default/files") if file.is_directory]
            ['2024/']
        """
        return self.path.endswith("/")


# Within `Volume`, `list` is the method.
_VolumeFiles: TypeAlias = "list[VolumeFile]"


class Volume:
    """The files of volumes, by their paths `/Volumes/{catalog}/{schema}/{volume}/...`.

    It is `Connection.volume`. Each call runs one statement, which hands out a presigned link, and then talks to the storage
    host with that link alone. The names and contents of local files are not sent to the warehouse. Files travel in pieces
    of 256 KiB. Threads may share it. Ctrl-C ends a call within a fraction of a second.

    Example:
        >>> _ = cursor.execute("CREATE VOLUME main.default.files")
        >>> connection.volume.put(b"1,9.90", "/Volumes/main/default/files/prices.csv")
        6
        >>> connection.volume.get("/Volumes/main/default/files/prices.csv")
        b'1,9.90'
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def put(
        self,
        source: LocalPath | bytes | bytearray | memoryview | BinaryIO,
        path: str,
        *,
        overwrite: bool = False,
        progress: Progress | None = None,
    ) -> int:
        """Uploads a file. It appears in the volume whole or not at all.

        An upload that breaks off is repeated from its first byte, within the limits of `RetryOptions`.

        Args:
            source: Path of a local file, the content itself, or a file object opened with `rb`, which is read from where it
                stands. One that cannot seek is copied to a temporary file first, for storage hosts want to know the length.
            path: Where the file goes. Directories are made as needed.
            overwrite: Whether an existing file is replaced.
            progress: Called about ten times a second with the bytes sent, which become fewer where an upload is repeated, and
                the bytes in all. What it raises ends the call. It cannot use this package itself.

        Returns:
            The bytes uploaded.

        Raises:
            ProgrammingError: there is no such volume, or the file exists and `overwrite` is False (SQLSTATE 42K03).
            OperationalError: the connection failed, or the storage host refused the file.
            OSError: `source` cannot be read.

        Example:
            >>> _ = cursor.execute("CREATE VOLUME main.default.files")
            >>> connection.volume.put(b"1,9.90", "/Volumes/main/default/files/prices.csv")
            6
            >>> connection.volume.put(b"1,8.50", "/Volumes/main/default/files/prices.csv", overwrite=True)
            6
        """
        check_path(path)
        # Before the statement, so that a wrong path costs nothing.
        with _readable(source) as readable:
            return self._begin_put(path, overwrite=overwrite).put(readable, progress)

    @overload
    def get(self, path: str, destination: None = None, *, progress: Progress | None = None) -> bytes: ...
    @overload
    def get(
        self,
        path: str,
        destination: LocalPath | BinaryIO,
        *,
        overwrite: bool = False,
        progress: Progress | None = None,
    ) -> int: ...
    def get(
        self,
        path: str,
        destination: LocalPath | BinaryIO | None = None,
        *,
        overwrite: bool = False,
        progress: Progress | None = None,
    ) -> bytes | int:
        """Downloads a file.

        A download that breaks off goes on where it stopped, if the file has not changed meanwhile, and starts again if it
        has. A local file gets its name only when it is complete; until then the part lies beside it in a hidden folder that
        only this user can enter. A file that is replaced hands on its permissions.

        Args:
            path: The file in the volume.
            destination: Path of a local file, or a file object opened with `wb`; without one the content is returned, which
                takes twice its size in memory.
            overwrite: Whether an existing local file is replaced.
            progress: Called about ten times a second with the bytes received and the bytes in all, None while they are not
                known. What it raises ends the call. It cannot use this package itself.

        Returns:
            The content, or the bytes written to `destination`.

        Raises:
            FileExistsError: `destination` exists and `overwrite` is False.
            ProgrammingError: there is no such file (kind `NotFound`) or volume.
            OperationalError: the connection failed, or the storage host refused.

        Example:
            >>> from pathlib import Path
            >>> _ = cursor.execute("CREATE VOLUME main.default.files")
            >>> _ = connection.volume.put(b"1,9.90", "/Volumes/main/default/files/prices.csv")
            >>> connection.volume.get("/Volumes/main/default/files/prices.csv")
            b'1,9.90'
            >>> connection.volume.get("/Volumes/main/default/files/prices.csv", "prices.csv")
            6
            >>> Path("prices.csv").read_text()
            '1,9.90'
        """
        check_path(path)
        statement = f"GET {string_literal(path)} TO '{_INPUT_STREAM}'"
        if destination is None:
            content: bytes = self._ask("GET", statement).get(None, progress)
            return content
        if not isinstance(destination, (str, os.PathLike)):
            count: int = self._ask("GET", statement).get(destination, progress)
            return count
        from seakernel.local_files import check_destination

        target = Path(destination)
        check_destination(target, overwrite=overwrite)
        return _download(self._ask("GET", statement), target, progress, overwrite=overwrite)

    def remove(self, path: str) -> None:
        """Deletes a file. Storage on AWS does not tell whether there was one.

        Args:
            path: The file in the volume.

        Raises:
            ProgrammingError: there is no such file (kind `NotFound`) or volume.
            OperationalError: the connection failed, or the storage host refused.

        Example:
            >>> _ = cursor.execute("CREATE VOLUME main.default.files")
            >>> _ = connection.volume.put(b"1,9.90", "/Volumes/main/default/files/prices.csv")
            >>> connection.volume.remove("/Volumes/main/default/files/prices.csv")
            >>> connection.volume.list("/Volumes/main/default/files")
            []
        """
        check_path(path)
        self._ask("REMOVE", f"REMOVE {string_literal(path)}").remove()

    def list(self, path: str) -> _VolumeFiles:
        """Returns the files and directories in a directory of a volume, not those further down.

        Args:
            path: The directory, or the volume itself.

        Raises:
            ProgrammingError: there is no such directory or volume.

        Example:
            >>> _ = cursor.execute("CREATE VOLUME main.default.files")
            >>> _ = connection.volume.put(b"1,9.90", "/Volumes/main/default/files/prices.csv")
            >>> [(file.name, file.size) for file in connection.volume.list("/Volumes/main/default/files")]
            [('prices.csv', 6)]
        """
        check_path(path, directory=True)
        with self._connection.cursor() as cursor:
            cursor.execute(f"LIST {string_literal(path)}")
            names = [column[0].lower() for column in cursor.description or ()]
            rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        return [
            VolumeFile(row["path"], row["name"], int(row.get("size") or 0), _moment(row.get("modification_time")))
            for row in rows
        ]

    def _begin_put(self, path: str, *, overwrite: bool = False) -> VolumeOperation:
        keyword = " OVERWRITE" if overwrite else ""
        return self._ask("PUT", f"PUT '{_INPUT_STREAM}' INTO {string_literal(path)}{keyword}")

    def _ask(self, operation: str, statement: str) -> VolumeOperation:
        asked = self._connection._open_session().volume_operation(statement)  # noqa: SLF001 - the same package
        if asked.operation != operation:
            message = f"the server answered {operation} with {asked.operation}"
            raise OperationalError(message, kind="Protocol", statement_id=asked.statement_id)
        return asked


def transfer(operation: VolumeOperation, allowed: Sequence[str] | None, stream: BinaryIO | None) -> None:
    """Does what a PUT, GET or REMOVE statement of a cursor asks for.

    Args:
        operation: What it asks for.
        allowed: Real paths of the local files and directories that may be read and written; None where that was not said.
        stream: What `__input_stream__` stands for.

    Raises:
        ProgrammingError: the local file is not among those allowed, or there is no stream.
    """
    if operation.operation == "REMOVE":
        operation.remove()
        return
    refused: Any = {"kind": "InvalidArgument", "statement_id": operation.statement_id}
    if operation.local_file is None:
        raise ProgrammingError(f"{operation.operation} names no local file", **refused)
    if operation.operation == "PUT" and operation.local_file == _INPUT_STREAM:
        if stream is None:
            raise ProgrammingError(f"`{_INPUT_STREAM}` needs the argument `input_stream` of `execute`", **refused)
        with _readable(stream) as readable:
            operation.put(readable)
        return
    if allowed is None:
        message = (
            f"{operation.operation} of a local file needs the option `staging_allowed_local_path` of `connect`, or use "
            "`connection.volume`"
        )
        raise ProgrammingError(message, **refused)
    local = Path(os.path.realpath(operation.local_file))
    if not any(_contains(base, str(local)) for base in allowed):
        message = f"the local file `{operation.local_file}` is outside of `staging_allowed_local_path`"
        raise ProgrammingError(message, **refused)
    if operation.operation == "PUT":
        with _readable(local) as readable:
            operation.put(readable)
    else:
        from seakernel.local_files import check_destination

        check_destination(local, overwrite=True)
        _download(operation, local, None, overwrite=True)


def allowed_paths(option: LocalPath | Iterable[LocalPath] | None) -> list[str] | None:
    """Returns the real paths that `staging_allowed_local_path` names.

    Raises:
        ProgrammingError: a path is empty, which would mean the working directory.
    """
    if option is None:
        return None
    paths = (
        [option] if isinstance(option, (str, bytes, os.PathLike)) or not isinstance(option, Iterable) else list(option)
    )
    if not all(isinstance(path, (str, os.PathLike)) and os.fspath(path) for path in paths):
        message = "`staging_allowed_local_path` is neither a path nor a list of paths"
        raise ProgrammingError(message, kind="InvalidArgument")
    return [os.path.realpath(path) for path in paths]


def _contains(base: str, path: str) -> bool:
    # By whole components: `/data/in` does not contain `/data/in2`.
    base, path = os.path.normcase(base), os.path.normcase(path)
    return Path(path).is_relative_to(base)


@contextmanager
def _readable(source: object) -> Iterator[Any]:
    """Gives what the kernel can read: bytes, the path of a file, or a file object with a position."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        yield bytes(source)
    elif isinstance(source, (str, os.PathLike)):
        path = os.fspath(source)
        # Looked at first: to open a named pipe would wait for its writer.
        if not stat.S_ISREG(Path(path).stat().st_mode):
            raise ProgrammingError(f"`{path}` is not a file with a length", kind="InvalidArgument")
        yield path
    elif not hasattr(source, "read"):
        message = f"`{type(source).__name__}` is neither a path, nor bytes, nor a file object"
        raise ProgrammingError(message, kind="InvalidArgument")
    elif getattr(source, "seekable", lambda: False)():
        yield source
    else:
        import shutil
        import tempfile

        with tempfile.SpooledTemporaryFile(max_size=_SPOOLED_BYTES) as spooled:
            shutil.copyfileobj(source, spooled)
            spooled.seek(0)
            yield spooled


def _download(operation: VolumeOperation, target: Path, progress: Progress | None, *, overwrite: bool) -> int:
    from seakernel.local_files import complete_file

    with complete_file(target, overwrite=overwrite) as part:
        count: int = operation.get(str(part), progress)
    return count


def check_path(path: str, *, directory: bool = False) -> None:
    """Fails unless `path` is that of a file in a volume, or of a directory or volume."""
    parts = path.removesuffix("/").split("/") if directory else path.split("/")
    wrong = len(parts) < (5 if directory else 6) or parts[:2] != ["", "Volumes"]
    if wrong or any(part in ("", ".", "..") for part in parts[2:]) or not path.isprintable():
        wanted = "/Volumes/{catalog}/{schema}/{volume}" + ("" if directory else "/{file}")
        raise ProgrammingError(f"the path {path!r} is not of the form `{wanted}`", kind="InvalidArgument")


def string_literal(text: str) -> str:
    """Returns `text` as a string of SQL."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _moment(value: object) -> dt.datetime | None:
    if isinstance(value, dt.datetime):
        return value if value.tzinfo is not None else value.replace(tzinfo=dt.timezone.utc)
    # Some listings tell milliseconds since 1970.
    return dt.datetime.fromtimestamp(value / 1000, dt.timezone.utc) if isinstance(value, int) else None
