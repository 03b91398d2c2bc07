"""mitmproxy, in an environment of its own, in front of a local warehouse that hands out files."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from authority import closed_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seakernel.local import LocalWarehouse

ROOT = Path(__file__).parents[2]
# `make .venv-mitmproxy/done` makes it; the package pins much that others need in other versions.
MITMDUMP = Path(os.environ.get("MITMDUMP", ROOT / ".venv-mitmproxy" / "bin" / "mitmdump"))
WORKSPACE, STORE = "workspace.example", "store.example"
USER, PASSWORD = "me@corp", "pass/word%41-canary"


@dataclass(frozen=True)
class Mitmproxy:
    """A running mitmdump."""

    folder: Path
    ports: dict[str, int]

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.ports['regular']}"

    @property
    def authority(self) -> Path:
        return self.folder / "mitmproxy-ca-cert.pem"

    def flows(self) -> list[dict[str, Any]]:
        """What has passed since the last call, without what may come late: statements are closed in the background."""
        file = self.folder / "flows"
        if not file.exists():
            return []
        lines = file.read_text().splitlines()
        file.unlink()
        passed = [json.loads(line) for line in lines]
        return [flow for flow in passed if flow["method"] != "DELETE" or flow["host"] == STORE]


def store_of(warehouse: LocalWarehouse) -> str:
    address: str = warehouse._server.storage_address
    return address


@contextlib.contextmanager
def running(
    warehouse: LocalWarehouse, folder: Path, modes: list[str], *options: str, workspace_names: tuple[str, ...] = ()
) -> Iterator[Mitmproxy]:
    if not MITMDUMP.exists():
        if os.environ.get("CI"):
            pytest.fail(f"{MITMDUMP} is missing: run `make .venv-mitmproxy/done` first")
        pytest.skip("mitmproxy is not installed: run `make .venv-mitmproxy/done`")
    workspace, store = (address.partition("://")[2] for address in (warehouse.server_hostname, store_of(warehouse)))
    plan = {
        "folder": str(folder),
        "hosts": {**dict.fromkeys((WORKSPACE, *workspace_names), workspace), STORE: store},
        "links": {store_of(warehouse): f"https://{STORE}"},
    }
    listen = [
        part
        for mode, port in zip(modes, (0, closed_port()), strict=False)
        for part in ("--mode", f"{mode}@127.0.0.1:{port}")
    ]
    command = [
        *(str(MITMDUMP), "--quiet", *listen, *options),
        *("--set", f"confdir={folder}", "--set", "connection_strategy=lazy", "--set", "flow_detail=0"),
        *("-s", str(Path(__file__).with_name("mitmproxy_addon.py"))),
    ]
    log = folder / "log"
    with (
        log.open("w") as output,
        subprocess.Popen(
            command, env={**os.environ, "SEAKERNEL_PLAN": json.dumps(plan)}, stdout=output, stderr=output
        ) as process,
    ):
        try:
            deadline = time.monotonic() + 90
            while not (folder / "ports").exists():
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.05)
            yield Mitmproxy(folder, json.loads((folder / "ports").read_text()))
        finally:
            process.terminate()
