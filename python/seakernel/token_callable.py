"""Callables and objects that give tokens, as `auth`: what each is asked by, and the thread it is asked in.

Nothing here is imported from the Databricks SDK: its objects are known by their methods.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from seakernel.exceptions import ProgrammingError
from seakernel.terminal_text import printable

if TYPE_CHECKING:
    import asyncio

__all__ = ["TokenCallable", "prepared"]

_ACCEPTED = (
    "a mapping with a `type`, a callable that returns a token or headers, or a `Config`, `WorkspaceClient` or token source"
    " of databricks-sdk"
)


def prepared(auth: object) -> dict[str, Any] | TokenCallable:
    """Returns the options of a sign-in that the kernel does, or what gives the tokens.

    Raises:
        ProgrammingError: `auth` is neither.
    """
    if not isinstance(auth, Mapping):
        return TokenCallable(auth, "`auth`")
    if auth.get("type") != "callable":
        return dict(auth)
    unknown = [key for key in auth if key not in ("type", "callable", "timeout_s")]
    if unknown:
        raise ProgrammingError(
            f"`auth` has no key `{printable(str(unknown[0]), 80)}` (accepted: type, callable, timeout_s)",
            kind="InvalidArgument",
        )
    return TokenCallable(auth.get("callable"), "`auth`: `callable`", auth.get("timeout_s"))


class TokenCallable:
    """What is asked for tokens, and its name for errors."""

    __slots__ = ("_ask", "name", "timeout_s")

    def __init__(self, given: object, called: str, timeout_s: object = None) -> None:
        self._ask = _question(given, called)
        self.name = printable(getattr(self._ask, "__qualname__", type(self._ask).__qualname__), 80)
        self.timeout_s = timeout_s

    def start(
        self,
        event_loop: asyncio.AbstractEventLoop | None,
        limit_s: float,
        deliver: Callable[[object, BaseException | None], None],
    ) -> None:
        """Asks in a thread of its own, and passes to `deliver` what was returned or raised.

        Coroutines run on `event_loop` while that is open, and else on a loop that all of this process share, so that what
        a coroutine keeps from call to call, such as a pool of connections, stays on one loop.
        """

        def run() -> None:
            try:
                answer = self._answer(event_loop, limit_s)
            except BaseException as error:  # noqa: BLE001 - raised to whoever needs the token
                deliver(None, error)
            else:
                deliver(answer, None)

        threading.Thread(target=run, name="seakernel-token", daemon=True).start()

    def _answer(self, event_loop: asyncio.AbstractEventLoop | None, limit_s: float) -> object:
        answer = _awaited(self._ask(), event_loop, limit_s)
        if callable(answer) and not isinstance(answer, Mapping) and not hasattr(answer, "access_token"):
            # A factory of headers, as credentials providers of databricks-sdk and databricks-sql-connector return: it is what
            # is asked from now on.
            self._ask, answer = answer, None
            answer = _awaited(self._ask(), event_loop, limit_s)
        return answer


def _question(given: Any, called: str) -> Callable[[], Any]:
    if isinstance(given, type):
        raise ProgrammingError(
            f"{called} is the class `{given.__qualname__}`; pass an object of it", kind="InvalidArgument"
        )
    for candidate in (
        getattr(given, "authenticate", None),  # Config
        getattr(getattr(given, "config", None), "authenticate", None),  # WorkspaceClient
        given,
        getattr(given, "token", None),  # token sources
    ):
        if callable(candidate):
            return candidate  # type: ignore[no-any-return]
    if given is None:
        raise ProgrammingError(f"{called} is missing; expected {_ACCEPTED}", kind="InvalidArgument")
    advice = "; a token goes in `access_token`" if isinstance(given, str | bytes) else ""
    raise ProgrammingError(
        f"{called} is of type `{type(given).__name__}`; expected {_ACCEPTED}{advice}", kind="InvalidArgument"
    )


def _awaited(answer: object, event_loop: asyncio.AbstractEventLoop | None, limit_s: float) -> object:
    if not isinstance(answer, Awaitable):
        return answer
    import asyncio

    async def waiting() -> object:
        return await answer

    coroutine = waiting()
    if event_loop is None or event_loop.is_closed():
        event_loop = _own_loop()
    try:
        future = asyncio.run_coroutine_threadsafe(coroutine, event_loop)
    except RuntimeError:
        # Closed just now.
        coroutine.close()
        raise
    try:
        return future.result(limit_s)
    finally:
        future.cancel()


_OWN_LOOP_LOCK = threading.Lock()
_own: tuple[int, asyncio.AbstractEventLoop] | None = None


def _own_loop() -> asyncio.AbstractEventLoop:
    """Returns the loop for coroutines that have none, started at the first call and after a fork."""
    global _own  # noqa: PLW0603 - one per process
    import asyncio
    import atexit

    with _OWN_LOOP_LOCK:
        if _own is not None and _own[0] == os.getpid():
            return _own[1]
        event_loop = asyncio.new_event_loop()
        thread = threading.Thread(target=event_loop.run_forever, name="seakernel-token-loop", daemon=True)
        thread.start()
        _own = os.getpid(), event_loop
        atexit.register(_stop, os.getpid(), event_loop, thread)
        return event_loop


def _stop(pid: int, event_loop: asyncio.AbstractEventLoop, thread: threading.Thread) -> None:
    if pid != os.getpid():
        return
    event_loop.call_soon_threadsafe(event_loop.stop)
    thread.join(1)
    if not thread.is_alive():
        event_loop.close()


def _new_lock_after_fork() -> None:
    global _OWN_LOOP_LOCK  # noqa: PLW0603 - another thread may have held it
    _OWN_LOOP_LOCK = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_new_lock_after_fork)
