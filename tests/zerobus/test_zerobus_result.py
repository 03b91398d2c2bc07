"""What a result tells, and the rows it gives back."""

from __future__ import annotations

import importlib
import json
import sys

import pyarrow as pa
import pytest

from seakernel.zerobus import ConfigurationError, TransmissionResult

PARTIAL = TransmissionResult(
    True,
    attempts=2,
    latency_ms=12,
    successful_rows=[0, 2],
    failed_rows=[(3, "ConnectionError: gone"), (1, "Conversion error: too long"), (4, "odd")],
)


def test_f17_a_partial_success() -> None:
    assert PARTIAL.is_partial_success()
    assert PARTIAL.has_failed_rows()
    assert PARTIAL.has_successful_rows()
    assert (PARTIAL.total_rows, PARTIAL.successful_count, PARTIAL.failed_count) == (5, 2, 3)
    assert PARTIAL.get_failed_row_indices() == [1, 3, 4]
    assert PARTIAL.get_successful_row_indices() == [0, 2]
    assert PARTIAL.get_failed_row_indices_by_error_type("ConversionError") == [1, 4]
    assert PARTIAL.get_failed_row_indices_by_error_type("NoSuchError") == []
    assert PARTIAL.group_errors_by_type() == {"ConnectionError": [3], "ConversionError": [1, 4]}
    assert PARTIAL.failed_rows == [
        (1, "Conversion error: too long"),
        (3, "Connection error: gone"),
        (4, "Conversion error: odd"),
    ]
    assert PARTIAL.get_error_messages() == [text for _, text in PARTIAL.failed_rows]
    assert PARTIAL.get_error_statistics() == {
        "total_rows": 5,
        "successful_count": 2,
        "failed_count": 3,
        "success_rate": pytest.approx(0.4),
        "failure_rate": pytest.approx(0.6),
        "error_type_counts": {"ConnectionError": 1, "ConversionError": 2},
    }
    assert PARTIAL.get_uncertain_row_indices() == []
    fields = json.loads(json.dumps(PARTIAL.to_dict()))
    assert (fields["attempts"], fields["latency_ms"], fields["failed_rows"][0][0]) == (2, 12, 1)
    assert repr(PARTIAL).startswith("TransmissionResult(success=True, total_rows=5, ")


@pytest.mark.parametrize(
    ("result", "ok", "failed"),
    [
        (TransmissionResult(True, successful_rows=[0, 1]), [0, 1], []),
        (TransmissionResult(False, failed_rows=[(0, "x"), (1, "y")]), [], [0, 1]),
        (TransmissionResult(True), [], []),
        (TransmissionResult(False, error="Connection error: paused", total_rows=2), [], []),
    ],
    ids=["all-ok", "all-failed", "empty", "batch-error"],
)
def test_f17_the_other_outcomes(result: TransmissionResult, ok: list[int], failed: list[int]) -> None:
    assert result.get_successful_row_indices() == ok
    assert result.get_failed_row_indices() == failed
    assert not result.is_partial_success()
    assert result.has_failed_rows() == bool(failed)
    assert result.has_successful_rows() == bool(ok)
    statistics = result.get_error_statistics()
    total = len(ok) + len(failed)
    assert statistics["success_rate"] == (len(ok) / total if total else 0.0)
    assert statistics["failure_rate"] == (len(failed) / total if total else 0.0)
    assert len(result.get_error_messages()) == len(failed)


def test_f17_a_batch_level_error() -> None:
    refused = TransmissionResult(False, error="ConnectionError: paused for 30 s", total_rows=2)
    assert (refused.error, refused.error_type) == ("Connection error: paused for 30 s", "ConnectionError")
    assert (refused.failed_rows, refused.successful_rows) == (None, None)
    assert TransmissionResult(False, message="Configuration error: no").error_type == "ConfigurationError"


RICH = pa.record_batch(
    {
        "n": pa.array([1, 2, None, 4, 5], pa.int64()),
        "word": pa.array(["a", "b", None, "a", "b"]).dictionary_encode(),
        "view": pa.array(["a", None, "longer than twelve bytes", "b", ""], pa.string_view()),
        "struct": pa.array([{"x": [1, None]}, None, {"x": None}, {"x": []}, {"x": [5]}]),
        "map": pa.array([[("k", 1)], None, [], [("a", None)], [("z", 2)]], pa.map_(pa.string(), pa.int32())),
        "decimal": pa.array([1, 2, 3, 4, None], pa.decimal128(10, 2)),
    }
).replace_schema_metadata({"of": "test"})


@pytest.mark.parametrize("original", [RICH, pa.record_batch(RICH.slice(1)).slice(0, 4)], ids=["whole", "slice"])
def test_f18_rows_keep_schema_order_and_types(original: pa.RecordBatch) -> None:
    failed = [1, 3]
    ok = [i for i in range(original.num_rows) if i not in failed]
    result = TransmissionResult(True, successful_rows=ok, failed_rows=[(i, "x") for i in failed])
    for taken, rows in [
        (result.extract_failed_batch(original), failed),
        (result.extract_successful_batch(original), ok),
    ]:
        assert isinstance(taken, pa.RecordBatch)
        assert taken.schema.equals(original.schema, check_metadata=True)
        assert taken.to_pylist() == [original.to_pylist()[row] for row in rows]
        taken.validate(full=True)


def test_f18_a_table_gives_a_table() -> None:
    table = pa.Table.from_batches([RICH.slice(0, 2), RICH.slice(2, 1), RICH.slice(3)])
    result = TransmissionResult(True, successful_rows=[0, 3], failed_rows=[(i, "x") for i in (1, 2, 4)])
    taken = result.extract_failed_batch(table)
    assert isinstance(taken, pa.Table)
    assert taken.to_pylist() == [RICH.to_pylist()[row] for row in (1, 2, 4)]
    assert TransmissionResult(True, successful_rows=list(range(5))).extract_failed_batch(table) is None


def test_f18_another_batch_is_refused() -> None:
    for original in (RICH, pa.table({"n": [1, 2, 3]})):
        with pytest.raises(ConfigurationError, match="another one"):
            TransmissionResult(True, successful_rows=[0]).extract_successful_batch(original)
    with pytest.raises(TypeError):
        PARTIAL.extract_failed_batch([1, 2, 3, 4, 5])


def test_without_the_wheel_the_way_to_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "seakernel_zerobus", None)
    monkeypatch.delitem(sys.modules, "seakernel.zerobus")
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'seakernel\[zerobus\]'"):
        importlib.import_module("seakernel.zerobus")


def test_f17_what_callers_make_up_is_bounded() -> None:
    assert TransmissionResult(True, successful_count=2**64 - 1, failed_count=1).total_rows == 2**64 - 1
    odd = TransmissionResult(True, failed_rows=[(7, "ConversionError: x")], total_rows=2)
    for rows in (pa.table({"a": [1, 2]}), pa.record_batch({"a": [1, 2]})):
        with pytest.raises(ConfigurationError, match="names row 7 of 2"):
            odd.extract_failed_batch(rows)
