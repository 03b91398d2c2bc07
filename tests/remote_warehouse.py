"""A local warehouse in a process of its own: what a client's process holds is then the client's."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any


class RemoteWarehouse:
    """A local warehouse in a process of its own, asked through its standard input."""

    SCRIPT = """
import json, sys
from seakernel.local import LocalWarehouse
with LocalWarehouse(**json.loads(sys.argv[1])) as warehouse:
    place = ["server_hostname", "http_path", "access_token"]
    print(json.dumps({name: getattr(warehouse, name) for name in place}), flush=True)
    for line in sys.stdin:
        method, options = json.loads(line)
        print(json.dumps(getattr(warehouse, method)(**options)), flush=True)
"""

    def __init__(self, **options: Any) -> None:
        command = [sys.executable, "-c", self.SCRIPT, json.dumps(options)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.place = self._answer()

    def _answer(self) -> Any:
        assert self.process.stdout
        return json.loads(self.process.stdout.readline())

    def ask(self, method: str, **options: Any) -> Any:
        assert self.process.stdin
        self.process.stdin.write(json.dumps([method, options]) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        self.process.communicate(timeout=30)
