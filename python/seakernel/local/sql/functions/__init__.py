"""The Databricks functions of the local warehouse, by subject."""

from seakernel.local.sql.functions import (
    aggregates,
    arrays,
    conditionals,
    dates,
    encodings,
    higher_order,
    json,
    maps,
    numbers,
    session,
    strings,
    windows,
)

__all__ = [
    "aggregates",
    "arrays",
    "conditionals",
    "dates",
    "encodings",
    "higher_order",
    "json",
    "maps",
    "numbers",
    "session",
    "strings",
    "windows",
]
