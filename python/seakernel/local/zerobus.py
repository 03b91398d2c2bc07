"""LocalZerobus: the Zerobus service of the local warehouse."""

from __future__ import annotations

import importlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from seakernel.local.engine import DuckDbEngine

__all__ = ["LocalZerobus"]


class LocalZerobus:
    """The Zerobus service of a `LocalWarehouse(zerobus=True)`: what to connect to, and what came.

    Rows that it acknowledges are in the table already. Tokens are had at `unity_catalog_url`.

    Example:
        >>> from seakernel.local import LocalWarehouse
        >>> with LocalWarehouse(zerobus=True) as warehouse:
        ...     warehouse.zerobus.endpoint
        'http://127.0.0.1:...'
    """

    def __init__(self, engine: DuckDbEngine, options: Mapping[str, Any]) -> None:
        try:
            module = importlib.import_module("seakernel_zerobus._seakernel_zerobus")
        except ModuleNotFoundError:
            message = "the local Zerobus service needs `seakernel-zerobus`: `pip install 'seakernel[zerobus]'`"
            raise ModuleNotFoundError(message, name="seakernel_zerobus") from None
        self._server = module._LocalZerobus(engine.describe_table, engine.append_rows, json.dumps(options))  # noqa: SLF001 - of ours
        self.endpoint: str = self._server.endpoint
        """Where rows are sent, such as `http://127.0.0.1:40125`."""
        self.unity_catalog_url: str = self._server.unity_catalog_url
        """Where tokens are had."""
        self.client_id: str = self._server.client_id
        """The client that gets tokens."""
        self.client_secret: str = self._server.client_secret
        """Its secret."""

    def faults(self, faults: Sequence[Mapping[str, object]] = ()) -> None:
        """Disturbs what comes; replaces the faults in force, so without an argument there are none.

        Example:
            >>> from seakernel.local import LocalWarehouse
            >>> with LocalWarehouse(zerobus=True) as warehouse:
            ...     warehouse.zerobus.faults(
            ...         [{"on": "message", "after_records": 100, "do": {"status": {"code": "UNAVAILABLE"}}}]
            ...     )
        """
        self._server.set_faults_json(json.dumps(list(faults)))

    def settings(self, **settings: object) -> None:
        """Changes how the service behaves; a setting that is not named goes back to its default.

        Example:
            >>> from seakernel.local import LocalWarehouse
            >>> with LocalWarehouse(zerobus=True) as warehouse:
            ...     warehouse.zerobus.settings(ack_delay_ms=50, token_life_s=5)
        """
        self._server.set_settings_json(json.dumps(settings))

    def log(self) -> dict[str, Any]:
        """Returns what the service has seen: counts, `violations` of the protocol, and one entry of `streams` per call.

        Example:
            >>> from seakernel.local import LocalWarehouse
            >>> with LocalWarehouse(zerobus=True) as warehouse:
            ...     warehouse.zerobus.log()["violations"]
            []
        """
        log: dict[str, Any] = json.loads(self._server.log_json())
        return log

    def store(self, table: str) -> list[dict[str, Any]]:
        """Returns the rows that came into a table, in order; `values` has those by column.

        Example:
            >>> from seakernel.local import LocalWarehouse
            >>> with LocalWarehouse(zerobus=True) as warehouse:
            ...     [row["values"]["id"] for row in warehouse.zerobus.store("main.default.events")]
            []
        """
        rows: list[dict[str, Any]] = json.loads(self._server.rows_json(table))
        return rows

    def keys(self, table: str, column: str) -> dict[str, int]:
        """Returns how often each value of a column came, by its text; more than once is a duplicate.

        Example:
            >>> from seakernel.local import LocalWarehouse
            >>> with LocalWarehouse(zerobus=True) as warehouse:
            ...     warehouse.zerobus.keys("main.default.events", "id")
            {}
        """
        keys: dict[str, int] = json.loads(self._server.keys_json(table, column))
        return keys

    def reset(self) -> None:
        """Forgets what came, the log, the faults and changed settings; rows in the tables stay.

        Example:
            >>> from seakernel.local import LocalWarehouse
            >>> with LocalWarehouse(zerobus=True) as warehouse:
            ...     warehouse.zerobus.reset()
        """
        self._server.reset()

    def _stop(self) -> None:
        self._server.stop()

    def __repr__(self) -> str:
        return f"<LocalZerobus {self.endpoint}>"
