"""`Row`: a tuple whose values also go by their column's name."""

from __future__ import annotations

import copy
import gc
import pickle
from typing import TYPE_CHECKING, Any

import pytest

import seakernel
from seakernel import Row

if TYPE_CHECKING:
    from collections.abc import Callable

    from seakernel import Cursor


@pytest.fixture
def row(cursor: Cursor) -> Row:
    row = cursor.execute("SELECT 1 AS id, 'a' AS name, array(1, 2) AS numbers").fetchone()
    assert row is not None
    return row


@pytest.fixture
def odd(cursor: Cursor) -> Row:
    """A row with names that repeat, hide methods, are reserved or no identifiers."""
    row = cursor.execute(
        "SELECT 1 AS id, 2 AS id, 3 AS count, 4 AS `sum(x)`, 5 AS `asDict`, 6 AS _0, 7 AS `__class__`, 8 AS `ID`"
    ).fetchone()
    assert row is not None
    return row


def test_it_is_a_tuple(row: Row) -> None:
    assert isinstance(row, Row)
    assert isinstance(row, tuple)
    assert row == (1, "a", [1, 2])
    identifier, name, numbers = row
    assert (identifier, name, numbers, len(row)) == (1, "a", [1, 2], 3)
    assert row[0] == row[-3] == 1
    assert row[1:] == ("a", [1, 2])
    assert 1 in row
    assert "id" not in row
    assert row < (2,)
    assert row.index("a") == 1
    assert row.count("a") == 1
    with pytest.raises(IndexError):
        row[3]
    with pytest.raises(TypeError):
        row[1.5]  # type: ignore[call-overload]


def test_values_go_by_name(row: Row) -> None:
    assert (row.id, row.name, row["numbers"]) == (1, "a", [1, 2])
    assert row.asDict() == row._asdict() == {"id": 1, "name": "a", "numbers": [1, 2]}
    assert row._fields == row.__fields__ == ("id", "name", "numbers")
    assert repr(row) == "Row(id=1, name='a', numbers=[1, 2])"
    match row:
        case Row(id=identifier, name="a"):
            assert identifier == 1
        case _:
            pytest.fail("no match")
    with pytest.raises(AttributeError):
        row.id = 2  # type: ignore[misc]


def test_a_name_that_is_not_there_says_so(row: Row) -> None:
    with pytest.raises(AttributeError, match="no column `nam`; did you mean `name`"):
        _ = row.nam
    with pytest.raises(KeyError, match="no column `Name`; did you mean `name`"):
        row["Name"]
    assert getattr(row, "other", None) is None
    assert not hasattr(row, "__array__")


def test_odd_names(odd: Row) -> None:
    for look in (lambda: odd.id, lambda: odd["id"]):
        with pytest.raises((AttributeError, KeyError), match="columns 0 and 1 are both named `id`; use an index"):
            look()
    assert odd[:2] == (1, 2)
    assert (odd.count, odd["count"], odd["sum(x)"], getattr(odd, "sum(x)")) == (3, 3, 4, 4)
    assert (odd["asDict"], odd["__class__"], odd._0, odd.ID) == (5, 7, 6, 8)
    assert type(odd).__mro__[1] is Row
    assert odd.__fields__ == ("id", "id", "count", "sum(x)", "asDict", "_0", "__class__", "ID")
    assert [getattr(odd, name) for name in odd._fields] == list(odd) == list(odd._asdict().values())
    with pytest.raises(seakernel.ProgrammingError, match="`id` repeats"):
        odd.asDict()


def test_repeated_names_of_methods_are_no_methods(cursor: Cursor) -> None:
    row = cursor.execute("SELECT 1 AS count, 2 AS count").fetchone()
    with pytest.raises(AttributeError, match="columns 0 and 1 are both named `count`"):
        _ = row.count  # type: ignore[union-attr]


@pytest.mark.parametrize("twin", [copy.copy, copy.deepcopy, lambda row: pickle.loads(pickle.dumps(row))])
def test_copies_are_the_same(row: Row, odd: Row, twin: Callable[[Any], Any]) -> None:
    for original in (row, odd):
        copied = twin(original)
        assert copied == original
        assert type(copied) is type(original)
        assert repr(copied) == repr(original)


def test_rows_hash_as_tuples_do(cursor: Cursor) -> None:
    rows = cursor.execute("SELECT id, 'a' AS name FROM range(3)").fetchall()
    assert {row: row.id for row in rows} == {(0, "a"): 0, (1, "a"): 1, (2, "a"): 2}
    with pytest.raises(TypeError, match="unhashable"):
        hash(Row(x=[1]))


def test_rows_are_made_by_hand_for_tests_and_nest() -> None:
    inner = Row(a=1)
    outer = Row(id=1, rows=[inner], named={"k": inner})
    assert outer.asDict(recursive=True) == {"id": 1, "rows": [{"a": 1}], "named": {"k": {"a": 1}}}
    assert outer.asDict()["rows"][0] is inner
    assert Row(cls=1, self=2) == (1, 2)
    assert (Row(), repr(Row())) == ((), "Row()")


def test_all_ways_to_fetch_give_rows_of_one_class(chunked_cursor: Cursor) -> None:
    chunked_cursor.execute("SELECT id, 'x' AS name FROM range(5000)")
    rows = [chunked_cursor.fetchone(), next(chunked_cursor), *chunked_cursor.fetchmany(7), *chunked_cursor.fetchall()]
    assert [row.id for row in rows if row is not None] == list(range(5000))
    assert {type(row) for row in rows} == {type(Row(id=1, name="x"))}


def test_the_garbage_collector_leaves_flat_rows_alone_and_finds_cycles(cursor: Cursor) -> None:
    nested = cursor.execute("SELECT id, array(id) AS items FROM range(1)").fetchall()
    assert gc.is_tracked(nested[0])
    flat = cursor.execute("SELECT id, 'x' AS name FROM range(1)").fetchall()
    assert not gc.is_tracked(flat[0])
    ring = nested[0]
    ring["items"].append(ring)
    identity = id(ring["items"])
    del ring, nested
    gc.collect()
    assert identity not in {id(found) for found in gc.get_objects() if type(found) is list and len(found) == 2}


def test_pandas_takes_the_names(cursor: Cursor) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(cursor.execute("SELECT id, 'x' AS name FROM range(2)").fetchall())
    assert list(frame.columns) == ["id", "name"]


def test_classes_of_rows_do_not_pile_up(cursor: Cursor) -> None:
    for number in range(400):
        cursor.execute(f"SELECT {number} AS column_{number}").fetchall()
    gc.collect()
    assert len([found for found in gc.get_objects() if isinstance(found, type) and issubclass(found, Row)]) < 300
