"""The ways of signing in that settings can ask for, in the order and with the names of the Databricks SDKs (unified auth).

Order and names are those of databricks-sdk 0.156; what it tries without being asked, such as command line programs, is used
here only where `auth_type` names it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from seakernel.exceptions import NotSupportedError, ProgrammingError
from seakernel.terminal_text import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = [
    "AMBIENT",
    "ATTRIBUTES",
    "HOST_VARIABLES",
    "METHODS",
    "OIDC_TOKEN_VARIABLE",
    "AuthStep",
    "Choice",
    "Method",
    "Place",
    "Setting",
    "SignIn",
    "bare_name",
]

# `DATABRICKS_SERVER_HOSTNAME` and `DATABRICKS_ACCESS_TOKEN` are what examples of databricks-sql-connector use.
HOST_VARIABLES = ("DATABRICKS_HOST", "DATABRICKS_SERVER_HOSTNAME")

# Attributes as profiles name them, with the names of the environment.
ATTRIBUTES = {
    "token": ("DATABRICKS_TOKEN", "DATABRICKS_ACCESS_TOKEN"),
    "username": ("DATABRICKS_USERNAME",),
    "password": ("DATABRICKS_PASSWORD",),
    "metadata_service_url": ("DATABRICKS_METADATA_SERVICE_URL",),
    "client_id": ("DATABRICKS_CLIENT_ID",),
    "client_secret": ("DATABRICKS_CLIENT_SECRET",),
    "scopes": (),
    "oidc_token_env": ("DATABRICKS_OIDC_TOKEN_ENV",),
    "oidc_token_filepath": ("DATABRICKS_OIDC_TOKEN_FILEPATH", "DATABRICKS_OIDC_TOKEN_FILE"),
    "token_audience": ("DATABRICKS_TOKEN_AUDIENCE",),
    "azure_client_id": ("ARM_CLIENT_ID",),
    "azure_client_secret": ("ARM_CLIENT_SECRET",),
    "azure_tenant_id": ("ARM_TENANT_ID",),
    "azure_use_msi": ("ARM_USE_MSI",),
    "azure_workspace_resource_id": ("DATABRICKS_AZURE_RESOURCE_ID",),
    "databricks_cli_path": ("DATABRICKS_CLI_PATH",),
    "google_credentials": ("GOOGLE_CREDENTIALS",),
    "google_service_account": ("DATABRICKS_GOOGLE_SERVICE_ACCOUNT",),
    "auth_type": ("DATABRICKS_AUTH_TYPE",),
}
OIDC_TOKEN_VARIABLE = "DATABRICKS_OIDC_TOKEN"  # noqa: S105 - a name
# Other names of `auth_type`.
ALIASES = {"access-token": "pat", "oauth-u2m": "external-browser", "azure-managed-identity": "azure-msi"}

_AZURE_HOSTS = (".azuredatabricks.net", ".databricks.azure.us", ".databricks.azure.cn")
_TRUE = ("1", "true", "t", "yes")


class Setting(NamedTuple):
    """A value and where it came from. The `repr` does not show the value, which may be a token."""

    value: str
    origin: str

    def __repr__(self) -> str:
        return f"Setting(origin={self.origin!r})"


class SignIn(NamedTuple):
    """A sign-in other than with a token: its name, the option `auth` for it, and where it came from."""

    auth_type: str
    options: dict[str, Any]
    origin: str

    def __repr__(self) -> str:
        return f"SignIn(auth_type={self.auth_type!r}, origin={self.origin!r})"


class AuthStep(NamedTuple):
    """One way of signing in that was considered.

    Attributes:
        place: Where its settings were looked for.
        auth_type: Its name, None where the place has nothing to sign in with.
        used: Whether it won.
        why: What it is made of, or why it was not used; never a secret.

    Example:
        >>> for step in seakernel.explain_auth("dbc-a1b2.cloud.databricks.com", access_token="dapi...").steps:
        ...     print(step.auth_type, step.used)
        pat True
    """

    place: str
    auth_type: str | None
    used: bool
    why: str


class Found(NamedTuple):
    """What a way of signing in is judged and made by."""

    settings: Mapping[str, Setting]
    host: str | None
    environment: Mapping[str, str]
    pinned: bool

    def get(self, name: str) -> str | None:
        """Returns the value of a setting."""
        setting = self.settings.get(name)
        return None if setting is None else setting.value


class Method(NamedTuple):
    """A way of signing in.

    Attributes:
        name: The SDKs' name.
        group: Where two of these are complete in one place, none is chosen.
        needs: Settings without which it is not complete.
        options: Makes the option `auth`; None where it is not supported.
        hindrance: Says why a complete one cannot be used here.
        only_named: Whether it is used only where `auth_type` names it.
    """

    name: str
    group: str
    needs: tuple[str, ...]
    options: Callable[[Found], dict[str, Any]] | None
    hindrance: Callable[[Found], str | None] = lambda found: None
    only_named: bool = False

    def missing(self, found: Found) -> list[str]:
        """Returns the names of the settings that it lacks."""
        return [name for name in self.needs if name not in found.settings]


def _given(found: Found, *names: str, renamed: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Returns the settings that there are, under their own names or others."""
    pairs = {**{name: name for name in names}, **(renamed or {})}
    return {key: value for key, name in pairs.items() if (value := found.get(name)) is not None}


def _scopes(found: Found) -> dict[str, Any]:
    scopes = [scope for scope in re.split(r"[, ]+", found.get("scopes") or "") if scope]
    return {"scopes": scopes} if scopes else {}


def _not_azure(found: Found) -> str | None:
    host = (found.host or "").rpartition("://")[2].partition(":")[0]
    if found.pinned or found.get("azure_workspace_resource_id") or host.endswith(_AZURE_HOSTS):
        return None
    return "the host is not one of Azure"


def _not_google(found: Found) -> str | None:
    host = (found.host or "").rpartition("://")[2].partition(":")[0]
    return None if found.pinned or host.endswith(".gcp.databricks.com") else "the host is not one of Google Cloud"


def _no_managed_identity(found: Found) -> str | None:
    if not found.pinned and (found.get("azure_use_msi") or "").lower() not in _TRUE:
        return "`azure_use_msi` is not true"
    return _not_azure(found)


def _no_oidc_token(found: Found) -> str | None:
    name = found.get("oidc_token_env") or OIDC_TOKEN_VARIABLE
    return None if found.environment.get(name) else f"there is no environment variable `{name}`"


def _not_in_github(found: Found) -> str | None:
    return None if found.environment.get("ACTIONS_ID_TOKEN_REQUEST_TOKEN") else "this is no job of GitHub Actions"


def _not_in_azure_devops(found: Found) -> str | None:
    return None if found.environment.get("SYSTEM_ACCESSTOKEN") else "this is no job of Azure DevOps"


def _command_line(found: Found) -> dict[str, Any]:
    from seakernel.databricks_cli import DatabricksCli

    return {
        "type": "callable",
        "callable": DatabricksCli(found.host or "", found.get("databricks_cli_path") or "databricks"),
    }


METHODS = (
    # The one method that is no option `auth`.
    Method("pat", "pat", ("token",), lambda found: {}),
    Method("basic", "basic", ("username", "password"), None),
    Method("metadata-service", "metadata-service", ("metadata_service_url",), None),
    Method(
        "oauth-m2m",
        "oauth",
        ("client_id", "client_secret"),
        lambda found: {"type": "oauth-m2m", **_given(found, "client_id", "client_secret"), **_scopes(found)},
    ),
    Method(
        "env-oidc",
        "env-oidc",
        ("oidc_token_env",),
        lambda found: {
            "type": "env-oidc",
            **_given(found, "client_id", renamed={"token_env": "oidc_token_env"}),
            **_scopes(found),
        },
        _no_oidc_token,
    ),
    Method(
        "file-oidc",
        "file-oidc",
        ("oidc_token_filepath",),
        lambda found: {
            "type": "file-oidc",
            **_given(found, "client_id", renamed={"token_file": "oidc_token_filepath"}),
            **_scopes(found),
        },
    ),
    Method(
        "github-oidc",
        "oauth",
        ("client_id",),
        lambda found: {
            "type": "github-oidc",
            **_given(found, "client_id", renamed={"audience": "token_audience"}),
            **_scopes(found),
        },
        _not_in_github,
    ),
    Method(
        "azure-client-secret",
        "azure",
        ("azure_client_id", "azure_client_secret"),
        lambda found: {
            "type": "azure-client-secret",
            **_given(found, "azure_client_id", "azure_client_secret", "azure_tenant_id", "azure_workspace_resource_id"),
        },
        _not_azure,
    ),
    Method(
        "azure-msi",
        "azure",
        ("azure_use_msi",),
        lambda found: {
            "type": "azure-managed-identity",
            **_given(found, "azure_client_id", "azure_workspace_resource_id"),
        },
        _no_managed_identity,
    ),
    Method(
        "github-oidc-azure",
        "azure",
        ("azure_client_id",),
        None,
        lambda found: _not_azure(found) or _not_in_github(found),
    ),
    Method("azure-cli", "azure", (), None, only_named=True),
    Method("azure-devops-oidc", "oauth", ("client_id",), None, _not_in_azure_devops),
    Method(
        "external-browser",
        "oauth",
        (),
        lambda found: {"type": "oauth-u2m", **_given(found, "client_id"), **_scopes(found)},
        only_named=True,
    ),
    Method("databricks-cli", "databricks-cli", (), _command_line, only_named=True),
    Method("runtime-oauth", "runtime", (), None, only_named=True),
    Method("runtime", "runtime", (), None, only_named=True),
    Method("google-credentials", "google", ("google_credentials",), None, _not_google),
    Method("google-id", "google", ("google_service_account",), None, _not_google),
    Method("model-serving", "model-serving", (), None, only_named=True),
)


class Place(NamedTuple):
    """One place to look at: its name, and its values with their names."""

    name: str
    host: Setting | None = None
    http_path: Setting | None = None
    settings: Mapping[str, Setting] = {}


class Choice:
    """The way of signing in, chosen place by place: the first place that is enough for one wins."""

    def __init__(self, environment: Mapping[str, str], steps: list[AuthStep]) -> None:
        self.steps = steps
        self.method: Method | None = None
        self._environment = environment
        self._settings: dict[str, Setting] = {}
        self._has_host = False
        self._place = ""

    def consider(self, place: Place, host: str | None) -> None:
        """Adds what a place has, and chooses where that is enough."""
        if self.method is not None:
            return
        self._place = place.name
        settings = {**place.settings, **self._settings}
        pin = settings.get("auth_type")
        if "token" in place.settings and place.settings["token"].origin.startswith("argument"):
            pin = None
        # A place that is enough by itself is not mixed with others.
        alone = {**place.settings, **({"auth_type": pin} if pin else {})}
        before = len(self.steps)
        method = self._chosen(pin, alone, host, told=False)
        if method is not None:
            settings = alone
        else:
            # What the places before have begun may be enough together with this one, or with its host.
            method = self._chosen(pin, settings, host, told=bool(place.settings))
        if len(self.steps) == before:
            self.steps.append(AuthStep(place.name, None, used=False, why="nothing to sign in with"))
        self._settings = settings
        if method is None:
            return
        if method.options is None:
            raise self._not_supported(f"`{method.name}` ({_names(settings, method.needs) or '`auth_type`'})")
        self.method = method
        # A token or secret without a host must not go to one that comes with its own.
        self._has_host = place.host is not None or host is not None

    def check_goes_with(self, place: Place) -> None:
        """Refuses to show what was found without a host to the host of a place that has its own sign-in."""
        if self.method is None or self._has_host or not self._settings:
            return
        pins = {"pat", "access-token"}
        own = [setting for setting in place.settings.values() if setting.value not in pins]
        mine = [setting for name in self.method.needs if (setting := self._settings.get(name)) is not None]
        if not own or not mine or mine[0].origin.startswith("argument"):
            return
        if {setting.value for setting in own} <= {setting.value for setting in mine}:
            return
        what = "token" if "token" in place.settings else "sign-in"
        raise ProgrammingError(
            f"{mine[0].origin} comes without a host, and {place.name} has a host with a {what} of its own; set"
            f" `{HOST_VARIABLES[0]}` beside the first, or pass `server_hostname`",
            kind="InvalidArgument",
        )

    def made(self, host: str | None) -> tuple[Setting | None, SignIn | None]:
        """Returns the token or the sign-in that was chosen."""
        if self.method is None:
            return None, None
        if self.method.name == "pat" or self.method.options is None:
            return self._settings["token"], None
        found = self._found(self._settings, host)
        origin = _names(self._settings, (*self.method.needs, "auth_type"))
        return None, SignIn(self.method.name, self.method.options(found), f"{self._place} ({origin})")

    def lacks(self) -> list[str]:
        """Says what is missing where something was begun and nothing chosen."""
        if self.method is not None:
            return []
        # Of what was begun in one place and looked at again in the next, the last is told.
        last = {step.auth_type: step.why for step in self.steps if step.why.endswith(_MISSING)}
        return [f"`{name}` was begun, and {why}" for name, why in last.items()]

    def _found(self, settings: Mapping[str, Setting], host: str | None) -> Found:
        return Found(settings, host, self._environment, pinned="auth_type" in settings)

    def _chosen(
        self, pin: Setting | None, settings: Mapping[str, Setting], host: str | None, *, told: bool
    ) -> Method | None:
        if pin is None:
            return self._first(settings, host, told=told)
        return self._pinned(pin, settings, host, told=told)

    def _pinned(self, pin: Setting, settings: Mapping[str, Setting], host: str | None, *, told: bool) -> Method | None:
        name = ALIASES.get(pin.value, pin.value)
        method = next((method for method in METHODS if method.name == name), None)
        if method is None or method.options is None:
            raise self._not_supported(f"`{printable(pin.value, 80)}` ({_spelled_origin(pin)})")
        found = self._found(settings, host)
        missing = [name for name in method.missing(found) if name != "azure_use_msi"]
        hindrance = None if missing else method.hindrance(found)
        if method.name == "env-oidc" and hindrance is None:
            missing = []
        if missing or hindrance:
            why = _lack(missing) if missing else str(hindrance)
            if told:
                self.steps.append(AuthStep(self._place, name, used=False, why=why))
            return None
        for other in METHODS:
            if other is not method and other.needs and not other.missing(found) and other.hindrance(found) is None:
                self.steps.append(AuthStep(self._place, other.name, used=False, why=f"{pin.origin} names another"))
        why = _names(settings, (*method.needs, "auth_type"))
        self.steps.append(AuthStep(self._place, name, used=True, why=why))
        return method

    def _first(self, settings: Mapping[str, Setting], host: str | None, *, told: bool) -> Method | None:
        found = self._found(settings, host)
        steps: list[AuthStep] = []
        complete: list[Method] = []
        for method in METHODS:
            begun = [name for name in method.needs if name in settings]
            if method.only_named or not begun:
                continue
            missing = method.missing(found)
            why = _lack(missing) if missing else method.hindrance(found)
            if why is None:
                complete.append(method)
                why = _names(settings, method.needs)
                if len(complete) > 1:
                    why = f"`{complete[0].name}` goes before it"
            steps.append(AuthStep(self._place, method.name, used=method in complete[:1], why=why))
        groups = {
            method.group: method
            for method in complete
            if not any(settings[name].origin == AMBIENT for name in method.needs)
        }
        if complete or told:
            self.steps.extend(step._replace(used=step.used and len(groups) < 2) for step in steps)
        if len(groups) > 1:
            names = " and ".join(f"`{method.name}` ({_names(settings, method.needs)})" for method in groups.values())
            raise ProgrammingError(
                f"more than one authorization method configured in {self._place}: {names}; remove one, or name one in"
                " `auth_type` (`DATABRICKS_AUTH_TYPE`)",
                kind="InvalidArgument",
            )
        return complete[0] if complete else None

    def _not_supported(self, what: str) -> NotSupportedError:
        supported = ", ".join(f"`{method.name}`" for method in METHODS if method.options is not None)
        return NotSupportedError(
            f"{self._place} signs in with {what}, which is not supported; what is: {supported}. Pass `access_token`, name a"
            " profile that has a token, or pass `auth=databricks.sdk.core.Config()` of databricks-sdk, which knows more",
            kind="InvalidArgument",
        )


_MISSING = " missing"
_SECRETS = ("token", "client_secret", "azure_client_secret", "password")
AMBIENT = "the environment's `DATABRICKS_OIDC_TOKEN`"


def _names(settings: Mapping[str, Setting], names: Iterable[str]) -> str:
    return ", ".join(_spelled_origin(settings[name]) for name in names if name in settings)


def _spelled_origin(setting: Setting) -> str:
    return f"`{bare_name(setting.origin)}`"


def _lack(missing: Iterable[str]) -> str:
    """Says what is missing."""
    spelled = [_spelled(name) for name in missing]
    return f"{' and '.join(spelled)} {'is' if len(spelled) == 1 else 'are'}{_MISSING}"


def _spelled(name: str) -> str:
    variables = ATTRIBUTES[name]
    return f"`{name}`" + (f" (`{variables[0]}`)" if variables else "")


def bare_name(origin: str) -> str:
    """The name in an origin: errors put it in backticks themselves."""
    name = re.search(r"`([^`]*)`", origin)
    return name.group(1) if name else origin
