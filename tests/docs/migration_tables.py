"""Writes the tables of `migrating-from-databricks-sql-connector.md`: `python tests/docs/migration_tables.py`.

They are made from `seakernel.options.CONNECTOR_OPTIONS`, and from the classes of the connector that is installed.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from databricks.sql import client

import seakernel
from seakernel.options import CONNECTOR_OPTIONS, ConnectorOption

PAGE = Path(__file__).parents[2] / "docs" / "migrating-from-databricks-sql-connector.md"

# What to use for names of the connector that are not here.
INSTEAD = {
    "Connection": {
        "autocommit": "there are no transactions; every statement is committed by itself",
        "get_protocol_version": "one protocol, the Statement Execution API",
        "get_session_id": "`session_id`",
        "get_session_id_hex": "`session_id`",
        "get_transaction_isolation": "there are no transactions",
        "open": "`not connection.closed`",
        "protocol_version": "one protocol, the Statement Execution API",
        "server_parameterized_queries_enabled": "parameters always work",
        "set_transaction_isolation": "there are no transactions",
    },
    "Cursor": {
        "active_result_set": "the cursor itself",
        "buffer_size_bytes": '`connect(results={"memory_budget_bytes": ...})`',
        "catalogs": "`connection.metadata().catalogs()`, an Arrow table",
        "columns": "`connection.metadata().columns(...)`, an Arrow table",
        "execute_async": "`connection.submit(...)`",
        "get_async_execution_result": "`SubmittedStatement.cursor()`",
        "get_query_state": "`SubmittedStatement.state()`",
        "is_query_pending": "`SubmittedStatement.state()`",
        "rownumber": "count the rows yourself",
        "schemas": "`connection.metadata().schemas(...)`, an Arrow table",
        "tables": "`connection.metadata().tables(...)`, an Arrow table",
    },
}
# Attributes that the connector sets in `__init__` and documents by use.
ATTRIBUTES = {"Connection": set(), "Cursor": {"active_result_set", "arraysize", "buffer_size_bytes", "connection"}}


def option_table() -> str:
    """Returns the table of the keywords of `connect`."""
    same = [name for name in connector_parameters() if name in inspect.signature(seakernel.connect).parameters]
    lines = ["| keyword | here |", "|---|---|", *(f"| `{name}` | the same |" for name in same)]
    lines += [f"| `{name}` | {_option(option)} |" for name, option in sorted(CONNECTOR_OPTIONS.items())]
    return "\n".join(lines)


def connector_parameters() -> list[str]:
    """Returns the named arguments of the connector's `connect`, and those it takes from its keywords by the same name."""
    named = list(inspect.signature(client.Connection.__init__).parameters)[1:]
    return [name for name in (*named, "user_agent_entry") if name != "kwargs"]


def name_table(kind: str) -> str:
    """Returns the table of the public names of `Connection` or `Cursor`."""
    theirs = {name for name in vars(getattr(client, kind)) if not name.startswith("_")} | ATTRIBUTES[kind]
    made = seakernel.connect("local")
    with made as connection, connection.cursor() as cursor:
        ours = connection if kind == "Connection" else cursor
        lines = [
            f"| `{name}` | {_name(kind, name, here=hasattr(type(ours), name) or name in vars(ours))} |"
            for name in sorted(theirs)
        ]
    return "\n".join([f"| {kind} | here |", "|---|---|", *lines])


def tables() -> dict[str, str]:
    """Returns the tables by the name of their place in the page."""
    return {"options": option_table(), "connection": name_table("Connection"), "cursor": name_table("Cursor")}


def page_with_tables(page: str) -> str:
    """Returns the page with its tables made anew."""
    for name, table in tables().items():
        marks = (f"<!-- {name} -->\n", f"\n<!-- end of {name} -->")
        page = re.sub(f"{marks[0]}.*?{marks[1]}", lambda _: marks[0] + table + marks[1], page, count=1, flags=re.DOTALL)  # noqa: B023
    return page


def _option(option: ConnectorOption) -> str:
    why = option.why
    if option.place:
        argument, *keys = option.place
        target = f'`{argument}={{"{keys[0]}": ...}}`' if keys else f"`{argument}`"
        return f"{target}{f'; {why}' if why and not why.startswith('and ') else f' {why}' if why else ''}"
    if option.accepts_anything:
        return f"any value: {why}"
    if option.accepted:
        accepted = " or ".join(f"`{value!r}`" for value in option.accepted)
        return f"{accepted}; else an error: {why}"
    return f"an error: {why}"


def _name(kind: str, name: str, *, here: bool) -> str:
    return "the same" if here else INSTEAD[kind][name]


if __name__ == "__main__":
    PAGE.write_text(page_with_tables(PAGE.read_text()))
