"""What both kernels send for the same calls."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

import databricks_sql_kernel as original
import pytest

from seakernel.compat import databricks_sql_kernel as ours
from seakernel.local import LocalWarehouse

if TYPE_CHECKING:
    from collections.abc import Callable

# `execution_mode` is in no public reference, and sessions open without it. The API takes a cancel with and without a body.
UNLIKE = {"execution_mode"}


def masked(value: Any) -> Any:
    """Replaces ids, which differ from run to run."""
    if isinstance(value, dict):
        return {key: masked(one) for key, one in value.items() if key not in UNLIKE} or None
    if isinstance(value, list):
        # The original sends tags and named parameters in no order.
        return sorted((masked(one) for one in value), key=str)
    return re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}|\b[0-9a-f]{16}\b", "ID", value) if isinstance(value, str) else value


def sent(module: Any, call: Callable[[Any], None], **options: Any) -> list[tuple[Any, ...]]:
    """Returns the requests to the API, polls left out: how many there are depends on time. Closing is in the background."""
    with LocalWarehouse() as warehouse:
        place = (warehouse.server_hostname, f"{warehouse.http_path}?o=42")
        session = module.Session(*place, access_token=warehouse.access_token, **options)
        call(session)
        session.close()
        deadline = time.monotonic() + 5
        while {"close_session", "close_statement"} - {request["operation"] for request in warehouse.requests()}:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        made = [
            (
                request["method"],
                masked(request["path"]),
                masked(request["query"]),
                masked(request["body"]),
                "x-databricks-org-id" in request["headers"],
                request["authorization"],
                request["user_agent"] if "http_headers" in options else None,
            )
            for request in warehouse.requests()
            if request["origin"] == "api" and request["operation"] != "poll"
        ]
        return sorted(made, key=str)


def execute(session: Any) -> None:
    statement = session.statement()
    statement.set_sql("SELECT ? AS a, ? AS b")
    statement.set_row_limit(5)
    statement.set_query_tags({"team": "x", "bare": None})
    statement.bind_param(1, "1", "INT")
    statement.bind_param(2, "1.5", "DECIMAL(2,1)")
    statement.execute().close()


def execute_by_name(session: Any) -> None:
    statement = session.statement()
    statement.set_sql("SELECT :a AS a")
    statement.bind_named_param("a", "x", "STRING")
    statement.execute().close()


def submit_and_cancel(session: Any) -> None:
    statement = session.statement()
    statement.set_sql("SELECT 1")
    handle = statement.submit()
    handle.cancel()
    handle.close()


def fail(session: Any) -> None:
    statement = session.statement()
    statement.set_sql("SELEC")
    with pytest.raises((original.KernelError, ours.KernelError)):
        statement.execute()


@pytest.mark.parametrize("call", [execute, execute_by_name, submit_and_cancel])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"catalog": "samples", "schema": "tpch"},
        {"session_conf": {"TIMEZONE": "UTC", "CloudFetch_Link_Prefetch_Window": "4"}},
        {"http_headers": [("User-Agent", "mine/1")]},
    ],
    ids=["plain", "place", "configuration", "headers"],
)
def test_the_same_requests_are_sent(call: Callable[[Any], None], options: dict[str, Any]) -> None:
    assert sent(ours, call, **options) == sent(original, call, **options)


def test_a_failed_statement_is_closed_and_not_cancelled() -> None:
    methods = [(method, path.rpartition("/")[2]) for method, path, *_ in sent(ours, fail)]
    assert ("POST", "cancel") not in methods
