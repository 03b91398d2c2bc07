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

from seakernel.exceptions import ProgrammingError
from seakernel.terminal_text import printable
from seakernel.unified_auth import (
    AMBIENT,
    ATTRIBUTES,
    HOST_VARIABLES,
    OIDC_TOKEN_VARIABLE,
    AuthStep,
    Choice,
    Place,
    Setting,
    bare_name,
)

if TYPE_CHECKING:
    import configparser
    from collections.abc import Iterator, Mapping

    from seakernel.unified_auth import SignIn

__all__ = ["Configuration", "Setting", "configuration", "is_this_machine", "normalised_host"]

# The words of the environment for each value. `DATABRICKS_SERVER_HOSTNAME` and `DATABRICKS_ACCESS_TOKEN` are what
# examples of databricks-sql-connector use; the others are those of the Databricks SDKs and command line.
HTTP_PATH_VARIABLE = "DATABRICKS_HTTP_PATH"
WAREHOUSE_ID_VARIABLE = "DATABRICKS_WAREHOUSE_ID"
PROFILE_VARIABLE = "DATABRICKS_CONFIG_PROFILE"
FILE_VARIABLE = "DATABRICKS_CONFIG_FILE"
DEFAULT_FILE = "~/.databrickscfg"
_WAREHOUSE_PATH = "/sql/1.0/warehouses/"

_LARGEST_FILE = 1 << 20
_MOST_NAMES = 20


class Configuration(NamedTuple):
    """What was found, and what was found but may not be used."""

    server_hostname: Setting | None
    http_path: Setting | None
    access_token: Setting | None
    looked: tuple[str, ...]
    notes: tuple[str, ...]
    sign_in: SignIn | None = None
    steps: tuple[AuthStep, ...] = ()

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
            if found is None and not ((signs_in or self.sign_in is not None) and "access_token" in wanted)
        ]
        if missing:
            notes = "".join(f"; {note}" for note in self.notes)
            raise ProgrammingError(
                f"missing: {'; '.join(missing)}. Looked at {', '.join(self.looked)}{notes}", kind="InvalidArgument"
            )


def configuration(
    server_hostname: str | None = None,
    http_path: str | None = None,
    access_token: str | None = None,
    *,
    warehouse_id: str | None = None,
    profile: str | None = None,
    signs_in: bool = False,
    environment: Mapping[str, str] | None = None,
    steps: list[AuthStep] | None = None,
) -> Configuration:
    """Finds host, warehouse, and token or another sign-in; what the arguments give is not looked for elsewhere.

    Where the program `signs_in` by itself, no token is looked for. What is considered for the sign-in is added to `steps`,
    also where this raises.

    Raises:
        ProgrammingError: a value is no host or no text, two names of one value differ, a place signs in in two ways, or
            the profile or its file cannot be read.
        NotSupportedError: the sign-in is one that this package does not have.
    """
    environment = os.environ if environment is None else environment
    host: Setting | None = None
    path: Setting | None = None
    choice = Choice(environment, [] if steps is None else steps)
    looked: list[str] = []
    notes: list[str] = []
    for place in _places(server_hostname, http_path, access_token, warehouse_id, profile, environment):
        looked.append(place.name)
        if host is not None and place.host is not None and _origin(place.host.value) != _origin(host.value):
            note = (
                f"{place.name} is for another host, `{_origin(place.host.value)}`, than `{_origin(host.value)}` of"
                f" {host.origin}"
            )
            if profile is not None and len(looked) == 2:
                raise ProgrammingError(f"{note}; give one of them", kind="InvalidArgument")
            notes.append(f"{note}, and is not used")
            choice.steps.append(
                AuthStep(place.name, None, used=False, why=f"it is for another host than {host.origin}")
            )
            continue
        if host is None and place.host is not None:
            choice.check_goes_with(place)
            host = place.host
        path = path or place.http_path
        if not signs_in:
            choice.consider(place, None if host is None else host.value)
        if host and path and (signs_in or choice.method) and (profile is None or len(looked) > 1):
            break
    notes.extend(choice.lacks())
    token = sign_in = None
    if choice.method is not None:
        token, sign_in = choice.made(None if host is None else host.value)
    return Configuration(host, path, token, tuple(looked), tuple(notes), sign_in, tuple(choice.steps))


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
) -> Iterator[Place]:
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
        attributes={"token": ("access_token",)},
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


def _environment_place(environment: Mapping[str, str]) -> Place:
    names = (
        *HOST_VARIABLES,
        HTTP_PATH_VARIABLE,
        WAREHOUSE_ID_VARIABLE,
        *(n for names in ATTRIBUTES.values() for n in names),
    )
    place = _place(
        "the environment",
        {name: f"environment variable `{name}`" for name in names},
        {name: environment.get(name, "").strip() or None for name in names},
        hosts=HOST_VARIABLES,
        attributes=ATTRIBUTES,
        paths=(HTTP_PATH_VARIABLE, WAREHOUSE_ID_VARIABLE),
    )
    if environment.get(OIDC_TOKEN_VARIABLE) and "oidc_token_env" not in place.settings:
        ambient = {"oidc_token_env": Setting(OIDC_TOKEN_VARIABLE, AMBIENT)}
        place = place._replace(settings={**place.settings, **ambient})
    return place


def _profile_place(profile: str | None, environment: Mapping[str, str], *, named_by: str) -> Iterator[Place]:
    given = environment.get(FILE_VARIABLE) or None
    path = given or DEFAULT_FILE
    sections = _sections(path)
    if sections is None:
        if given is not None or profile is not None:
            named = f"`{FILE_VARIABLE}` names `{_shown(path)}`" if given else f"{named_by} wants `{_shown(path)}`"
            raise ProgrammingError(f"{named}, and there is no such file", kind="InvalidArgument")
        yield Place(f"`{path}` (no such file)")
        return
    if profile is None:
        profile = (sections.get("__settings__", {}).get("default_profile") or "").strip() or "DEFAULT"
        if profile == "DEFAULT" and "DEFAULT" not in sections:
            yield Place(f"`{_shown(path)}` (no profile `DEFAULT`)")
            return
    values = sections.get(profile)
    if values is None or profile == "__settings__":
        names = ", ".join(f"`{_shown(name)}`" for name in list(sections)[:_MOST_NAMES] if name != "__settings__")
        raise ProgrammingError(
            f"`{_shown(path)}` has no profile `{_shown(profile)}`; it has {names or 'none'}", kind="InvalidArgument"
        )
    name = f"profile `{_shown(profile)}` of `{_shown(path)}`"
    yield _place(
        name,
        {key: f"`{key}` of {name}" for key in ("host", "http_path", "warehouse_id", *ATTRIBUTES)},
        values,
        hosts=("host",),
        attributes={name: (name,) for name in ATTRIBUTES},
        paths=("http_path", "warehouse_id"),
    )


def _place(
    name: str,
    origins: Mapping[str, str],
    values: Mapping[str, str | None],
    *,
    hosts: tuple[str, ...],
    attributes: Mapping[str, tuple[str, ...]],
    paths: tuple[str, str],
) -> Place:
    def settings_of(keys: tuple[str, ...]) -> list[Setting]:
        return [Setting(value, origins[key]) for key in keys if (value := values.get(key))]

    path_key, id_key = paths
    found_hosts = [
        Setting(normalised_host(host.value, bare_name(host.origin)), host.origin) for host in settings_of(hosts)
    ]
    found_paths = settings_of((path_key,))
    for found in settings_of((id_key,)):
        if not re.fullmatch(r"[A-Za-z0-9_-]+", found.value):
            raise ProgrammingError(
                f"{found.origin} is `{_shown(found.value)}`; expected the id of a SQL warehouse, such as `1a2b3c4d5e6f7890`",
                kind="InvalidArgument",
            )
        path = found_paths[0].value.partition("?")[0].rstrip("/") if found_paths else ""
        if path.rpartition("/")[2] != found.value:
            found_paths.append(Setting(_WAREHOUSE_PATH + found.value, found.origin))
    settings = {key: only for key, keys in attributes.items() if (only := _only(settings_of(keys), None)) is not None}
    return Place(name, _only(found_hosts, _origin), _only(found_paths, _shown), settings)


def _only(settings: list[Setting], show: Any) -> Setting | None:
    """Returns the one value; two names of one value may only say the same."""
    if len({setting.value for setting in settings}) > 1:
        said = " and ".join(
            setting.origin + ("" if show is None else f" (`{show(setting.value)}`)") for setting in settings
        )
        raise ProgrammingError(f"{said} differ; give one of them", kind="InvalidArgument")
    return settings[0] if settings else None


def _shown(text: str) -> str:
    """Foreign text for a message: short, on one line, and without control characters."""
    return printable(text, 80)


def _sections(path: str) -> dict[str, dict[str, str]] | None:
    """Returns the sections of a profile file, None where there is no file.

    Errors never repeat a line of the file: any line may hold a token.
    """
    import configparser

    from seakernel.local_files import regular_content

    unreadable = f"the profile file `{_shown(path)}` cannot be read"
    text_path = os.path.expanduser(path)  # noqa: PTH111 - without a home, `Path` raises
    try:
        content = regular_content(text_path, _LARGEST_FILE)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a file name"
        raise ProgrammingError(f"{unreadable}: {reason}", kind="InvalidArgument") from None
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
