"""databricks-sql-connector, unmodified, transfers files of the local warehouse's volumes."""

from __future__ import annotations

import io
import random
from typing import TYPE_CHECKING

import pytest
from databricks import sql as connector

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from seakernel import Connection
    from seakernel.local import LocalWarehouse

FILE = "/Volumes/main/default/files/folder/a.bin"


@pytest.fixture
def cursor(warehouse: LocalWarehouse, tmp_path: Path) -> Iterator[connector.client.Cursor]:
    """The SEA backend: the one on databricks-sql-kernel refuses these statements by itself."""
    host, _, port = warehouse.server_hostname.rpartition(":")
    with (
        connector.connect(
            server_hostname=host,
            _port=int(port),
            http_path=warehouse.http_path,
            access_token=warehouse.access_token,
            use_sea=True,
            enable_telemetry=False,
            staging_allowed_local_path=str(tmp_path),
        ) as connection,
        connection.cursor() as cursor,
    ):
        yield cursor


@pytest.mark.parametrize("form", ["json", "map"])
def test_put_get_and_remove(
    warehouse: LocalWarehouse, connection: Connection, cursor: connector.client.Cursor, tmp_path: Path, form: str
) -> None:
    warehouse.switches(volume_headers={"x-own": "a canary"}, volume_headers_form=form)
    content = random.Random(1).randbytes(2_000_000)
    (tmp_path / "in").write_bytes(content)
    cursor.execute(f"PUT '{tmp_path}/in' INTO '{FILE}'")
    with pytest.raises(connector.exc.ServerOperationError, match="FILE_IN_STAGING_PATH_ALREADY_EXISTS"):
        cursor.execute(f"PUT '{tmp_path}/in' INTO '{FILE}'")
    cursor.execute(f"GET '{FILE}' TO '{tmp_path}/out'")
    assert (tmp_path / "out").read_bytes() == content
    cursor.execute(f"PUT '__input_stream__' INTO '{FILE}' OVERWRITE", input_stream=io.BytesIO(b"streamed"))
    assert connection.volume.get(FILE) == b"streamed"
    connection.volume.put(b"ours", FILE, overwrite=True)
    cursor.execute(f"GET '{FILE}' TO '{tmp_path}/out'")
    assert (tmp_path / "out").read_bytes() == b"ours"
    cursor.execute(f"REMOVE '{FILE}'")
    with pytest.raises(connector.exc.OperationalError, match="unsuccessful: 404"):
        cursor.execute(f"GET '{FILE}' TO '{tmp_path}/out'")
