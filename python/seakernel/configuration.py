"""Where a connection goes and how it signs in: from arguments, the environment, or a profile of `~/.databrickscfg`.

A value of an argument wins over the profile named by an argument, that one over the environment, and that one over the
profile that the environment names or the file has as its default. Host, warehouse and token are looked for one by one,
but a place that names another host than the one found is passed over as a whole: its token belongs to that host, and
must not be shown to another. A place that has a token and names no host leaves the host to the others, as
`DATABRICKS_TOKEN` alone does, but not to one with a token of its own.
"""

from __future__ import annotations

import contextlib
import os
import re
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from seakernel.exceptions import NotSupportedError, ProgrammingError
from seakernel.terminal_text import printable

if TYPE_CHECKING:
    import configparser
    from collections.abc import Iterator, Mapping

__all__ = ["Configuration", "Setting", "configuration", "is_this_machine", "normalised_host"]

# The words of the environment for each value. `DATABRICKS_SERVER_HOSTNAME` and `DATABRICKS_ACCESS_TOKEN` are what
# examples of databricks-sql-connector use; the others are those of the Databricks SDKs and command line.
HOST_VARIABLES = ("DATABRICKS_HOST", "DATABRICKS_SERVER_HOSTNAME")
TOKEN_VARIABLES = ("DATABRICKS_TOKEN", "DATABRICKS_ACCESS_TOKEN")
HTTP_PATH_VARIABLE = "DATABRICKS_HTTP_PATH"
WAREHOUSE_ID_VARIABLE = "DATABRICKS_WAREHOUSE_ID"
PROFILE_VARIABLE = "DATABRICKS_CONFIG_PROFILE"
FILE_VARIABLE = "DATABRICKS_CONFIG_FILE"
DEFAULT_FILE = "~/.databrickscfg"
_WAREHOUSE_PATH = "/sql/1.0/warehouses/"

# What tells that a place signs in some other way, in the words of the Databricks SDKs.
_OTHER_SIGN_INS = {
    "azure_client_id": "a service principal of Azure",
    "azure_use_msi": "a managed identity of Azure",
    "azure_workspace_resource_id": "Azure",
    "client_id": "OAuth",
    "google_credentials": "Google",
    "google_service_account": "Google",
    "metadata_service_url": "a metadata service",
    "oidc_token_env": "an OIDC token",
    "oidc_token_filepath": "an OIDC token",
    "password": "a password",
    "username": "a password",
}
_OTHER_SIGN_IN_VARIABLES = {
    "DATABRICKS_AZURE_RESOURCE_ID": "azure_workspace_resource_id",
    "DATABRICKS_CLIENT_ID": "client_id",
    "DATABRICKS_GOOGLE_SERVICE_ACCOUNT": "google_service_account",
    "DATABRICKS_METADATA_SERVICE_URL": "metadata_service_url",
    "DATABRICKS_OIDC_TOKEN_ENV": "oidc_token_env",
    "DATABRICKS_OIDC_TOKEN_FILEPATH": "oidc_token_filepath",
    "DATABRICKS_PASSWORD": "password",
    "DATABRICKS_USERNAME": "username",
}
_TOKEN_SIGN_INS = ("pat", "access-token")
_LARGEST_FILE = 1 << 20
_MOST_NAMES = 20


class Setting(NamedTuple):
    """A value and where it came from. The `repr` does not show the value, which may be a token."""

    value: str
    origin: str

    def __repr__(self) -> str:
        return f"Setting(origin={self.origin!r})"


class Configuration(NamedTuple):
    """What was found, and what was found but may not be used."""

    server_hostname: Setting | None
    http_path: Setting | None
    access_token: Setting | None
    looked: tuple[str, ...]
    notes: tuple[str, ...]

    def check_complete(self, *, signs_in: bool = False) -> None:
        """Raises `ProgrammingError` where something is missing; it says where was looked and what to set.

        Where the program signs in by itself no token is missing.
        """
        missing = [
            wanted
            for wanted, found in (
                ("`server_hostname` (or set `DATABRICKS_HOST`)", self.server_hostname),
                (
                    "`http_path` or `warehouse_id` (or set `DATABRICKS_HTTP_PATH` or `DATABRICKS_WAREHOUSE_ID`)",
                    self.http_path,
                ),
                ("`access_token` (or set `DATABRICKS_TOKEN`)", self.access_token),
            )
            if found is None and not (signs_in and "access_token" in wanted)
        ]
        if missing:
            notes = "".join(f"; {note}" for note in self.notes)
            raise ProgrammingError(
                f"missing: {'; '.join(missing)}. Looked at {', '.join(self.looked)}{notes}", kind="InvalidArgument"
            )


class _Place(NamedTuple):
    """One place to look at: its name, its values with their names, and another way of signing in that it asks for."""

    name: str
    host: Setting | None
    http_path: Setting | None
    token: Setting | None
    other_sign_in: str | None


def configuration(
    server_hostname: str | None = None,
    http_path: str | None = None,
    access_token: str | None = None,
    *,
    warehouse_id: str | None = None,
    profile: str | None = None,
    signs_in: bool = False,
    environment: Mapping[str, str] | None = None,
) -> Configuration:
    """Finds host, warehouse and token; what the arguments give is not looked for elsewhere.

    Where the program `signs_in` by itself, no token is looked for.

    Raises:
        ProgrammingError: a value is no host or no text, two names of one value differ, or the profile or its file
            cannot be read.
        NotSupportedError: the place of the token signs in with something other than a token.
    """
    environment = os.environ if environment is None else environment
    found: dict[str, Setting] = {}
    looked: list[str] = []
    notes: list[str] = []
    for place in _places(server_hostname, http_path, access_token, warehouse_id, profile, environment):
        looked.append(place.name)
        host = found.get("server_hostname")
        if host is not None and place.host is not None and _origin(place.host.value) != _origin(host.value):
            note = (
                f"{place.name} is for another host, `{_origin(place.host.value)}`, than `{_origin(host.value)}` of"
                f" {host.origin}"
            )
            if profile is not None and len(looked) == 2:
                raise ProgrammingError(f"{note}; give one of them", kind="InvalidArgument")
            notes.append(f"{note}, and is not used")
            continue
        if host is None and place.host is not None:
            _check_token_goes_with(place, found.get("access_token"))
            found["server_hostname"] = place.host
        if place.http_path is not None:
            found.setdefault("http_path", place.http_path)
        if "access_token" not in found and not signs_in:
            if place.other_sign_in is not None:
                raise NotSupportedError(
                    f"{place.name} signs in with {place.other_sign_in}, which is not supported yet; only access tokens"
                    " are: pass `access_token`, or name a profile that has a token",
                    kind="InvalidArgument",
                )
            if place.token is not None:
                found["access_token"] = place.token
        if len(found) == (2 if signs_in else 3) and (profile is None or len(looked) > 1):
            break
    return Configuration(
        found.get("server_hostname"),
        found.get("http_path"),
        found.get("access_token"),
        tuple(looked),
        tuple(notes),
    )


def _check_token_goes_with(place: _Place, token: Setting | None) -> None:
    """Refuses to show a token that was found without a host to the host of a place that has its own token."""
    if token is None or token.origin.startswith("argument") or place.token is None or place.token.value == token.value:
        return
    raise ProgrammingError(
        f"{token.origin} comes without a host, and {place.name} has a host with a token of its own; set"
        f" `{HOST_VARIABLES[0]}` beside the first, or pass `server_hostname`",
        kind="InvalidArgument",
    )


def normalised_host(server_hostname: str, name: str = "server_hostname") -> str:
    """Returns `scheme://host` or `scheme://host:port` of a host or address in any usual form.

    Raises:
        ProgrammingError: it is no host, or an address of something on the host. User names and passwords in it are
            not repeated.
    """

    def invalid(why: str) -> ProgrammingError:
        return ProgrammingError(
            f"`{name}` {why}; expected a host such as `dbc-a1b2.cloud.databricks.com`", kind="InvalidArgument"
        )

    text = server_hostname.strip()
    parts = port = None
    with contextlib.suppress(ValueError):
        parts = urlsplit(text if "://" in text else f"https://{text}")
        port = parts.port or -1
    # Raised out here: what urllib says may repeat a password.
    if parts is None or port is None:
        raise invalid("is not a host")
    if parts.username is not None or parts.password is not None:
        raise invalid("must not contain a user name or password")
    if not parts.hostname or re.search(r"[\s\\<>\"'`{}|^]", parts.netloc):
        raise invalid("is not a host")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise invalid(f"is an address on the host `{parts.hostname}`, not the host alone")
    if parts.scheme == "http" and not is_this_machine(parts.hostname):
        raise invalid(f"would send the token unencrypted to `{parts.hostname}`: http is for this machine only")
    if parts.scheme not in ("http", "https"):
        raise invalid("is not an https address")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    default = {"https": 443, "http": 80}.get(parts.scheme)
    return f"{parts.scheme}://{host}" + ("" if port in (-1, default) else f":{port}")


def is_this_machine(host: str) -> bool:
    """Tells whether a host, without scheme and port, is a loopback address or a name of this machine."""
    import ipaddress

    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _origin(host: str) -> str:
    """The host as it is compared and shown: without the scheme that all have."""
    return host.removeprefix("https://")


def _places(
    server_hostname: str | None,
    http_path: str | None,
    access_token: str | None,
    warehouse_id: str | None,
    profile: str | None,
    environment: Mapping[str, str],
) -> Iterator[_Place]:
    """Yields the places in their order, each read only when those before it did not suffice."""
    arguments: dict[str, str | None] = {
        "server_hostname": server_hostname,
        "http_path": http_path,
        "access_token": access_token,
        "warehouse_id": warehouse_id,
        "profile": profile,
    }
    for name, value in arguments.items():
        _check_text(name, value)
    yield _place(
        "the arguments",
        {name: f"argument `{name}`" for name in arguments},
        arguments,
        hosts=("server_hostname",),
        tokens=("access_token",),
        paths=("http_path", "warehouse_id"),
    )
    if profile is not None:
        yield from _profile_place(profile, environment, named_by="argument `profile`")
    yield _environment_place(environment)
    if profile is None:
        named = environment.get(PROFILE_VARIABLE) or None
        yield from _profile_place(named, environment, named_by=f"`{PROFILE_VARIABLE}`")


def _check_text(name: str, value: object) -> None:
    if value is not None and not isinstance(value, str):
        raise ProgrammingError(f"`{name}` is of type `{type(value).__name__}`; expected a text", kind="InvalidArgument")
    if value is not None and not value.strip():
        raise ProgrammingError(f"`{name}` is empty; leave it out to have it looked for", kind="InvalidArgument")


def _environment_place(environment: Mapping[str, str]) -> _Place:
    names = (*HOST_VARIABLES, *TOKEN_VARIABLES, HTTP_PATH_VARIABLE, WAREHOUSE_ID_VARIABLE)
    place = _place(
        "the environment",
        {name: f"environment variable `{name}`" for name in names},
        {name: environment.get(name, "").strip() or None for name in names},
        hosts=HOST_VARIABLES,
        tokens=TOKEN_VARIABLES,
        paths=(HTTP_PATH_VARIABLE, WAREHOUSE_ID_VARIABLE),
    )
    sign_in = environment.get("DATABRICKS_AUTH_TYPE", "").strip()
    if sign_in and sign_in not in _TOKEN_SIGN_INS:
        return place._replace(other_sign_in=f"`{_shown(sign_in)}` (`DATABRICKS_AUTH_TYPE`)")
    if place.token is None:
        for name, key in _OTHER_SIGN_IN_VARIABLES.items():
            if environment.get(name):
                return place._replace(other_sign_in=f"{_OTHER_SIGN_INS[key]} (`{name}`)")
    return place


def _profile_place(profile: str | None, environment: Mapping[str, str], *, named_by: str) -> Iterator[_Place]:
    given = environment.get(FILE_VARIABLE) or None
    path = given or DEFAULT_FILE
    sections = _sections(path)
    if sections is None:
        if given is not None or profile is not None:
            named = f"`{FILE_VARIABLE}` names `{_shown(path)}`" if given else f"{named_by} wants `{_shown(path)}`"
            raise ProgrammingError(f"{named}, and there is no such file", kind="InvalidArgument")
        yield _Place(f"`{path}` (no such file)", None, None, None, None)
        return
    if profile is None:
        profile = (sections.get("__settings__", {}).get("default_profile") or "").strip() or "DEFAULT"
        if profile == "DEFAULT" and "DEFAULT" not in sections:
            yield _Place(f"`{_shown(path)}` (no profile `DEFAULT`)", None, None, None, None)
            return
    values = sections.get(profile)
    if values is None or profile == "__settings__":
        names = ", ".join(f"`{_shown(name)}`" for name in list(sections)[:_MOST_NAMES] if name != "__settings__")
        raise ProgrammingError(
            f"`{_shown(path)}` has no profile `{_shown(profile)}`; it has {names or 'none'}", kind="InvalidArgument"
        )
    name = f"profile `{_shown(profile)}` of `{_shown(path)}`"
    place = _place(
        name,
        {key: f"`{key}` of {name}" for key in ("host", "token", "http_path", "warehouse_id")},
        values,
        hosts=("host",),
        tokens=("token",),
        paths=("http_path", "warehouse_id"),
    )
    sign_in = values.get("auth_type")
    if sign_in and sign_in not in _TOKEN_SIGN_INS:
        place = place._replace(other_sign_in=f"`{_shown(sign_in)}` (`auth_type`)")
    elif place.token is None:
        other = next((key for key in _OTHER_SIGN_INS if values.get(key)), None)
        if other is not None:
            place = place._replace(other_sign_in=f"{_OTHER_SIGN_INS[other]} (`{other}`)")
    yield place


def _place(
    name: str,
    origins: Mapping[str, str],
    values: Mapping[str, str | None],
    *,
    hosts: tuple[str, ...],
    tokens: tuple[str, ...],
    paths: tuple[str, str],
) -> _Place:
    def settings(keys: tuple[str, ...]) -> list[Setting]:
        return [Setting(value, origins[key]) for key in keys if (value := values.get(key))]

    path_key, id_key = paths
    found_hosts = [Setting(normalised_host(host.value, _bare(host.origin)), host.origin) for host in settings(hosts)]
    found_paths = settings((path_key,))
    for found in settings((id_key,)):
        if not re.fullmatch(r"[A-Za-z0-9_-]+", found.value):
            raise ProgrammingError(
                f"{found.origin} is `{_shown(found.value)}`; expected the id of a SQL warehouse, such as `1a2b3c4d5e6f7890`",
                kind="InvalidArgument",
            )
        path = found_paths[0].value.partition("?")[0].rstrip("/") if found_paths else ""
        if path.rpartition("/")[2] != found.value:
            found_paths.append(Setting(_WAREHOUSE_PATH + found.value, found.origin))
    return _Place(name, _only(found_hosts, _origin), _only(found_paths, _shown), _only(settings(tokens), None), None)


def _only(settings: list[Setting], show: Any) -> Setting | None:
    """Returns the one value; two names of one value may only say the same."""
    if len({setting.value for setting in settings}) > 1:
        said = " and ".join(
            setting.origin + ("" if show is None else f" (`{show(setting.value)}`)") for setting in settings
        )
        raise ProgrammingError(f"{said} differ; give one of them", kind="InvalidArgument")
    return settings[0] if settings else None


def _bare(origin: str) -> str:
    """The name in an origin: errors put it in backticks themselves."""
    name = re.search(r"`([^`]*)`", origin)
    return name.group(1) if name else origin


def _shown(text: str) -> str:
    """Foreign text for a message: short, on one line, and without control characters."""
    return printable(text, 80)


def _sections(path: str) -> dict[str, dict[str, str]] | None:
    """Returns the sections of a profile file, None where there is no file.

    Errors never repeat a line of the file: any line may hold a token.
    """
    import configparser
    import stat

    unreadable = f"the profile file `{_shown(path)}` cannot be read"

    def opened(name: str, flags: int) -> int:
        # Not blocking: the name may be that of a pipe.
        return os.open(name, flags | getattr(os, "O_NONBLOCK", 0))

    text_path = os.path.expanduser(path)  # noqa: PTH111 - without a home, `Path` raises
    try:
        with open(text_path, "rb", opener=opened) as file:
            regular = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
            content = file.read(_LARGEST_FILE + 1) if regular else b""
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a file name"
        raise ProgrammingError(f"{unreadable}: {reason}", kind="InvalidArgument") from None
    if not regular:
        raise ProgrammingError(f"{unreadable}: it is not a regular file", kind="InvalidArgument")
    if len(content) > _LARGEST_FILE:
        raise ProgrammingError(f"{unreadable}: it is larger than 1 MiB", kind="InvalidArgument")
    # `DEFAULT` is a profile like any other here, as for the Databricks SDKs: its values are not those of the others.
    parser = configparser.ConfigParser(default_section="\0", interpolation=None)
    wrong = _parse(parser, content)
    if wrong is not None:
        raise ProgrammingError(f"{unreadable}: {wrong}", kind="InvalidArgument")
    return {name: {key: value.strip() for key, value in parser.items(name)} for name in parser.sections()}


def _parse(parser: configparser.ConfigParser, content: bytes) -> str | None:
    """Reads `content` and returns what is wrong with it; the exceptions, which repeat lines, end here."""
    import configparser

    try:
        parser.read_string(content.decode("utf-8-sig"))
    except UnicodeDecodeError:
        return "it is not UTF-8"
    except configparser.MissingSectionHeaderError as error:
        return f"line {error.lineno} stands before any `[profile]`"
    except (configparser.DuplicateSectionError, configparser.DuplicateOptionError) as error:
        return f"line {error.lineno} repeats a profile or a key"
    except configparser.ParsingError as error:
        return f"line {error.errors[0][0]} is neither `[profile]` nor `key = value`"
    except configparser.Error:
        return "it is not in the form of an INI file"
    return None
