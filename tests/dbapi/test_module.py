"""Exceptions and type objects beyond what PEP 249 asks."""

from __future__ import annotations

import pickle

import seakernel


def test_exceptions_survive_pickling() -> None:
    error = seakernel.DataLossError("rows are missing", kind="DataLoss", chunk_index=3, statement_id="01", attempts=2)
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is seakernel.DataLossError
    assert (str(copy), vars(copy)) == (str(error), vars(error))


def test_type_objects_equal_their_codes() -> None:
    assert seakernel.NUMBER == "bigint"
    assert seakernel.NUMBER != "string"
    assert seakernel.STRING == "string"
    assert seakernel.DATETIME == "timestamp"
    assert seakernel.BINARY == "binary"
    assert seakernel.ROWID != "bigint"
    assert {seakernel.STRING: 1}[seakernel.STRING] == 1
