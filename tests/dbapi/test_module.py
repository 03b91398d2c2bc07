"""What PEP 249 asks of the module itself."""

from __future__ import annotations

import datetime as dt
import pickle

import pytest

import seakernel


def test_globals() -> None:
    assert seakernel.apilevel == "2.0"
    assert seakernel.threadsafety == 2
    assert seakernel.paramstyle == "named"


@pytest.mark.parametrize(
    ("error", "base"),
    [
        ("Error", Exception),
        ("Warning", Exception),
        ("InterfaceError", seakernel.Error),
        ("DatabaseError", seakernel.Error),
        ("DataError", seakernel.DatabaseError),
        ("OperationalError", seakernel.DatabaseError),
        ("IntegrityError", seakernel.DatabaseError),
        ("InternalError", seakernel.DatabaseError),
        ("ProgrammingError", seakernel.DatabaseError),
        ("NotSupportedError", seakernel.DatabaseError),
    ],
)
def test_exceptions_form_the_tree_and_stand_on_the_connection(error: str, base: type) -> None:
    assert getattr(seakernel, error).__base__ is base
    assert getattr(seakernel.Connection, error) is getattr(seakernel, error)


def test_exceptions_survive_pickling() -> None:
    error = seakernel.DataLossError("rows are missing", kind="DataLoss", chunk_index=3, statement_id="01", attempts=2)
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is seakernel.DataLossError
    assert (str(copy), vars(copy)) == (str(error), vars(error))


def test_constructors() -> None:
    assert seakernel.Date(2024, 2, 29) == dt.date(2024, 2, 29)
    assert seakernel.Time(1, 2, 3) == dt.time(1, 2, 3)
    assert seakernel.Timestamp(2024, 2, 29, 1) == dt.datetime(2024, 2, 29, 1)  # noqa: DTZ001
    assert seakernel.Binary(b"x") == b"x"
    ticks = dt.datetime(2024, 2, 29, 1, 2, 3).timestamp()  # noqa: DTZ001
    assert seakernel.DateFromTicks(ticks) == dt.date(2024, 2, 29)
    assert seakernel.TimeFromTicks(ticks) == dt.time(1, 2, 3)
    assert seakernel.TimestampFromTicks(ticks) == dt.datetime(2024, 2, 29, 1, 2, 3)  # noqa: DTZ001


def test_type_objects_equal_their_codes() -> None:
    assert seakernel.NUMBER == "bigint"
    assert seakernel.NUMBER != "string"
    assert seakernel.STRING == "string"
    assert seakernel.DATETIME == "timestamp"
    assert seakernel.BINARY == "binary"
    assert seakernel.ROWID != "bigint"
    assert {seakernel.STRING: 1}[seakernel.STRING] == 1
