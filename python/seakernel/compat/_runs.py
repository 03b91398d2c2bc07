"""What a statement shares with its cancellers, with the handles of its runs, and with other threads."""

from __future__ import annotations

import os
import threading
import weakref
from typing import TYPE_CHECKING

from seakernel.compat._kernel_error import kernel_error, kernel_errors

if TYPE_CHECKING:
    import seakernel


class Turns:
    """Lets one thread at a time use a statement, and no forked child, where the other threads do not exist."""

    __slots__ = ("_lock", "_process_id")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process_id = os.getpid()

    def are_elsewhere(self) -> bool:
        return os.getpid() != self._process_id

    def __enter__(self) -> None:
        if self.are_elsewhere():
            raise kernel_error(
                "InvalidStatementHandle", "the statement was made in the parent process; open a session in the child"
            )
        self._lock.acquire()

    def __exit__(self, *_exception: object) -> None:
        self._lock.release()


class Run:
    """What a statement and the handle of its latest run share."""

    __slots__ = ("_executed", "valid")

    def __init__(self, executed: seakernel.ExecutedStatement | None = None) -> None:
        self.valid = True
        # Weak, for dropping the handle closes the statement on the server.
        self._executed = None if executed is None else weakref.ref(executed)

    def end(self) -> None:
        """Invalidates the handle; a submitted statement is closed on the server."""
        self.valid = False
        executed = None if self._executed is None else self._executed()
        if executed is not None:
            with kernel_errors():
                executed.close()

    def check(self) -> None:
        if not self.valid:
            raise kernel_error(
                "InvalidStatementHandle",
                "the handle is no longer valid: its Statement was executed again or closed",
            )


class Target:
    """What a canceller aims at: the statement that was sent last."""

    __slots__ = ("requested", "statement")

    def __init__(self) -> None:
        self.statement: seakernel.Statement | None = None
        self.requested = False
