"""Debug files as others read them, and a writer that sends nothing."""

from __future__ import annotations

import logging
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import pytest

from seakernel.zerobus import ZerobusWrapper

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def wrapper(folder: Path, table: str = "main.default.orders", **options: Any) -> ZerobusWrapper:
    defaults = {"debug_enabled": True, "debug_output_dir": folder, "zerobus_writer_disabled": True}
    return ZerobusWrapper("https://nowhere.invalid", table, **{**defaults, **options})


def files(folder: Path, kind: str) -> list[Path]:
    return sorted((folder / "zerobus" / kind).glob("*"))


def read(path: Path) -> pa.Table:
    with pa.OSFile(str(path)) as file, pa.ipc.open_stream(file) as reader:
        return reader.read_all()


def records(data: bytes) -> Iterator[bytes]:
    """Splits what a standard reader of delimited messages splits."""
    at = 0
    while at < len(data):
        length = shift = 0
        while True:
            byte = data[at]
            at, length, shift = at + 1, length | (byte & 0x7F) << shift, shift + 7
            if byte < 0x80:
                break
        yield data[at : at + length]
        at += length
    assert at == len(data)


def rows(first: int, count: int) -> pa.RecordBatch:
    ids = range(first, first + count)
    # A newline in each record, at which they must not be split.
    return pa.record_batch({"id": pa.array(ids, pa.int64()), "text": [f"line\n{i}" for i in ids]})


def test_f38_rows_in_files_are_the_rows_sent(tmp_path: Path) -> None:
    with wrapper(tmp_path, debug_max_files_retained=None) as sending:
        for i in range(60):
            sending.send_batch_sync(rows(100 * i, 100))
        sending.send_batch_sync(rows(6000, 2500))
    arrow, proto = files(tmp_path, "arrow"), files(tmp_path, "proto")
    assert len(arrow) == 7
    assert {path.suffix for path in arrow} == {".arrows"}
    kept = pa.concat_tables([read(path) for path in arrow])
    assert sorted(kept["id"].to_pylist()) == list(range(8500))
    assert all(read(path).num_rows <= 1000 or read(path).num_rows == 2500 for path in arrow)
    assert sum(1 for path in proto for _ in records(path.read_bytes())) == 8500


def test_f38_the_oldest_closed_files_go(tmp_path: Path) -> None:
    with wrapper(tmp_path, debug_rotation_rows=10, debug_max_files_retained=3) as sending:
        for i in range(9):
            sending.send_batch_sync(rows(10 * i, 10))
        assert len(files(tmp_path, "arrow")) == 4
    assert [read(path)["id"][0].as_py() for path in files(tmp_path, "arrow")] == [60, 70, 80]
    assert len(files(tmp_path, "proto")) == 3


def test_f39_others_read_what_was_flushed(tmp_path: Path) -> None:
    protobuf = pytest.importorskip("google.protobuf")
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    assert protobuf
    nested = pa.array([{"x": [1, 2]}, None, {"x": []}])
    given = pa.record_batch({"id": [1, 2, 3], "text": ["a\nb", None, ""], "nested": nested})
    with wrapper(tmp_path) as sending:
        sending.send_batch_sync(given)
        sending.flush_sync()
        [arrow] = files(tmp_path, "arrow")
        assert arrow.name.endswith(".arrows.tmp")
        assert read(arrow).to_pylist() == given.to_pylist()
        with pa.OSFile(str(arrow)) as file, pa.ipc.open_stream(file) as kept:
            assert duckdb.sql("SELECT sum(id), count(nested) FROM kept").fetchall() == [(6, 2)]
            assert kept.schema == given.schema
        [proto] = files(tmp_path, "proto")
        data = proto.read_bytes()
    described = descriptor_pb2.FileDescriptorSet.FromString(
        (tmp_path / "zerobus/descriptors/main_default_orders.fds").read_bytes()
    )
    alone = descriptor_pb2.DescriptorProto.FromString(
        (tmp_path / "zerobus/descriptors/main_default_orders.pb").read_bytes()
    )
    assert described.file[0].message_type[0] == alone
    pool = descriptor_pool.DescriptorPool()
    pool.Add(described.file[0])
    message = message_factory.GetMessageClass(pool.FindMessageTypeByName(alone.name))
    decoded = [message.FromString(record) for record in records(data)]
    assert [(each.id, each.text if each.HasField("text") else None) for each in decoded] == [
        (1, "a\nb"),
        (2, None),
        (3, ""),
    ]
    assert [list(each.nested.x) if each.HasField("nested") else None for each in decoded] == [[1, 2], None, []]


def test_f39_newlines_for_who_wants_them(tmp_path: Path) -> None:
    with wrapper(
        tmp_path, debug_protobuf_framing="newline", debug_arrow_enabled=False, debug_protobuf_enabled=True
    ) as sending:
        sending.send_batch_sync(pa.record_batch({"text": ["a", "b"]}))
    [proto] = files(tmp_path, "proto")
    assert proto.read_bytes() == b"\n\x01a\n\n\x01b\n"
    assert files(tmp_path, "arrow") == []


def test_f40_retention_leaves_other_tables_alone(tmp_path: Path) -> None:
    for table in ["t_2024", "t_other", "t"]:
        with wrapper(tmp_path, table, debug_rotation_rows=1, debug_max_files_retained=1) as sending:
            for i in range(4):
                sending.send_batch_sync(rows(i, 1))
    assert len(files(tmp_path, "arrow")) == 3
    assert len(files(tmp_path, "proto")) == 3


OFFLINE = """
import os, sys
import pyarrow as pa
from seakernel.zerobus import ZerobusWrapper

def sockets():
    found = set()
    for fd in os.listdir("/proc/self/fd"):
        try:
            found.add(os.readlink(f"/proc/self/fd/{fd}"))
        except FileNotFoundError:
            pass
    return {name for name in found if name.startswith("socket:")}

before, seen = sockets(), set()
folder = sys.argv[1]
options = {"debug_enabled": True, "debug_output_dir": folder, "zerobus_writer_disabled": True, "max_record_bytes": 100}
with ZerobusWrapper("https://nowhere.invalid", "orders", **options) as wrapper:
    texts = ["x" * (500 if i in (3, 7) else 5) for i in range(10)]
    result = wrapper.send_batch_sync(pa.record_batch({"text": texts}))
    seen |= sockets()
    wrapper.flush_sync()
    seen |= sockets()
assert result.get_failed_row_indices() == [3, 7], result
assert result.successful_rows == [0, 1, 2, 4, 5, 6, 8, 9]
assert result.group_errors_by_type() == {"ConversionError": [3, 7]}
assert seen <= before, seen - before
print("done")
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="network namespaces")
def test_f41_a_disabled_writer_has_no_socket(tmp_path: Path) -> None:
    command = [sys.executable, "-c", textwrap.dedent(OFFLINE), str(tmp_path)]
    # Without any network, where the system lets us; the look at the sockets is the same.
    alone = ["unshare", "--map-root-user", "--net"]
    permitted = subprocess.run([*alone, "true"], capture_output=True, check=False).returncode == 0
    done = subprocess.run([*(alone if permitted else []), *command], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("done\n", 0), done.stderr


def test_f42_a_folder_that_cannot_be_written_fails_no_send(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    folder = tmp_path / "file"
    folder.write_text("no folder")
    with wrapper(folder) as sending:
        assert all(sending.send_batch_sync(rows(i, 5)).successful_count == 5 for i in range(3))
        sending.flush_sync()
    told = [record for record in caplog.records if record.name.startswith("seakernel_zerobus")]
    assert len(told) == 1
    assert "debug file could not be written" in told[0].getMessage()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/dev/full")
def test_f42_a_full_disk_fails_no_send(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    resource = pytest.importorskip("resource")
    code = f"""
        import logging, resource, signal, sys
        import pyarrow as pa
        logging.basicConfig(stream=sys.stdout, format="%(message)s")
        from seakernel.zerobus import ZerobusWrapper
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        options = {{"debug_enabled": True, "debug_output_dir": {str(tmp_path)!r}, "zerobus_writer_disabled": True}}
        batch = pa.record_batch({{"text": ["x" * 1000] * 100}})
        with ZerobusWrapper("https://nowhere.invalid", "orders", **options) as wrapper:
            # No file may be larger than this, which is what a full disk is to a write.
            resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
            assert all(wrapper.send_batch_sync(batch).successful_count == 100 for _ in range(5))
    """
    assert resource
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("debug file could not be written") == 1, done.stdout
