"""`explain_auth`: what a connection would sign in with, and why with nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from seakernel.exceptions import Error, ProgrammingError
from seakernel.terminal_text import printable
from seakernel.unified_auth import AuthStep

if TYPE_CHECKING:
    from seakernel.types import Auth

__all__ = ["AuthExplanation", "AuthStep", "explain_auth"]


class AuthExplanation(NamedTuple):
    """What was looked at for a sign-in, in order. Nothing in it is a secret.

    Attributes:
        auth_type: The way of signing in that a connection would use, in the words of the Databricks SDKs; None where there
            is none.
        origin: Where its settings come from.
        server_hostname: The host that it would sign in to, None where none was found.
        steps: What was considered, in order.
        notes: What was found and not used, and where else nothing was looked for.
        problem: The error that `connect` would raise.

    Example:
        >>> explanation = seakernel.explain_auth("dbc-a1b2.cloud.databricks.com", access_token="dapi...")
        >>> explanation.auth_type, explanation.origin
        ('pat', 'argument `access_token`')
    """

    auth_type: str | None
    origin: str | None
    server_hostname: str | None
    steps: tuple[AuthStep, ...]
    notes: tuple[str, ...]
    problem: str | None

    def __repr__(self) -> str:
        used = "nothing" if self.auth_type is None else f"`{self.auth_type}`, from {self.origin}"
        lines = [f"signs in with {used}", f"host: {self.server_hostname or 'not found'}"]
        for number, step in enumerate(self.steps, 1):
            said = f"`{step.auth_type}` {'used' if step.used else 'not used'}: " if step.auth_type else ""
            lines.append(f"{number}. {step.place}: {said}{step.why}")
        lines += [f"note: {note}" for note in self.notes]
        if self.problem is not None:
            lines.append(f"problem: {self.problem}")
        return "\n".join(map(printable, lines))


def explain_auth(
    server_hostname: str | None = None,
    http_path: str | None = None,
    access_token: str | None = None,
    *,
    auth: Auth | None = None,
    warehouse_id: str | None = None,
    profile: str | None = None,
) -> AuthExplanation:
    """Tells what `connect` with these arguments would sign in with, what else was looked at, and why that was not used.

    Sends nothing, and raises nothing for what is wrong: `AuthExplanation.problem` has the error.

    Args:
        server_hostname: As for `connect`.
        http_path: As for `connect`.
        access_token: As for `connect`.
        auth: As for `connect`.
        warehouse_id: As for `connect`.
        profile: As for `connect`.

    Example:
        >>> seakernel.explain_auth("dbc-a1b2.cloud.databricks.com", access_token="dapi...")
        signs in with `pat`, from argument `access_token`
        host: https://dbc-a1b2.cloud.databricks.com
        1. the arguments: `pat` used: `access_token`
    """
    from seakernel.configuration import configuration

    steps: list[AuthStep] = []
    named = problem = None
    try:
        if auth is not None:
            named = _named(auth)
            steps.append(AuthStep("the arguments", named, used=True, why="`auth`"))
            if access_token is not None:
                raise ProgrammingError("`access_token` and `auth` are both given; give one of them")
        found = configuration(
            server_hostname,
            http_path,
            access_token,
            warehouse_id=warehouse_id,
            profile=profile,
            signs_in=auth is not None,
            steps=steps,
        )
    except Error as error:
        return AuthExplanation(None, None, None, tuple(steps), (), error.message)
    host = None if found.server_hostname is None else found.server_hostname.value
    if named is not None:
        return AuthExplanation(named, "argument `auth`", host, tuple(steps), found.notes, None)
    if found.access_token is not None:
        return AuthExplanation("pat", found.access_token.origin, host, found.steps, found.notes, None)
    if found.sign_in is not None:
        return AuthExplanation(found.sign_in.auth_type, found.sign_in.origin, host, found.steps, found.notes, None)
    problem = f"nothing to sign in with was found. Looked at {', '.join(found.looked)}; set `DATABRICKS_TOKEN`, or name a profile"
    return AuthExplanation(None, None, host, found.steps, found.notes, problem)


def _named(auth: object) -> str:
    from seakernel.token_callable import TokenCallable, prepared

    asked = prepared(auth)
    return "callable" if isinstance(asked, TokenCallable) else printable(str(asked.get("type")), 80)
