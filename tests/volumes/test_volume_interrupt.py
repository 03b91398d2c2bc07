"""Ctrl-C during a transfer: prompt, and nothing that looks complete is left behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from child_processes import PROMPT_S, interrupted

import seakernel

if TYPE_CHECKING:
    from pathlib import Path

    from seakernel import Connection
    from seakernel.local import LocalWarehouse

FILE = "/Volumes/main/default/files/a.bin"
SLOW = {"slow": {"bytes_per_second": 1_000_000}}


@pytest.mark.parametrize(
    "source",
    ["bytes(50_000_000)", "io.BytesIO(bytes(50_000_000))", "local"],
)
def test_put(warehouse: LocalWarehouse, connection: Connection, tmp_path: Path, source: str) -> None:
    local = tmp_path / "local"
    local.write_bytes(bytes(50_000_000))
    warehouse.faults([{"on": "volume_put", "do": SLOW}])
    script = f"""
import io
local = {str(local)!r}
volume = seakernel.connect(host, path, token).volume
source = {source}
ready()
try:
    volume.put(source, {FILE!r})
except KeyboardInterrupt:
    report("interrupted")
"""
    seconds, values = interrupted(warehouse, script)
    assert values == ["interrupted"]
    assert seconds < PROMPT_S
    with pytest.raises(seakernel.ProgrammingError, match="no such file"):
        connection.volume.get(FILE)


@pytest.mark.parametrize("sink", ["None", "local", "io.BytesIO()"])
def test_get(warehouse: LocalWarehouse, connection: Connection, tmp_path: Path, sink: str) -> None:
    connection.volume.put(bytes(20_000_000), FILE)
    warehouse.faults([{"on": "volume_get", "do": SLOW}])
    script = f"""
import io
local = {str(tmp_path / "out")!r}
volume = seakernel.connect(host, path, token).volume
ready()
try:
    volume.get({FILE!r}, {sink})
except KeyboardInterrupt:
    report("interrupted")
"""
    seconds, values = interrupted(warehouse, script)
    assert values == ["interrupted"]
    assert seconds < PROMPT_S
    assert list(tmp_path.iterdir()) == []


def test_a_source_that_waits(warehouse: LocalWarehouse) -> None:
    script = f"""
import io
class Waiting(io.BytesIO):
    def read(self, size=-1):
        time.sleep(30)
        return super().read(size)
volume = seakernel.connect(host, path, token).volume
ready()
try:
    volume.put(Waiting(b"12345"), {FILE!r})
except KeyboardInterrupt:
    report("interrupted")
"""
    seconds, values = interrupted(warehouse, script)
    assert values == ["interrupted"]
    assert seconds < PROMPT_S
