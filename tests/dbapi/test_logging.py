"""Logging: the kernel's records arrive under `seakernel`, and no secret does."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from seakernel.local import LocalWarehouse

if TYPE_CHECKING:
    import pytest


def test_records_arrive_and_hold_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    switches = {"link_headers": {"x-secret": "canary-header"}}
    with LocalWarehouse(chunk_rows=1000, inline_bytes=0, access_token="canary-token", switches=switches) as warehouse:
        with caplog.at_level(logging.DEBUG), warehouse.connect() as connection, connection.cursor() as cursor:
            cursor.execute("SELECT :word AS word, id FROM range(3000)", {"word": "a-private-word"}).fetchall()
        names = {record.name for record in caplog.records if record.name.startswith("seakernel")}
        assert any(name.split(".")[0] == "seakernel" for name in names)
        links = [request["path"] for request in warehouse.requests() if request["operation"] == "download"]
    text = "\n".join(f"{record.name} {record.getMessage()}" for record in caplog.records)
    assert links
    assert "canary" not in text
    assert "a-private-word" not in text
    assert "signature" not in text.lower()
