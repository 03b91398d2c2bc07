"""`seakernel doctor`: what it says of each thing that can be wrong on the way to a warehouse."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from warehouse_environment import environment_of

import seakernel
from seakernel.local import LocalWarehouse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Command = Callable[..., subprocess.CompletedProcess[bytes]]

STEPS = [
    *("versions", "host", "http path", "token", "proxy", "name", "connection", "tls", "workspace", "sign-in"),
    *("warehouse", "statement", "storage"),
]


def report(done: subprocess.CompletedProcess[bytes]) -> dict[str, dict[str, Any]]:
    """The checks by name; the exit status must agree with them, and no step is silent about what to do."""
    assert done.stderr == b""
    answer = json.loads(done.stdout)
    failed = any(check["status"] == "failed" for check in answer["checks"])
    assert answer["ok"] is not failed
    assert done.returncode == int(failed)
    for check in answer["checks"]:
        assert check["status"] != "failed" or check["advice"], check
    return {check["name"]: check for check in answer["checks"]}


def statuses(checks: dict[str, dict[str, Any]]) -> dict[str, str]:
    return {name: check["status"] for name, check in checks.items()}


@contextlib.contextmanager
def answering(status: int, body: bytes, **headers: str) -> Iterator[str]:
    """A server on this machine that answers everything the same."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *values: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def test_all_is_well(seakernel_command: Command, warehouse: LocalWarehouse) -> None:
    checks = report(seakernel_command("doctor", "--json"))
    assert list(checks) == STEPS
    assert statuses(checks) == {**dict.fromkeys(STEPS, "ok"), "tls": "skipped"}
    assert checks["host"]["detail"] == f"{warehouse.server_hostname}, from environment variable `DATABRICKS_HOST`"
    assert checks["token"]["detail"].startswith(f"{len(warehouse.access_token)} characters, from environment variable")
    assert seakernel.__version__ in checks["versions"]["detail"]
    assert "SELECT 1 in " in checks["statement"]["detail"]
    # The storage was asked for real.
    downloads = [request for request in warehouse.requests() if request["operation"] == "download"]
    assert downloads


def test_the_text_has_a_line_for_each_step_and_no_token(seakernel_command: Command, warehouse: LocalWarehouse) -> None:
    done = seakernel_command("doctor")
    assert (done.returncode, done.stderr) == (0, b"")
    lines = done.stdout.decode().splitlines()
    assert [line.split("  ")[0].split()[0] for line in lines] == ["ok"] * 7 + ["skipped"] + ["ok"] * 5
    assert warehouse.access_token not in done.stdout.decode()


def test_local_needs_no_configuration(seakernel_command: Command) -> None:
    nothing = {"DATABRICKS_HOST": "", "DATABRICKS_TOKEN": "", "DATABRICKS_HTTP_PATH": ""}
    assert report(seakernel_command("doctor", "--local", "--json", environment=nothing))["storage"]["status"] == "ok"


def test_nothing_is_configured(seakernel_command: Command) -> None:
    nothing = {"DATABRICKS_HOST": "", "DATABRICKS_TOKEN": "", "DATABRICKS_HTTP_PATH": ""}
    checks = report(seakernel_command("doctor", "--json", environment=nothing))
    assert list(checks) == ["versions", "host", "http path", "token"]
    assert "`~/.databrickscfg` (no such file)" in checks["host"]["detail"]
    assert "`DATABRICKS_TOKEN`" in checks["token"]["advice"]


def test_a_profile_and_its_defects_are_told(
    seakernel_command: Command, tmp_path: Path, warehouse: LocalWarehouse
) -> None:
    nothing = {"DATABRICKS_HOST": "", "DATABRICKS_TOKEN": "", "DATABRICKS_HTTP_PATH": ""}
    file = tmp_path / ".databrickscfg"
    warehouse_id = warehouse.http_path.rpartition("/")[2]
    file.write_text(
        f"[work]\nhost = {warehouse.server_hostname}\ntoken = {warehouse.access_token}\nwarehouse_id = {warehouse_id}\n"
        f"[machine]\nhost = {warehouse.server_hostname}\nclient_id = 1\nclient_secret = canary\n"
        f"[person]\nhost = {warehouse.server_hostname}\nusername = me\npassword = canary\n"
    )
    checks = report(seakernel_command("doctor", "--json", "--profile", "work", environment=nothing))
    assert checks["host"]["detail"].endswith("from `host` of profile `work` of `~/.databrickscfg`")
    assert checks["storage"]["status"] == "ok"
    done = seakernel_command("doctor", "--profile", "machine", environment=nothing)
    assert done.returncode == 1
    assert b"of the sign-in `oauth-m2m`, from profile `machine` of `~/.databrickscfg`" in done.stdout
    done = seakernel_command("doctor", "--profile", "person", environment=nothing)
    assert done.returncode == 1
    assert b"profile `person` of `~/.databrickscfg` signs in with `basic` (`username`, `password`)" in done.stdout
    file.write_text("token = canary-word\n")
    done = seakernel_command("doctor", environment=nothing)
    assert b"line 1 stands before any `[profile]`" in done.stdout
    assert b"canary" not in done.stdout + done.stderr


def test_a_place_for_another_host_is_told(seakernel_command: Command, warehouse: LocalWarehouse) -> None:
    done = seakernel_command("doctor", "--host", "https://other.cloud.databricks.com")
    assert done.returncode == 1
    text = done.stdout.decode()
    assert "the environment is for another host" in text
    assert "failed   token" in text


def test_a_refused_token(seakernel_command: Command) -> None:
    checks = report(seakernel_command("doctor", "--json", environment={"DATABRICKS_TOKEN": "canary-wrong"}))
    assert checks["sign-in"]["status"] == "failed"
    assert "expired" in checks["sign-in"]["advice"]
    assert "warehouse" not in checks
    assert "canary" not in json.dumps(checks)


def test_a_token_that_no_request_can_carry(seakernel_command: Command) -> None:
    for token in ("canary\nword", "canary-\u20ac"):
        done = seakernel_command("doctor", "--json", environment={"DATABRICKS_TOKEN": token})
        checks = report(done)
        assert checks["sign-in"]["status"] == "failed"
        assert "copy it again" in checks["sign-in"]["advice"]
        assert b"canary" not in done.stdout


def test_a_wrong_path(seakernel_command: Command) -> None:
    path = {"DATABRICKS_HTTP_PATH": "/sql/1.0/warehouses/0123456789abcdef"}
    checks = report(seakernel_command("doctor", "--json", environment=path))
    assert checks["sign-in"]["status"] == "ok"
    assert checks["warehouse"]["status"] == "failed"
    assert "`0123456789abcdef`" in checks["warehouse"]["detail"]
    assert "`http_path`" in checks["warehouse"]["advice"]


def test_a_closed_port(seakernel_command: Command) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        host = f"http://127.0.0.1:{closed.getsockname()[1]}"
    checks = report(seakernel_command("doctor", "--json", environment={"DATABRICKS_HOST": host}))
    assert list(checks)[-1] == "connection"
    assert "refused" in checks["connection"]["detail"]
    assert "firewall" in checks["connection"]["advice"]


def test_a_name_that_does_not_exist(seakernel_command: Command) -> None:
    host = {"DATABRICKS_HOST": "no-such-host.invalid", "NO_PROXY": "*"}
    checks = report(seakernel_command("doctor", "--json", environment=host))
    assert list(checks)[-1] == "name"
    assert checks["name"]["status"] == "failed"
    assert "`no-such-host.invalid`" in checks["name"]["detail"]


def test_a_host_that_would_get_the_token_in_the_open_is_refused(seakernel_command: Command) -> None:
    checks = report(seakernel_command("doctor", "--json", environment={"DATABRICKS_HOST": "http://example.com"}))
    assert list(checks) == ["versions", "configuration"]
    assert "unencrypted" in checks["configuration"]["detail"]


@pytest.mark.parametrize("state", ["STOPPED", "STARTING"])
def test_a_warehouse_that_does_not_run_is_not_started_unasked(seakernel_command: Command, state: str) -> None:
    with LocalWarehouse(switches={"warehouse_state": state}) as stopped:
        checks = report(seakernel_command("doctor", "--json", to=stopped))
        assert checks["warehouse"]["status"] == "warning"
        assert state.lower() in checks["warehouse"]["detail"]
        assert checks["statement"]["status"] == "skipped"
        assert "--start" in checks["statement"]["advice"]
        assert not [request for request in stopped.requests() if request["operation"] == "execute"]
        assert report(seakernel_command("doctor", "--json", "--start", to=stopped))["storage"]["status"] == "ok"


@pytest.mark.parametrize("fault", [{"status": {"code": 403}}, {"status": {"code": 503}}, "drop_before_response"])
def test_storage_that_is_out_of_reach(seakernel_command: Command, fault: object) -> None:
    with LocalWarehouse(faults=[{"on": "download", "times": "always", "do": fault}]) as warehouse:
        checks = report(seakernel_command("doctor", "--json", to=warehouse))
    assert statuses(checks) == {**dict.fromkeys(STEPS, "ok"), "tls": "skipped", "storage": "failed"}
    assert "chunk 0" in checks["storage"]["detail"]
    if fault != {"status": {"code": 503}}:
        assert "firewall" in checks["storage"]["advice"]


def test_a_result_that_never_comes_by_storage_is_told(seakernel_command: Command) -> None:
    with LocalWarehouse(inline_bytes=1 << 30) as warehouse:
        checks = report(seakernel_command("doctor", "--json", to=warehouse))
    assert checks["storage"]["status"] == "skipped"


def test_statements_that_are_refused(seakernel_command: Command) -> None:
    with LocalWarehouse(faults=[{"on": "execute", "times": "always", "do": {"status": {"code": 403}}}]) as warehouse:
        checks = report(seakernel_command("doctor", "--json", to=warehouse))
    assert checks["statement"]["status"] == "failed"
    assert "CAN USE" in checks["statement"]["advice"]
    assert "storage" not in checks


@pytest.mark.parametrize(
    ("status", "body", "headers", "detail"),
    [
        (302, b"", {"Location": "https://login.example.com/?next=canary"}, "redirects to login.example.com"),
        (200, b"<html>log in</html>", {}, "without an answer of the API"),
        (200, b"[" * 100_000, {}, "without an answer of the API"),
        (502, b'{"message": "bad\\u001b[2J gateway"}', {}, "bad\x1b[2J gateway"),
    ],
)
def test_something_else_that_answers(
    seakernel_command: Command, status: int, body: bytes, headers: dict[str, str], detail: str
) -> None:
    with answering(status, body, **headers) as host:
        checks = report(seakernel_command("doctor", "--json", environment={"DATABRICKS_HOST": host}))
    assert list(checks)[-1] == "workspace"
    assert detail in checks["workspace"]["detail"]
    assert "canary" not in json.dumps(checks)


def test_a_server_that_hangs_up(seakernel_command: Command) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hang_up() -> None:
            with contextlib.suppress(OSError):
                while True:
                    listener.accept()[0].close()

        thread = threading.Thread(target=hang_up, daemon=True)
        thread.start()
        host = f"http://127.0.0.1:{listener.getsockname()[1]}"
        checks = report(seakernel_command("doctor", "--json", environment={"DATABRICKS_HOST": host}))
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(timeout=5)
    assert checks["workspace"]["status"] == "failed"
    assert checks["workspace"]["detail"].startswith("no answer")


@pytest.mark.parametrize(
    ("proxy", "status", "shown"),
    [
        ("http://me:canary-word@127.0.0.1:{port}", "ok", "127.0.0.1:{port}, with name and password"),
        ("127.0.0.1:{port}", "ok", "127.0.0.1:{port}"),
        (
            "socks5://127.0.0.1:{port}",
            "failed",
            "`https_proxy` is of the kind `socks5`, and only HTTP proxies can be used",
        ),
        ("http://127.0.0.1:canary", "failed", "`https_proxy` is no address of a proxy"),
    ],
)
def test_a_proxy_is_shown_without_its_password(seakernel_command: Command, proxy: str, status: str, shown: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        asked: list[bytes] = []

        def refuse() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    with client:
                        if request := client.recv(1 << 16):
                            asked.append(request)
                            client.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")

        thread = threading.Thread(target=refuse, daemon=True)
        thread.start()
        environment = {
            **{name: "" for name in os.environ if name.lower().endswith("_proxy")},
            "DATABRICKS_HOST": "https://one.cloud.databricks.com",
            "HTTPS_PROXY": proxy.format(port=port),
            "https_proxy": proxy.format(port=port),
        }
        done = seakernel_command("doctor", "--json", environment=environment)
        checks = report(done)
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(timeout=5)
    assert checks["proxy"]["status"] == status
    assert checks["proxy"]["detail"] == shown.format(port=port) or status == "failed"
    assert shown.format(port=port) in checks["proxy"]["detail"]
    assert b"canary" not in done.stdout
    if status == "ok":
        assert checks["connection of the proxy"]["status"] == "ok"
        assert checks["tls"]["status"] == "failed"
        assert "407" in checks["tls"]["detail"]
        assert any(request.startswith(b"CONNECT one.cloud.databricks.com:443") for request in asked)
        # The token is for the host behind the proxy, and no tunnel was there.
        assert not any(b"Bearer" in request for request in asked)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="certificates are made by openssl")
def test_a_certificate_that_is_not_trusted_and_one_that_is(warehouse: LocalWarehouse, tmp_path: Path) -> None:
    import ssl

    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", str(key)),
            *("-out", str(certificate)),
            *("-subj", "/O=Test Authority/CN=localhost", "-days", "2", "-addext", "subjectAltName=DNS:localhost"),
        ],
        check=True,
        capture_output=True,
        timeout=60,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def shake_hands() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    with contextlib.suppress(OSError), context.wrap_socket(client, server_side=True) as session:
                        session.recv(1 << 16)
                        session.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}")

        thread = threading.Thread(target=shake_hands, daemon=True)
        thread.start()
        environment = environment_of(warehouse, DATABRICKS_HOST=f"localhost:{listener.getsockname()[1]}")
        command = [sys.executable, "-m", "seakernel", "doctor", "--json"]
        refused = report(subprocess.run(command, check=False, capture_output=True, timeout=60, env=environment))
        assert refused["tls"]["status"] == "failed"
        assert "not trusted" in refused["tls"]["detail"]
        assert "SSL_CERT_FILE" in refused["tls"]["advice"]
        trusting = {**environment, "SSL_CERT_FILE": str(certificate)}
        trusted = report(subprocess.run(command, check=False, capture_output=True, timeout=60, env=trusting))
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(timeout=5)
    # It ends in two days.
    assert trusted["tls"]["status"] == "warning"
    assert "certificate of Test Authority" in trusted["tls"]["detail"]
    assert trusted["warehouse"]["status"] == "failed"


def test_a_server_that_repeats_the_token(seakernel_command: Command) -> None:
    token = "dapiCANARY" + "0123456789abcdef" * 2
    # Also where the message is cut in the midst of it.
    for before in (0, 180):
        body = json.dumps({"message": "x" * before + f"Invalid access token: Bearer {token}"}).encode()
        with answering(401, body) as host:
            environment = {"DATABRICKS_HOST": host, "DATABRICKS_TOKEN": token}
            done = seakernel_command("doctor", "--json", environment=environment)
            assert report(done)["sign-in"]["status"] == "failed"
            text = seakernel_command("doctor", environment=environment).stdout
        assert b"canary" not in (done.stdout + text).lower()
    with answering(302, b"", Location=f"https://{token}.example.com/") as host:
        environment = {"DATABRICKS_HOST": host, "DATABRICKS_TOKEN": token}
        assert "redirects to ***.example.com" in seakernel_command("doctor", environment=environment).stdout.decode()


def test_what_a_server_says_does_not_steer_the_terminal(seakernel_command: Command) -> None:
    body = json.dumps({"name": "\x1b[2Jname", "state": "STOPPED\x1b[31m\r\n"}).encode()
    with answering(200, body) as host:
        done = seakernel_command("doctor", environment={"DATABRICKS_HOST": host})
    assert b"`\\x1b[2Jname` is stopped\\x1b[31m\\r\\n" in done.stdout
    assert b"\x1b" not in done.stdout
