"""Tokens of the Databricks command line, which has signed in with `databricks auth login`."""

from __future__ import annotations

import contextlib
import datetime as dt
import re

from seakernel.exceptions import OperationalError, ProgrammingError

__all__ = ["DatabricksCli"]

# Shorter than the limit of a callable, so that the program is ended before it is given up.
_LIMIT_S = 12.0


class DatabricksCli:
    """Asks `databricks auth token` for the token of a host; called when one is needed."""

    def __init__(self, host: str, program: str) -> None:
        self._host = host
        self._program = program
        self.__qualname__ = "databricks auth token"

    def __call__(self) -> tuple[str, dt.datetime | None]:
        """Returns the token and when it ends.

        Raises:
            ProgrammingError: there is no such program.
            OperationalError: it failed or did not answer. Nothing that it has written is repeated.
        """
        import shutil

        program = shutil.which(self._program)
        if program is None:
            raise ProgrammingError(
                "`auth_type` is `databricks-cli`, and there is no program `databricks` in `PATH`; install it, or name it in"
                " `DATABRICKS_CLI_PATH`",
                kind="InvalidArgument",
            )
        answer = _token_and_expiry(_output([program, "auth", "token", "--host", self._host]))
        if answer is None:
            raise OperationalError("the answer of `databricks auth token` holds no token", kind="Unauthenticated")
        return answer


def _output(command: list[str]) -> str:
    import subprocess

    failure = None
    try:
        done = subprocess.run(  # noqa: S603 - the program is the user's setting
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired:
        failure = f"did not end within {_LIMIT_S:.0f} s"
    except OSError as error:
        failure = f"could not be run: {error.strerror}"
    else:
        if done.returncode == 0:
            return done.stdout.decode("utf-8", "replace")
        failure = f"ended with {done.returncode}"
    # Out here: the exceptions hold what the program has written.
    raise OperationalError(
        f"`databricks auth token` {failure}; run `databricks auth login --host {command[-1]}`", kind="Unauthenticated"
    )


def _token_and_expiry(output: str) -> tuple[str, dt.datetime | None] | None:
    import json

    try:
        answer = json.loads(output)
    except ValueError:
        return None
    token = answer.get("access_token") if isinstance(answer, dict) else None
    if not isinstance(token, str):
        return None
    expiry = None
    # Nanoseconds and `Z` are more than Python 3.10 reads.
    text = re.sub(r"\.\d+", "", str(answer.get("expiry"))).replace("Z", "+00:00")
    with contextlib.suppress(ValueError):
        expiry = dt.datetime.fromisoformat(text)
    return token, expiry
