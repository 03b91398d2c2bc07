"""The same calls through databricks-sql-kernel 1.3.0 and through the stand-in: the same outcome, save where ours is better."""

from __future__ import annotations

from typing import TYPE_CHECKING

import databricks_sql_kernel as original
import pytest
from calls import Place, all_calls, outcome

from seakernel.compat import databricks_sql_kernel as ours

if TYPE_CHECKING:
    from seakernel.local import LocalWarehouse

CALLS = all_calls()
# Where the outcomes differ, and why ours is the better one. The test wants every difference to be listed, and every listed
# one to be there.
BEATS: dict[str, str] = {
    name: reason
    for reason, names in {
        "NULL keeps its declared type": [
            *(f"parameter {kind} None" for kind in ("INT", "DECIMAL(5,2)", "DATE", "BOOLEAN", "DOUBLE", "TIMESTAMP")),
            "named parameter INT None",
        ],
        "more types and values of parameters": [
            *(f"parameter DOUBLE {value!r}" for value in ("NaN", "Infinity", "-inf")),
            *(f"parameter {kind} '1'" for kind in ("SHORT", "BYTE", "NUMERIC(3,1)")),
            "named parameter CHAR(3) 'x'",
            "named parameter DOUBLE 'Infinity'",
            "parameter BINARY '00ff'",
            "parameter CHAR(3) 'x'",
            "parameter INTERVAL DAY TO SECOND '1 02:03:04'",
            "parameter VARCHAR(3) 'x'",
        ],
        "a DECIMAL is widened to hold all its digits, not only its fraction": [
            "parameter DECIMAL(3,2) '123.45'",
            "parameter DECIMAL(4,0) '1E+5'",
        ],
        "client misconfiguration is InvalidArgument and not retryable": [
            "session {'http_headers': [('a b', 'b')]}",
            "session {'http_headers': [('a', 'b\\n')]}",
            "session {'tls_ca_cert': b''}",
            "session {'tls_ca_cert': b'x'}",
            "session {'tls_client_cert': b'x'}",
            "session {'tls_client_key': b'x'}",
        ],
        "refused with the same code before anything is sent": [
            "attach_what_is_no_id",
            "execute blank",
            "row limit -1",
            "row limit 0",
            "submit blank",
        ],
        "a gap in the ordinals raises instead of becoming NULL": ["a_gap_in_ordinals"],
        "a query has no modified rows, whatever its columns are called": ["a_query_with_the_name_of_a_count"],
        "a numeric error code of the server is kept": ["session {'access_token': 'wrong'}"],
        "a cancelled statement has the SQLSTATE of one": ["fetched_too_early"],
        "a statement that may have run is not called retryable": ["execute answers 503", "execute answers 504"],
        "a submitted statement outlives its Statement": ["submitted_by_a_statement_that_is_gone"],
    }.items()
    for name in names
}


def test_there_are_enough_calls() -> None:
    assert len(CALLS) > 200
    assert set(BEATS) <= set(CALLS)


@pytest.mark.parametrize("name", list(CALLS))
def test_the_outcome_is_the_same(name: str, warehouse: LocalWarehouse) -> None:
    theirs = outcome(Place(original, warehouse), CALLS[name])
    own = outcome(Place(ours, warehouse), CALLS[name])
    if name in BEATS:
        assert own != theirs, "no difference any more: strike it from the list"
    else:
        assert own == theirs
