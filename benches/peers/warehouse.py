"""The local warehouse in a process of its own, told over its pipes what to be like, and asked what it was asked for."""

from __future__ import annotations

import collections
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Self

# How it answers: at once, or as from a cloud (ms, and bytes per second for each connection).
SETTINGS = {
    "loopback": {},
    "cloud": {"api_delay_ms": 30, "store_first_byte_ms": 50, "store_bytes_per_second": 50_000_000},
}
# Requests of one run at most; the log is read after each.
LOGGED_REQUESTS = 5_000


class Warehouse:
    """The parent's end."""

    def __enter__(self) -> Self:
        command = [sys.executable, __file__]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.place: list[str] = self._answer()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stdin.close()
        self.process.wait(timeout=30)

    def become(self, setting: str, links: int) -> None:
        """Answers from now on as in `setting`, and with so many links at a time."""
        self._ask({**SETTINGS[setting], "hybrid_links_per_response": links, "external_links_per_response": links})

    def requests(self) -> list[dict[str, Any]]:
        """The requests since this was last called."""
        return self._ask(None)

    def _ask(self, question: dict[str, Any] | None) -> Any:
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("the warehouse ended; its error is above")
        return json.loads(line)


def per_statement(records: list[dict[str, Any]]) -> dict[str, Any]:
    """Counts the requests about each statement of a run but its first, which is the warm-up."""
    ids = dict.fromkeys(record["statement_id"] for record in records if record["statement_id"])
    measured = list(ids)[1:]
    counted = [record for record in records if record["statement_id"] in measured]
    requests = collections.Counter(record["operation"] for record in counted)
    requests["ranges"] = sum(record["range"] is not None for record in counted)
    stored = sum(record["bytes"] or 0 for record in counted if record["origin"] == "storage")
    each = max(1, len(measured))
    return {
        "requests": {name: round(count / each, 2) for name, count in requests.items() if count},
        "store_mib": stored / each / 2**20,
    }


def serve() -> None:
    from seakernel.local import LocalWarehouse

    def answer(what: object) -> None:
        sys.stdout.write(json.dumps(what) + "\n")
        sys.stdout.flush()

    # Encoded results are served from memory after the first time: the client is measured, not the engine.
    kept = {"result_cache": True}
    with LocalWarehouse(switches=kept, logged_requests=LOGGED_REQUESTS) as warehouse:
        answer([warehouse.server_hostname, warehouse.http_path, warehouse.access_token])
        seen = -1
        for line in sys.stdin:
            question = json.loads(line)
            if question is not None:
                warehouse.switches(**kept, **question)
                answer(None)
                continue
            records = warehouse.requests()
            fresh = [record for record in records if record["sequence"] > seen]
            if fresh and fresh[0]["sequence"] != seen + 1:
                raise RuntimeError(f"more than {LOGGED_REQUESTS} requests in one run")
            seen = records[-1]["sequence"] if records else seen
            answer(fresh)


if __name__ == "__main__":
    serve()
