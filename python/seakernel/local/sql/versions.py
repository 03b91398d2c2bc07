"""Older states of tables: `VERSION AS OF` and `TIMESTAMP AS OF`.

A state is the DuckDB table that holds its rows. The oldest states are forgotten once all of them hold more rows than the
budget; then time travel to them is refused.
"""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

from seakernel.local.sql.errors import failure, unsupported
from seakernel.local.sql.typed import Scope

if TYPE_CHECKING:
    from seakernel.local.sql.catalog import Table, TableColumn, Version
    from seakernel.local.sql.expressions import ExpressionTranslator
    from seakernel.local.sql.syntax import TableName

#: Rows that a table's older states may hold together.
ROW_BUDGET = 1_000_000


def at_version(table: Table, node: TableName, translator: ExpressionTranslator) -> tuple[str, list[TableColumn]]:
    """The FROM item and the columns of a table at the version that the statement names."""
    if not table.versions:
        raise unsupported(f"Time travel on `{table.full_name}`")
    if node.version is not None:
        value = translator.expression(node.version, Scope())
        number = value.constant
        if isinstance(number, str) and number.isdigit():
            number = int(number)
        if not isinstance(number, int):
            raise failure("INVALID_TIME_TRAVEL_SPEC", "42K0E", "The version must be a constant number.")
        chosen = next((version for version in table.versions if version.number == number), None)
        if chosen is None:
            raise failure(
                "DELTA_VERSION_NOT_FOUND",
                "22003",
                f"Cannot time travel Delta table to version {number}. Available versions: [{table.versions[0].number}, {table.versions[-1].number}].",
            )
    else:
        chosen = _at_moment(table, node, translator)
    if chosen.storage is None:
        raise unsupported(f"Version {chosen.number} of `{table.full_name}`, which is no longer kept,")
    return chosen.storage, chosen.columns


def _at_moment(table: Table, node: TableName, translator: ExpressionTranslator) -> Version:
    value = translator.expression(node.timestamp, Scope()) if node.timestamp is not None else None
    if value is None or not isinstance(value.constant, str):
        raise unsupported("TIMESTAMP AS OF with anything but a constant")
    try:
        moment = datetime.datetime.fromisoformat(value.constant.strip().replace("Z", "+00:00"))
    except ValueError:
        raise failure(
            "INVALID_TIME_TRAVEL_TIMESTAMP_EXPR.INPUT",
            "42K0E",
            'The time travel timestamp expression is invalid: Cannot be casted to the "TIMESTAMP" type.',
        ) from None
    if moment.tzinfo is None:
        if (translator.environment.setting("timezone") or "Etc/UTC") != "Etc/UTC":
            raise unsupported("TIMESTAMP AS OF without an offset in a session zone other than UTC")
        moment = moment.replace(tzinfo=datetime.timezone.utc)
    earlier = [version for version in table.versions if version.moment <= moment]
    if not earlier:
        raise failure(
            "DELTA_TIMESTAMP_EARLIER_THAN_COMMIT_RETENTION",
            "42816",
            f"The provided timestamp ({value.constant}) is before the earliest version available to this table.",
        )
    last = table.versions[-1].moment
    if moment > last:
        raise failure(
            "DELTA_TIMESTAMP_GREATER_THAN_COMMIT",
            "42816",
            f"The provided timestamp ({value.constant}) is after the latest version available to this table ({table.full_name}). Please use a timestamp before or at {last:%Y-%m-%d %H:%M:%S.%f}.",
        )
    return earlier[-1]
