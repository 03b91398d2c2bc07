"""Runs inside mitmdump: hosts of the tests are servers on this machine, and what passes is noted.

`SEAKERNEL_PLAN` is JSON: `hosts` maps names to `host:port`, `links` maps addresses in answers to others, and `folder` is
where `ports` (by mode) and `flows` are written.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mitmproxy import ctx

if TYPE_CHECKING:
    from mitmproxy import http

PLAN = json.loads(os.environ["SEAKERNEL_PLAN"])
FOLDER = Path(PLAN["folder"])


def running() -> None:
    """Tells which port each mode got."""
    servers = ctx.master.addons.get("proxyserver").servers
    ports = {server.mode.full_spec.split("@")[0]: server.listen_addrs[0][1] for server in servers}
    unfinished = FOLDER / "ports.new"
    unfinished.write_text(json.dumps(ports))
    unfinished.rename(FOLDER / "ports")


def request(flow: http.HTTPFlow) -> None:
    """Notes a request and sends it where its host really is."""
    told: dict[str, Any] = {
        "method": flow.request.method,
        "scheme": flow.request.scheme,
        "host": flow.request.host,
        "path": flow.request.path.partition("?")[0],
        "headers": sorted(name.lower() for name in flow.request.headers),
    }
    with (FOLDER / "flows").open("a") as file:
        file.write(json.dumps(told) + "\n")
    if flow.request.host in PLAN["hosts"]:
        host, _, port = PLAN["hosts"][flow.request.host].rpartition(":")
        flow.request.scheme = "http"
        flow.request.host, flow.request.port = host, int(port)


def response(flow: http.HTTPFlow) -> None:
    """Changes addresses in answers of the API."""
    if flow.response is not None and "json" in flow.response.headers.get("content-type", ""):
        for old, new in PLAN["links"].items():
            flow.response.text = (flow.response.text or "").replace(old, new)
