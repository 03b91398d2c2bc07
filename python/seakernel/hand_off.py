"""A result for whoever computes elsewhere: in the process, behind its border, or in memory of its own."""

from __future__ import annotations

import base64
import threading
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from seakernel._seakernel import IpcEncoder, copy_batch, layout_head
from seakernel.exceptions import InterfaceError, ProgrammingError

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self

    from seakernel._seakernel import ArrowTable, ResultStream

__all__ = ["BatchLayout", "CopiedResult", "FieldLayout", "HandOffMode", "IpcStream", "Layout"]

HandOffMode = Literal["capsule", "ipc", "copy"]
MODES = ("capsule", "ipc", "copy")


class FieldLayout(TypedDict):
    """A field of `Layout`."""

    name: str
    format: str
    """The type in the letters of the Arrow C data interface."""
    nullable: bool
    metadata: dict[str, str]
    children: list[FieldLayout]


class BufferLayout(TypedDict):
    """Where a buffer is in the memory of its batch."""

    offset: int
    length: int


class ColumnLayout(TypedDict):
    """Where a column of a batch is, or a column within one."""

    length: int
    null_count: int
    offset: int
    """Always 0."""
    buffers: list[BufferLayout | None]
    """In the order of the Arrow format; None in place of a validity bitmap where no value is null."""
    children: list[ColumnLayout]


class BatchLayout(TypedDict, total=False):
    """Where a batch is in its memory."""

    row_count: int
    byte_count: int
    """Bytes that are used, a multiple of 64; as many were allocated."""
    columns: list[ColumnLayout]
    """Absent in the form `ipc`."""


class Layout(TypedDict):
    """What is where in the memory of a `CopiedResult`. JSON can hold it.

    Example:
        >>> layout = cursor.execute("SELECT 7 AS id").hand_off("copy", allocate=bytearray).layout
        >>> layout["fields"][0]["name"], layout["fields"][0]["format"], layout["batches"][0]["columns"][0]["buffers"]
        ('id', 'i', [None, {'offset': 0, 'length': 4}])
    """

    version: int
    """1. Another number is another structure."""
    form: Literal["buffers", "ipc"]
    """`buffers`, or `ipc` where a column holds a dictionary, a union, views, run ends or 64-bit offsets: each memory is then
    an Arrow IPC stream of its own with one batch."""
    schema: str
    """The schema for readers of Arrow: an IPC stream without a batch, in base64."""
    fields: list[FieldLayout]
    """The same for others."""
    batches: list[BatchLayout]
    """One for each piece of memory."""


class IpcStream:
    """The rest of a result as one Arrow IPC stream, in pieces of `bytes` of a batch each. Made by `Cursor.hand_off("ipc")`.

    It downloads while it is read, within `memory_budget_bytes`, and outlives the cursor. Bodies are not compressed. A piece
    in which a download fails is not made: the stream then has no end marker, which readers can tell.

    Example:
        >>> import io
        >>> file = io.BytesIO()
        >>> file.writelines(cursor.execute("SELECT id FROM range(1000)").hand_off("ipc"))
        >>> import polars
        >>> polars.read_ipc_stream(file.getvalue()).height
        1000
    """

    def __init__(self, result: ResultStream) -> None:
        self._result = result
        self._encoder: IpcEncoder | None = IpcEncoder(result)
        self._ended = False
        self._turn = threading.Lock()

    def read_all(self) -> bytes:
        """Returns what is left of the stream, gathered in memory.

        Example:
            >>> import polars
            >>> stream = cursor.execute("SELECT id, id * id AS square FROM range(3)").hand_off("ipc")
            >>> polars.read_ipc_stream(stream.read_all()).rows()
            [(0, 0), (1, 1), (2, 4)]
        """
        return b"".join(self)

    def close(self) -> None:
        """Ends a call that waits in another thread, and releases the result. Safe to call twice.

        Example:
            >>> stream = cursor.execute("SELECT id FROM range(1000)").hand_off("ipc")
            >>> stream.close()
            >>> stream.read_all()
            Traceback (most recent call last):
                ...
            seakernel.exceptions.InterfaceError: the result is closed
        """
        self._result.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        piece = self._piece()
        if piece is None:
            raise StopIteration
        return piece

    def _piece(self) -> bytes | None:
        """Returns the next piece; None behind the last one, which has the end marker."""
        with self._turn:
            if self._ended:
                return None
            # Kept only behind a piece that was made: behind one that is missing, no end marker may follow.
            encoder, self._encoder = self._encoder, None
            if encoder is None:
                message = "a piece of the stream could not be made, so it has no end; execute the statement again"
                raise InterfaceError(message, kind="Closed", statement_id=self._result.statement_id)
            read = self._result.fetched_row_count
            try:
                batch = self._result.next_batch()
            except BaseException:
                if self._result.fetched_row_count == read:
                    self._encoder = encoder
                raise
            if batch is None:
                piece = encoder.finish()
                self._ended = True
            else:
                piece = encoder.encode(batch)
                self._encoder = encoder
            return piece


class CopiedResult:
    """The rest of a result in memory that the caller allocated. Made by `Cursor.hand_off("copy")`.

    Example:
        >>> copied = cursor.execute("SELECT id FROM range(1000)").hand_off("copy", allocate=bytearray)
        >>> [len(memory) for memory in copied.memory], copied.layout["batches"][0]["byte_count"]
        ([8000], 8000)
    """

    def __init__(self, result: ResultStream, allocate: Callable[[int], Any]) -> None:
        self._result = result
        self._allocate = allocate
        head = layout_head(result)
        #: What is where in the memory.
        self.layout: Layout = {
            "version": head["version"],
            "form": head["form"],
            "schema": base64.b64encode(head["schema"]).decode(),
            "fields": head["fields"],
            "batches": [],
        }
        #: What `allocate` has returned, for one batch each.
        self.memory: list[Any] = []

    def _copy(self, batch: ArrowTable | None) -> bool:
        """Copies a batch; False where there is none."""
        if batch is None:
            return False
        memory, described = copy_batch(batch, self._allocate)
        self.memory.append(memory)
        self.layout["batches"].append(described)
        return True

    def __arrow_c_schema__(self) -> object:
        return self._result.__arrow_c_schema__()


def check_mode(mode: str, allocate: object) -> None:
    """Raises where a result cannot be handed off so."""
    if mode not in MODES:
        import difflib

        near = difflib.get_close_matches(str(mode), MODES, 1)
        hint = f"; did you mean `{near[0]}`?" if near else ""
        message = f"`mode` is `{mode}`; expected one of `{'`, `'.join(MODES)}`{hint}"
        raise ProgrammingError(message, kind="InvalidArgument")
    if mode == "copy" and not callable(allocate):
        message = (
            "`allocate` is missing: mode `copy` needs a callable that returns writable memory, such as `bytearray`"
        )
        raise ProgrammingError(message, kind="InvalidArgument")
    if mode != "copy" and allocate is not None:
        message = f"`allocate` is for mode `copy`; mode `{mode}` allocates nothing of the caller's"
        raise ProgrammingError(message, kind="InvalidArgument")
