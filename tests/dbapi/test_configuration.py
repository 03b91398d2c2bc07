"""Where a connection goes: arguments, environment, profiles, and what is never mixed."""

from __future__ import annotations

import os
import pickle
import socket
from typing import TYPE_CHECKING, Any

import pytest

import seakernel
from seakernel.configuration import configuration, normalised_host

if TYPE_CHECKING:
    from pathlib import Path

    from seakernel.configuration import Configuration
    from seakernel.local import LocalWarehouse

HOST, OTHER = "https://one.cloud.databricks.com", "https://two.cloud.databricks.com"
TOKEN, OTHER_TOKEN = "canary-token-one", "canary-token-two"
PATH = "/sql/1.0/warehouses/1a2b"


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of the machine that runs the tests plays a part."""
    for name in os.environ:
        if name.startswith("DATABRICKS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))


def profiles(tmp_path: Path, text: str) -> None:
    (tmp_path / ".databrickscfg").write_text(text)


def values(found: Configuration) -> tuple[str | None, str | None, str | None]:
    host, path, token = (setting and setting.value for setting in found[:3])
    return host, path, token


def place_of(warehouse: LocalWarehouse) -> tuple[str, str]:
    return warehouse.server_hostname, warehouse.http_path.rpartition("/")[2]


def test_connect_without_arguments_takes_the_environment(
    warehouse: LocalWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, warehouse_id = place_of(warehouse)
    monkeypatch.setenv("DATABRICKS_HOST", host)
    monkeypatch.setenv("DATABRICKS_TOKEN", warehouse.access_token)
    monkeypatch.setenv("DATABRICKS_WAREHOUSE_ID", warehouse_id)
    with seakernel.connect() as connection, connection.cursor() as cursor:
        assert cursor.execute("SELECT 1").fetchall() == [(1,)]


def test_connect_without_arguments_takes_the_default_profile(warehouse: LocalWarehouse, tmp_path: Path) -> None:
    host, warehouse_id = place_of(warehouse)
    token = warehouse.access_token
    profiles(
        tmp_path, f"[DEFAULT]\nhost = {host}/\ntoken = {token}\nwarehouse_id = {warehouse_id}\n[other]\nhost = x\n"
    )
    with seakernel.connect() as connection, connection.cursor() as cursor:
        assert cursor.execute("SELECT 1").fetchall() == [(1,)]


def test_an_argument_goes_before_the_environment_and_that_before_the_profile(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    profiles(tmp_path, f"[DEFAULT]\nhost = {HOST}\ntoken = {OTHER_TOKEN}\nwarehouse_id = profile\n")
    monkeypatch.setenv("DATABRICKS_HOST", HOST)
    monkeypatch.setenv("DATABRICKS_TOKEN", TOKEN)
    assert values(configuration()) == (HOST, "/sql/1.0/warehouses/profile", TOKEN)
    monkeypatch.setenv("DATABRICKS_HTTP_PATH", PATH)
    assert values(configuration()) == (HOST, PATH, TOKEN)
    assert values(configuration(warehouse_id="argument")) == (HOST, "/sql/1.0/warehouses/argument", TOKEN)
    assert values(configuration(access_token="t")) == (HOST, PATH, "t")


def test_each_value_tells_where_it_came_from(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    profiles(tmp_path, f"[work]\ntoken = {TOKEN}\n")
    monkeypatch.setenv("DATABRICKS_HOST", HOST)
    monkeypatch.setenv("DATABRICKS_CONFIG_PROFILE", "work")
    found = configuration(http_path=PATH)
    assert [setting.origin for setting in found[:3] if setting] == [
        "environment variable `DATABRICKS_HOST`",
        "argument `http_path`",
        "`token` of profile `work` of `~/.databrickscfg`",
    ]
    assert TOKEN not in repr(found)


def test_a_profile_named_by_argument_goes_before_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    profiles(tmp_path, f"[work]\nhost = {OTHER}\ntoken = {OTHER_TOKEN}\nhttp_path = {PATH}\n")
    monkeypatch.setenv("DATABRICKS_HOST", HOST)
    monkeypatch.setenv("DATABRICKS_TOKEN", TOKEN)
    assert values(configuration(profile="work")) == (OTHER, PATH, OTHER_TOKEN)


def test_the_file_and_the_default_profile_can_be_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "elsewhere.cfg"
    file.write_text(
        f"[__settings__]\ndefault_profile = b\n[a]\nhost = {OTHER}\n[b]\nhost = {HOST}\ntoken = {TOKEN}\nwarehouse_id = 1\n"
    )
    monkeypatch.setenv("DATABRICKS_CONFIG_FILE", str(file))
    assert values(configuration()) == (HOST, "/sql/1.0/warehouses/1", TOKEN)


def test_values_of_the_default_profile_are_not_those_of_others(tmp_path: Path) -> None:
    profiles(tmp_path, f"[DEFAULT]\ntoken = {TOKEN}\n[work]\nhost = {HOST}\nwarehouse_id = 1\n")
    assert values(configuration(profile="work")) == (HOST, "/sql/1.0/warehouses/1", None)


@pytest.mark.parametrize("by_profile", [False, True])
def test_a_token_is_never_shown_to_another_host(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, by_profile: bool
) -> None:
    if by_profile:
        profiles(tmp_path, f"[DEFAULT]\nhost = {OTHER}\ntoken = {OTHER_TOKEN}\nhttp_path = {PATH}\n")
    else:
        monkeypatch.setenv("DATABRICKS_HOST", OTHER)
        monkeypatch.setenv("DATABRICKS_TOKEN", OTHER_TOKEN)
        monkeypatch.setenv("DATABRICKS_HTTP_PATH", PATH)
    with pytest.raises(seakernel.ProgrammingError, match=r"another host, `two.* than `one") as caught:
        seakernel.connect(HOST)
    assert "`access_token` (or set `DATABRICKS_TOKEN`)" in str(caught.value)
    assert "`http_path`" in str(caught.value)


def test_a_token_without_a_host_goes_with_the_host_of_an_argument(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABRICKS_TOKEN", TOKEN)
    assert values(configuration(HOST, PATH)) == (HOST, PATH, TOKEN)


def test_a_token_without_a_host_is_not_for_a_profile_with_its_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    profiles(tmp_path, f"[DEFAULT]\nhost = {OTHER}\ntoken = {OTHER_TOKEN}\nhttp_path = {PATH}\n")
    monkeypatch.setenv("DATABRICKS_TOKEN", TOKEN)
    with pytest.raises(seakernel.ProgrammingError, match=r"`DATABRICKS_TOKEN` comes without a host"):
        seakernel.connect()


def test_the_same_host_in_another_form_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABRICKS_HOST", "https://ONE.cloud.databricks.com:443/")
    monkeypatch.setenv("DATABRICKS_SERVER_HOSTNAME", "one.cloud.databricks.com")
    monkeypatch.setenv("DATABRICKS_TOKEN", TOKEN)
    assert values(configuration("one.cloud.databricks.com", PATH)) == (HOST, PATH, TOKEN)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("DATABRICKS_HOST", HOST), ("DATABRICKS_SERVER_HOSTNAME", OTHER)),
        (("DATABRICKS_TOKEN", TOKEN), ("DATABRICKS_ACCESS_TOKEN", OTHER_TOKEN)),
        (("DATABRICKS_HTTP_PATH", PATH), ("DATABRICKS_WAREHOUSE_ID", "other")),
    ],
)
def test_two_variables_of_one_value_must_agree(
    monkeypatch: pytest.MonkeyPatch, first: tuple[str, str], second: tuple[str, str]
) -> None:
    for name, value in (first, second):
        monkeypatch.setenv(name, value)
    with pytest.raises(seakernel.ProgrammingError, match=f"{first[0]}.*{second[0]}.* differ"):
        seakernel.connect()
    monkeypatch.setenv(second[0], "1a2b" if first[1] == PATH else first[1])
    with pytest.raises(seakernel.ProgrammingError, match=r"missing"):
        seakernel.connect()


def test_a_warehouse_can_be_named_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(seakernel.ProgrammingError, match=r"`http_path`.*`warehouse_id`.* differ"):
        seakernel.connect(HOST, PATH, TOKEN, warehouse_id="other")
    assert values(configuration(HOST, PATH, TOKEN, warehouse_id="1a2b")) == (HOST, PATH, TOKEN)
    with pytest.raises(seakernel.ProgrammingError, match=r"`warehouse_id` is `/sql/"):
        seakernel.connect(HOST, None, TOKEN, warehouse_id=PATH)


@pytest.mark.parametrize("argument", ["server_hostname", "http_path", "access_token", "warehouse_id", "profile"])
@pytest.mark.parametrize("wrong", ["", " ", 5, b"x"])
def test_what_is_no_text_is_refused(argument: str, wrong: Any) -> None:
    with pytest.raises(seakernel.ProgrammingError, match=f"`{argument}` is"):
        seakernel.connect(**{argument: wrong})


def test_what_is_missing_is_said_with_where_was_looked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABRICKS_TOKEN", TOKEN)
    with pytest.raises(seakernel.ProgrammingError) as caught:
        seakernel.connect(HOST)
    assert str(caught.value) == (
        "missing: `http_path` or `warehouse_id` (or set `DATABRICKS_HTTP_PATH` or `DATABRICKS_WAREHOUSE_ID`). Looked at"
        " the arguments, the environment, `~/.databrickscfg` (no such file)"
    )


def test_complete_arguments_read_no_file(tmp_path: Path) -> None:
    profiles(tmp_path, "this is no profile file")
    assert values(configuration(HOST, PATH, TOKEN)) == (HOST, PATH, TOKEN)


HOSTILE_FILES = [
    pytest.param(b"token = canary-a\n[x]\n", "line 1 stands before any", id="no section"),
    pytest.param(b"[x]\ncanary-b\n", "line 2 is neither", id="no key"),
    pytest.param(b"[x]\ntoken = 1\ntoken = canary-c\n", "line 3 repeats", id="key twice"),
    pytest.param(b"[x]\n[x]\n", "line 2 repeats", id="profile twice"),
    pytest.param(b"[x]\ntoken = \xff\xfe\n", "not UTF-8", id="not text"),
    pytest.param(b"#" * ((1 << 20) + 1), "larger than 1 MiB", id="too large"),
    pytest.param(b"[other\x1b[31m]\n", r"no profile `x`; it has `other\\x1b\[31m`", id="escape sequence"),
    pytest.param(b"", "it has none", id="empty"),
]


@pytest.mark.parametrize(("content", "message"), HOSTILE_FILES)
def test_a_hostile_profile_file_is_refused_without_its_words(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / ".databrickscfg").write_bytes(content)
    with pytest.raises(seakernel.ProgrammingError, match=message) as caught:
        seakernel.connect(profile="x")
    assert "canary" not in str(caught.value)
    assert "\x1b" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_percent_signs_and_comments_are_read_as_the_sdk_does(tmp_path: Path) -> None:
    profiles(tmp_path, f"; comment\n[x]\n# comment\nhost={HOST}\ntoken = canary%(host)s%%\nwarehouse_id = 1\n")
    assert values(configuration(profile="x"))[2] == "canary%(host)s%%"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_no_profile_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (pipe, tmp_path):
        monkeypatch.setenv("DATABRICKS_CONFIG_FILE", str(path))
        with pytest.raises(seakernel.ProgrammingError, match=r"not a regular file|directory"):
            seakernel.connect()


def test_a_file_or_profile_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(seakernel.ProgrammingError, match=r"`profile` wants `~/.databrickscfg`, and there is no such"):
        seakernel.connect(profile="work")
    monkeypatch.setenv("DATABRICKS_CONFIG_FILE", str(tmp_path / "missing"))
    with pytest.raises(seakernel.ProgrammingError, match=r"`DATABRICKS_CONFIG_FILE` names .*no such file"):
        seakernel.connect()
    monkeypatch.delenv("DATABRICKS_CONFIG_FILE")
    profiles(tmp_path, f"[home]\nhost = {HOST}\n")
    with pytest.raises(seakernel.ProgrammingError, match=r"no profile `work`; it has `home`"):
        seakernel.connect(profile="work")


def test_a_profile_of_another_host_than_the_argument_is_refused(tmp_path: Path) -> None:
    profiles(tmp_path, f"[work]\nhost = {OTHER}\ntoken = {OTHER_TOKEN}\n")
    with pytest.raises(seakernel.ProgrammingError, match=r"another host.*give one of them"):
        seakernel.connect(HOST, PATH, TOKEN, profile="work")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("a.b.com", "https://a.b.com"),
        (" https://A.b.com/ ", "https://a.b.com"),
        ("a.b.com:443", "https://a.b.com"),
        ("a.b.com:8443", "https://a.b.com:8443"),
        ("http://127.0.0.1:80", "http://127.0.0.1"),
        ("http://[::1]:1234/", "http://[::1]:1234"),
        ("http://localhost:5", "http://localhost:5"),
    ],
)
def test_hosts_in_usual_forms(given: str, expected: str) -> None:
    assert normalised_host(given) == expected


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("https://a.b.com/sql/warehouses/1?o=2", "on the host `a.b.com`, not the host alone"),
        ("a.b.com/?o=1", "not the host alone"),
        ("https://me:canary-word@a.b.com", "user name or password"),
        ("canary-word@a.b.com", "user name or password"),
        ("ftp://a.b.com", "not an https address"),
        ("http://a.b.com", "would send the token unencrypted"),
        ("http://127.0.0.1.evil.com", "would send the token unencrypted"),
        ("a.b.com:port", "not a host"),
        ("a.b.com:99999", "not a host"),
        ("https://", "not a host"),
        ("a b.com", "not a host"),
        ("https://[::1", "not a host"),
    ],
)
def test_what_is_no_host_is_refused(given: str, message: str) -> None:
    with pytest.raises(seakernel.ProgrammingError, match=message) as caught:
        seakernel.connect(given, PATH, TOKEN)
    assert "canary" not in str(caught.value)


def test_errors_of_the_configuration_can_be_pickled() -> None:
    with pytest.raises(seakernel.ProgrammingError) as caught:
        seakernel.connect(HOST)
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (str(copy), copy.kind) == (str(caught.value), "InvalidArgument")


def test_local_ignores_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("DATABRICKS_HOST", f"http://127.0.0.1:{closed.getsockname()[1]}")
    monkeypatch.setenv("DATABRICKS_TOKEN", TOKEN)
    monkeypatch.setenv("DATABRICKS_HTTP_PATH", PATH)
    with seakernel.connect("local") as connection, connection.cursor() as cursor:
        assert cursor.execute("SELECT 1").fetchall() == [(1,)]
