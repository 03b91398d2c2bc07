"""Which sign-in is found, in the order and with the names of the Databricks SDKs; and what is never mixed."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Any

import pytest

import seakernel
from seakernel.configuration import configuration
from seakernel.unified_auth import ATTRIBUTES, METHODS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from seakernel.local import LocalWarehouse

HOST, OTHER, AZURE = (
    "https://one.cloud.databricks.com",
    "https://two.cloud.databricks.com",
    "https://a.azuredatabricks.net",
)
PATH = "/sql/1.0/warehouses/1a2b"
SECRET = "canary-secret"


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of the machine that runs the tests plays a part."""
    for name in os.environ:
        if name.startswith(("DATABRICKS_", "ARM_", "GOOGLE_", "ACTIONS_", "SYSTEM_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))


def environment(monkeypatch: pytest.MonkeyPatch, **values: str) -> None:
    for name, value in values.items():
        monkeypatch.setenv(name, value)


def profiles(tmp_path: Path, text: str) -> None:
    (tmp_path / ".databrickscfg").write_text(text)


M2M = {"DATABRICKS_CLIENT_ID": "app", "DATABRICKS_CLIENT_SECRET": SECRET}
AZURE_SP = {"ARM_CLIENT_ID": "app", "ARM_CLIENT_SECRET": SECRET, "ARM_TENANT_ID": "tenant"}
GITHUB = {"ACTIONS_ID_TOKEN_REQUEST_TOKEN": SECRET, "ACTIONS_ID_TOKEN_REQUEST_URL": "https://x"}
FOUND = [
    ("oauth-m2m", M2M, {"type": "oauth-m2m", "client_id": "app", "client_secret": SECRET}),
    (
        "env-oidc",
        {"DATABRICKS_OIDC_TOKEN": SECRET, "DATABRICKS_CLIENT_ID": "app"},
        {"type": "env-oidc", "token_env": "DATABRICKS_OIDC_TOKEN", "client_id": "app"},
    ),
    (
        "env-oidc",
        {"DATABRICKS_OIDC_TOKEN_ENV": "MINE", "MINE": SECRET},
        {"type": "env-oidc", "token_env": "MINE"},
    ),
    (
        "file-oidc",
        {"DATABRICKS_OIDC_TOKEN_FILEPATH": "/run/token", "DATABRICKS_CLIENT_ID": "app"},
        {"type": "file-oidc", "token_file": "/run/token", "client_id": "app"},
    ),
    (
        "github-oidc",
        {"DATABRICKS_CLIENT_ID": "app", "DATABRICKS_TOKEN_AUDIENCE": "who", **GITHUB},
        {"type": "github-oidc", "client_id": "app", "audience": "who"},
    ),
    (
        "azure-client-secret",
        {"DATABRICKS_HOST": AZURE, **AZURE_SP},
        {
            "type": "azure-client-secret",
            "azure_client_id": "app",
            "azure_client_secret": SECRET,
            "azure_tenant_id": "tenant",
        },
    ),
    (
        "azure-client-secret",
        {"DATABRICKS_AZURE_RESOURCE_ID": "/subscriptions/1", **AZURE_SP},
        {
            "type": "azure-client-secret",
            "azure_client_id": "app",
            "azure_client_secret": SECRET,
            "azure_tenant_id": "tenant",
            "azure_workspace_resource_id": "/subscriptions/1",
        },
    ),
    (
        "azure-msi",
        {"DATABRICKS_HOST": AZURE, "ARM_USE_MSI": "true", "ARM_CLIENT_ID": "app"},
        {"type": "azure-managed-identity", "azure_client_id": "app"},
    ),
    (
        "external-browser",
        {"DATABRICKS_AUTH_TYPE": "external-browser", "DATABRICKS_CLIENT_ID": "app"},
        {"type": "oauth-u2m", "client_id": "app"},
    ),
]


@pytest.mark.parametrize(("auth_type", "variables", "options"), FOUND)
def test_what_the_environment_signs_in_with(
    monkeypatch: pytest.MonkeyPatch, auth_type: str, variables: dict[str, str], options: dict[str, Any]
) -> None:
    environment(monkeypatch, **{"DATABRICKS_HOST": HOST, "DATABRICKS_HTTP_PATH": PATH, **variables})
    found = configuration()
    assert found.sign_in is not None
    assert (found.sign_in.auth_type, found.sign_in.options) == (auth_type, options)
    assert found.access_token is None
    explanation = seakernel.explain_auth()
    assert (explanation.auth_type, explanation.problem) == (auth_type, None)
    assert [step.auth_type for step in explanation.steps if step.used] == [auth_type]
    for shown in (repr(found), repr(found.sign_in), repr(explanation), str(explanation.steps)):
        assert SECRET not in shown


@pytest.mark.parametrize(
    ("variables", "auth_type"),
    [
        ({"DATABRICKS_TOKEN": SECRET}, "pat"),
        (M2M, "oauth-m2m"),
        ({"DATABRICKS_OIDC_TOKEN": SECRET, **M2M}, "oauth-m2m"),
        ({"DATABRICKS_CLIENT_ID": "app", "DATABRICKS_OIDC_TOKEN": SECRET}, "env-oidc"),
        ({"DATABRICKS_TOKEN": SECRET, "DATABRICKS_CLIENT_ID": "app"}, "pat"),
        ({**AZURE_SP, **M2M, "DATABRICKS_AUTH_TYPE": "oauth-m2m"}, "oauth-m2m"),
        ({**AZURE_SP, **M2M}, "oauth-m2m"),  # the host is not Azure's
    ],
)
def test_the_order_is_that_of_the_sdk(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], auth_type: str
) -> None:
    from databricks.sdk.credentials_provider import DefaultCredentials

    environment(monkeypatch, **{"DATABRICKS_HOST": HOST, **variables})
    assert seakernel.explain_auth().auth_type == auth_type
    order = [provider.auth_type() for provider in DefaultCredentials()._auth_providers]
    ours = [method.name for method in METHODS if method.name != "azure-msi"]  # only the SDKs of Go and Java have it
    assert ours == order


def test_names_of_attributes_and_variables_are_those_of_the_sdk() -> None:
    from databricks.sdk.core import Config

    theirs = {attribute.name: {attribute.env, *attribute.env_aliases} for attribute in Config.attributes()}
    for name, variables in ATTRIBUTES.items():
        assert set(variables) - {"DATABRICKS_ACCESS_TOKEN"} == theirs[name] - {None}, name
    # And whatever signs in there is known here.
    assert {attribute.name for attribute in Config.attributes() if attribute.auth} <= set(ATTRIBUTES)


def test_two_sign_ins_in_one_place_are_refused_as_by_the_sdk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environment(monkeypatch, DATABRICKS_HOST=HOST, DATABRICKS_HTTP_PATH=PATH, DATABRICKS_TOKEN=SECRET, **M2M)
    with pytest.raises(seakernel.ProgrammingError, match="more than one authorization method configured") as caught:
        seakernel.connect()
    for named in ("`pat` (`DATABRICKS_TOKEN`)", "`oauth-m2m` (`DATABRICKS_CLIENT_ID`", "`DATABRICKS_AUTH_TYPE`"):
        assert named in str(caught.value)
    explanation = seakernel.explain_auth()
    assert explanation.auth_type is None
    assert explanation.problem is not None
    assert not any(step.used for step in explanation.steps)
    monkeypatch.setenv("DATABRICKS_AUTH_TYPE", "pat")
    assert seakernel.explain_auth().auth_type == "pat"
    # In two places the first wins, as for every value.
    environment(monkeypatch, DATABRICKS_AUTH_TYPE="", DATABRICKS_TOKEN="", DATABRICKS_CONFIG_PROFILE="work")
    profiles(tmp_path, f"[work]\nhost = {HOST}\ntoken = {SECRET}\n")
    assert seakernel.explain_auth().auth_type == "oauth-m2m"
    assert seakernel.explain_auth(profile="work").auth_type == "pat"


def test_a_secret_never_goes_to_another_host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    profiles(tmp_path, f"[DEFAULT]\nhost = {OTHER}\nclient_id = app\nclient_secret = {SECRET}\nwarehouse_id = 1\n")
    environment(monkeypatch, DATABRICKS_HOST=HOST, DATABRICKS_HTTP_PATH=PATH)
    assert configuration().sign_in is None
    with pytest.raises(seakernel.ProgrammingError, match="for another host"):
        seakernel.connect()
    explanation = seakernel.explain_auth()
    assert explanation.steps[-1].why == "it is for another host than environment variable `DATABRICKS_HOST`"
    # Half of a sign-in of another host is not completed with the other half either.
    environment(monkeypatch, DATABRICKS_CLIENT_ID="app")
    assert configuration().sign_in is None
    # A secret without a host does not go to a host with a sign-in of its own.
    environment(monkeypatch, DATABRICKS_HOST="", DATABRICKS_CLIENT_SECRET="canary-mine")
    with pytest.raises(seakernel.ProgrammingError, match="comes without a host") as caught:
        configuration()
    assert "`DATABRICKS_HOST`" in str(caught.value)


def test_halves_of_one_host_are_put_together_and_whole_ones_are_not_mixed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    profiles(tmp_path, f"[DEFAULT]\nhost = {HOST}\nclient_id = app\nwarehouse_id = 1\n")
    environment(monkeypatch, DATABRICKS_CLIENT_SECRET=SECRET)
    found = configuration()
    assert found.sign_in is not None
    assert found.sign_in.options == {"type": "oauth-m2m", "client_id": "app", "client_secret": SECRET}
    profiles(tmp_path, f"[DEFAULT]\nhost = {HOST}\nclient_id = app\nclient_secret = canary-own\nwarehouse_id = 1\n")
    found = configuration()
    assert found.sign_in is not None
    assert found.sign_in.options["client_secret"] == "canary-own"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("auth_type = azure-cli\ntoken = canary-x", "`azure-cli` (`auth_type`)"),
        ("auth_type = telepathy", "`telepathy` (`auth_type`)"),
        ("username = u\npassword = canary-x", "`basic` (`username`, `password`)"),
        ("metadata_service_url = http://canary-x", "`metadata-service` (`metadata_service_url`)"),
    ],
)
def test_a_sign_in_that_is_not_supported_is_named(tmp_path: Path, text: str, message: str) -> None:
    profiles(tmp_path, f"[work]\nhost = {HOST}\nwarehouse_id = 1\n{text}\n")
    with pytest.raises(seakernel.NotSupportedError) as caught:
        seakernel.connect(profile="work")
    assert message in str(caught.value)
    assert "profile `work`" in str(caught.value)
    assert seakernel.explain_auth(profile="work").problem == caught.value.message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("client_id = app", "`client_secret` (`DATABRICKS_CLIENT_SECRET`) is missing"),
        ("auth_type = oauth-m2m\ntoken = canary-x", "`client_secret` (`DATABRICKS_CLIENT_SECRET`) are missing"),
        ("azure_client_secret = canary-x", "`azure_client_id` (`ARM_CLIENT_ID`) is missing"),
    ],
)
def test_a_sign_in_that_was_begun_tells_what_is_missing(tmp_path: Path, text: str, message: str) -> None:
    profiles(tmp_path, f"[work]\nhost = {HOST}\nwarehouse_id = 1\n{text}\n")
    with pytest.raises(seakernel.ProgrammingError, match="missing: `access_token`") as caught:
        seakernel.connect(profile="work")
    assert message in str(caught.value)


def test_the_argument_wins_over_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    environment(monkeypatch, DATABRICKS_AUTH_TYPE="oauth-m2m", **M2M)
    assert seakernel.explain_auth(HOST, access_token="canary-x").origin == "argument `access_token`"
    explanation = seakernel.explain_auth(HOST, PATH, auth=lambda: "x")
    assert (explanation.auth_type, explanation.origin) == ("callable", "argument `auth`")
    assert seakernel.explain_auth(HOST, auth={"type": "oauth-u2m"}).auth_type == "oauth-u2m"
    assert "give one of them" in str(seakernel.explain_auth(HOST, access_token="x", auth=lambda: "x").problem)


def test_the_explanation_reads_well(monkeypatch: pytest.MonkeyPatch) -> None:
    environment(monkeypatch, DATABRICKS_HOST=HOST, DATABRICKS_AUTH_TYPE="oauth-m2m", DATABRICKS_TOKEN=SECRET, **M2M)
    names = "`DATABRICKS_CLIENT_ID`, `DATABRICKS_CLIENT_SECRET`, `DATABRICKS_AUTH_TYPE`"
    assert repr(seakernel.explain_auth()).splitlines() == [
        f"signs in with `oauth-m2m`, from the environment ({names})",
        f"host: {HOST}",
        "1. the arguments: nothing to sign in with",
        "2. the environment: `pat` not used: environment variable `DATABRICKS_AUTH_TYPE` names another",
        f"3. the environment: `oauth-m2m` used: {names}",
    ]


def test_connect_signs_in_with_what_the_environment_has(
    oauth_warehouse: LocalWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment(
        monkeypatch,
        DATABRICKS_HOST=oauth_warehouse.server_hostname,
        DATABRICKS_HTTP_PATH=oauth_warehouse.http_path,
        DATABRICKS_CLIENT_ID="app",
        DATABRICKS_CLIENT_SECRET="canary-client-secret",
    )
    with seakernel.connect() as connection, connection.cursor() as cursor:
        assert cursor.execute("SELECT 1").fetchall() == [(1,)]
    from databricks.sdk.core import Config

    # The SDK finds the same, and signs in with it.
    config = Config()
    assert config.auth_type == seakernel.explain_auth().auth_type == "oauth-m2m"
    monkeypatch.setenv("DATABRICKS_CLIENT_SECRET", "canary-wrong")
    with pytest.raises(seakernel.OperationalError, match="invalid_client"):
        seakernel.connect()


def command_line_program(tmp_path: Path, body: str) -> str:
    program = tmp_path / "databricks"
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return str(program)


def test_the_command_line_is_asked_where_it_is_named(
    warehouse: LocalWarehouse, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    answer = f'{{"access_token": "{warehouse.access_token}", "expiry": "2099-01-02T03:04:05.678901234Z"}}'
    program = command_line_program(tmp_path, f"""echo "$@" >> "$0.log"; echo '{answer}'""")
    environment(monkeypatch, DATABRICKS_CLI_PATH=program)
    warehouse_id = warehouse.http_path.rpartition("/")[2]
    profiles(tmp_path, f"[DEFAULT]\nhost = {warehouse.server_hostname}\nwarehouse_id = {warehouse_id}\n")
    with pytest.raises(seakernel.ProgrammingError, match="missing: `access_token`"):
        seakernel.connect()
    monkeypatch.setenv("DATABRICKS_AUTH_TYPE", "databricks-cli")
    with seakernel.connect() as connection, connection.cursor() as cursor:
        assert cursor.execute("SELECT 1").fetchall() == [(1,)]
    # Once: the answer says how long its token is good.
    log = (tmp_path / "databricks.log").read_text()
    assert log == f"auth token --host {warehouse.server_hostname}\n"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("echo canary-out; echo canary-err >&2; exit 3", "`databricks auth token` ended with 3"),
        ("echo canary-out", "holds no token"),
        ("echo '[\"canary-out\"]'", "holds no token"),
        (None, "no program `databricks`"),
    ],
)
def test_a_command_line_that_fails_is_named_and_not_repeated(
    warehouse: LocalWarehouse,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    eventually: Callable[..., Any],
    body: str | None,
    message: str,
) -> None:
    program = "no-such-program" if body is None else command_line_program(tmp_path, body)
    environment(monkeypatch, DATABRICKS_CLI_PATH=program, DATABRICKS_AUTH_TYPE="databricks-cli")
    with pytest.raises(seakernel.OperationalError, match="`databricks auth token` raised") as caught:
        seakernel.connect(warehouse.server_hostname, warehouse.http_path)
    assert message in str(caught.value.__cause__)


def test_the_doctor_shows_the_sign_in(
    oauth_warehouse: LocalWarehouse, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from seakernel.command import main

    environment(
        monkeypatch,
        DATABRICKS_HOST=oauth_warehouse.server_hostname,
        DATABRICKS_HTTP_PATH=oauth_warehouse.http_path,
        DATABRICKS_OIDC_TOKEN=SECRET,
        DATABRICKS_CLIENT_ID="app",
        DATABRICKS_CLIENT_SECRET="canary-client-secret",
    )
    assert main(["doctor", "--start"]) == 0
    shown = capsys.readouterr().out
    for part in ("of the sign-in `oauth-m2m`, from the environment", "`env-oidc` of the environment: `oauth-m2m` goes"):
        assert part in shown
    assert "SELECT 1 in" in shown
    monkeypatch.setenv("DATABRICKS_CLIENT_SECRET", "canary-wrong")
    assert main(["doctor"]) == 1
    shown = capsys.readouterr().out
    assert "invalid_client" in shown
    assert "explain_auth" in shown
    assert "SELECT 1" not in shown
    monkeypatch.setenv("DATABRICKS_CLIENT_SECRET", "canary-client-secret")
    assert main(["doctor"]) == 0
    assert "it might start the warehouse" in capsys.readouterr().out
