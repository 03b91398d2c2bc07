"""One number per column that any change of a value, a null or the order of rows changes, computed by DuckDB."""

from __future__ import annotations

from typing import Any

import duckdb


def column_checksums(relation: Any) -> dict[str, int]:
    """Returns column -> checksum of an Arrow table, or of what a DuckDB `FROM` item such as `read_parquet('…')` reads."""
    connection = duckdb.connect()
    try:
        connection.execute("SET TimeZone = 'UTC'")
        if not isinstance(relation, str):
            connection.register("relation", relation)
            relation = "relation"
        described = connection.execute(f"DESCRIBE SELECT * FROM {relation}").fetchall()
        names = [row[0] for row in described]
        # Hashed with its row number, a value in the wrong row counts as a wrong value. The outer hash is needed: the
        # inner one joins its two halves by an exclusive or, which the sum would take apart again.
        sums = ", ".join(f'bit_xor(hash(hash("{name}", position)))' for name in names)
        values = connection.execute(
            f"SELECT {sums}, count(*) FROM (SELECT *, row_number() OVER () AS position FROM {relation})"
        ).fetchall()[0]
        return dict(zip([*names, "count(*)"], values, strict=True))
    finally:
        connection.close()
