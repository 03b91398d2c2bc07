"""Local files that appear when they are complete, and are as private as the files whose place they take."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["check_destination", "complete_file", "regular_content"]


def regular_content(path: str | os.PathLike[str] | int, limit: int) -> bytes:
    """Returns the content of a regular file, without waiting for anybody at the other end of a pipe.

    Args:
        path: The name of the file, or its descriptor.
        limit: Most bytes it may have.

    Raises:
        OSError: the file cannot be read, with the system's reason, or is none that should be.
        TypeError: `path` is no name of a file.
        ValueError: the same.
    """

    def opened(name: str, flags: int) -> int:
        return os.open(name, flags | getattr(os, "O_NONBLOCK", 0))

    with open(path, "rb", opener=opened) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(0, "it is not a regular file")
        content = file.read(limit + 1)
    if len(content) > limit:
        raise OSError(0, f"it is larger than {limit >> 20} MiB")
    return content


@contextlib.contextmanager
def complete_file(target: Path, *, overwrite: bool) -> Iterator[Path]:
    """Yields the path at which to write a file that gets the name `target`, in one step, at the end of the `with`.

    After a failure nothing is left of it and `target` is what it was. A file that is replaced hands on its permissions.

    Args:
        target: The path that the file gets.
        overwrite: Whether a file that has this path is replaced.

    Raises:
        FileExistsError: another has made `target` meanwhile, and `overwrite` is False.
        OSError: the directory of `target` does not exist or cannot be written.
    """
    import shutil
    import tempfile

    try:
        # A folder that nobody else can enter keeps the part private, whatever permissions it begins with.
        folder = Path(tempfile.mkdtemp(prefix=f".{target.name[:50]}.", suffix=".part", dir=target.parent))
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(target)) from None
    try:
        part = folder / "part"
        yield part
        if overwrite:
            with contextlib.suppress(FileNotFoundError):
                part.chmod(stat.S_IMODE(target.stat().st_mode))
            part.replace(target)
        else:
            _rename_new(part, target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def check_destination(target: Path, *, overwrite: bool) -> None:
    """Fails where a file cannot get the path `target`."""
    if target.is_dir():
        raise IsADirectoryError(f"`{target}` is a directory; name the file in it")
    if not overwrite and target.exists():
        raise FileExistsError(f"`{target}` exists; pass `overwrite=True` to replace it")


def _rename_new(part: Path, target: Path) -> None:
    try:
        # Unlike a rename, it fails where another has made the file meanwhile.
        os.link(part, target)
    except FileExistsError:
        raise FileExistsError(f"`{target}` was made by another meanwhile") from None
    except OSError:
        # A file system without hard links.
        check_destination(target, overwrite=False)
        part.rename(target)
