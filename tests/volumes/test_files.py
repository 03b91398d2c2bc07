"""`Connection.volume`: files go up and come down whole, whatever happens on the way."""

from __future__ import annotations

import io
import os
import pickle
import random
import stat
import threading
from typing import TYPE_CHECKING, Any

import pytest

import seakernel
from seakernel.local import LocalWarehouse

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from seakernel import Connection

FILES = "/Volumes/main/default/files"
FILE = f"{FILES}/a folder/it's 100%+é.bin"
CONTENT = random.Random(7).randbytes(3_000_001)


def stored(warehouse: LocalWarehouse, operation: str) -> list[dict[str, Any]]:
    """The requests of one kind to the storage host."""
    return [request for request in warehouse.requests() if request["operation"] == operation]


def statements(warehouse: LocalWarehouse, word: str) -> list[str]:
    return [
        request["body"]["statement"]
        for request in warehouse.requests()
        if request["operation"] == "execute" and request["body"]["statement"].startswith(word)
    ]


class Pipe(io.RawIOBase):
    """A stream that cannot seek."""

    def __init__(self, content: bytes) -> None:
        self._rest = io.BytesIO(content)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._rest.readinto(memoryview(buffer)[:1000])


@pytest.mark.parametrize("size", [0, 1, 256 << 10, (256 << 10) + 1, 50_000_000])
@pytest.mark.parametrize("kind", ["bytes", "path", "file"])
def test_round_trips(connection: Connection, tmp_path: Path, size: int, kind: str) -> None:
    content = random.Random(size).randbytes(size)
    local = tmp_path / "in.bin"
    local.write_bytes(content)
    source = {"bytes": lambda: content, "path": lambda: local, "file": lambda: io.BytesIO(content)}[kind]()
    assert connection.volume.put(source, FILE) == size
    if kind == "bytes":
        assert connection.volume.get(FILE) == content
    elif kind == "path":
        target = tmp_path / "out.bin"
        assert connection.volume.get(FILE, target) == size
        assert target.read_bytes() == content
        assert sorted(path.name for path in tmp_path.iterdir()) == ["in.bin", "out.bin"]
    else:
        sink = io.BytesIO()
        assert connection.volume.get(FILE, sink) == size
        assert sink.getvalue() == content


@pytest.mark.parametrize("source", [bytearray(b"12345"), memoryview(b"0123456789")[1:6], Pipe(b"12345")])
def test_other_sources(connection: Connection, source: Any) -> None:
    assert connection.volume.put(source, FILE) == 5
    assert connection.volume.get(FILE) == b"12345"


def test_a_file_object_is_read_from_where_it_stands(connection: Connection) -> None:
    source = io.BytesIO(b"0123456789")
    source.seek(4)
    assert connection.volume.put(source, FILE) == 6
    assert connection.volume.get(FILE) == b"456789"


def test_nothing_is_overwritten_unless_asked_for(connection: Connection, tmp_path: Path) -> None:
    connection.volume.put(b"old", FILE)
    with pytest.raises(seakernel.ProgrammingError, match="FILE_IN_STAGING_PATH_ALREADY_EXISTS") as raised:
        connection.volume.put(b"new", FILE)
    assert raised.value.sql_state == "42K03"
    assert connection.volume.get(FILE) == b"old"
    connection.volume.put(b"new", FILE, overwrite=True)
    target = tmp_path / "local"
    target.write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        connection.volume.get(FILE, target)
    assert target.read_bytes() == b"mine"
    connection.volume.get(FILE, target, overwrite=True)
    assert target.read_bytes() == b"new"
    with pytest.raises(IsADirectoryError):
        connection.volume.get(FILE, tmp_path)


@pytest.mark.parametrize("way", ["get", "statement"])
def test_a_private_file_stays_private_when_it_is_replaced(warehouse: LocalWarehouse, tmp_path: Path, way: str) -> None:
    private, new, like_any = tmp_path / "private", tmp_path / "new", tmp_path / "any"
    private.write_bytes(b"old")
    private.chmod(0o600)
    like_any.touch()
    open_to_others: list[str] = []

    def look(_done: int, _total: int | None) -> None:
        folders = [path for path in tmp_path.iterdir() if path.is_dir()]
        others = [path for path in tmp_path.iterdir() if path not in (*folders, like_any)]
        open_to_others.extend(str(path) for path in [*folders, *others] if path.stat().st_mode & 0o077)

    with warehouse.connect(staging_allowed_local_path=tmp_path) as connection:
        connection.volume.put(CONTENT, FILES + "/a")
        if way == "get":
            connection.volume.get(FILES + "/a", private, overwrite=True, progress=look)
            connection.volume.get(FILES + "/a", new)
        else:
            for path in (private, new):
                connection.cursor().execute(f"GET '{FILES}/a' TO '{path}'")
    assert open_to_others == []
    assert private.read_bytes() == new.read_bytes() == CONTENT
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert new.stat().st_mode == like_any.stat().st_mode
    assert len(list(tmp_path.iterdir())) == 3


def test_a_folder_that_is_missing_is_named(connection: Connection, tmp_path: Path) -> None:
    connection.volume.put(CONTENT, FILE)
    target = tmp_path / "missing" / "file.bin"
    with pytest.raises(FileNotFoundError) as raised:
        connection.volume.get(FILE, target)
    assert raised.value.filename == str(target)


def test_list_and_remove(connection: Connection) -> None:
    assert connection.volume.list(FILES) == []
    connection.volume.put(b"1", f"{FILES}/b")
    connection.volume.put(b"123", f"{FILES}/sub/c")
    directory, file = sorted(connection.volume.list(FILES), key=lambda file: file.size)
    assert (directory.path, directory.name, directory.is_directory) == (f"{FILES}/sub/", "sub/", True)
    assert (file.path, file.name, file.size, file.is_directory) == (f"{FILES}/b", "b", 1, False)
    assert file.modified is not None
    assert file.modified.tzinfo is not None
    connection.volume.remove(f"{FILES}/b")
    assert [file.name for file in connection.volume.list(FILES)] == ["sub/"]
    with pytest.raises(seakernel.ProgrammingError, match="there is no such file") as raised:
        connection.volume.get(f"{FILES}/b")
    assert raised.value.hint is None  # its statement is not what is missing
    assert (raised.value.kind, raised.value.http_status) == ("NotFound", 404)
    assert raised.value.statement_id is not None


def test_a_removal_tells_of_a_missing_file_where_the_store_does(
    warehouse: LocalWarehouse, connection: Connection
) -> None:
    connection.volume.remove(FILE)
    warehouse.switches(cloud="azure")
    with pytest.raises(seakernel.ProgrammingError) as raised:
        connection.volume.remove(FILE)
    assert raised.value.kind == "NotFound"
    # The first answer is lost: the file is gone all the same.
    connection.volume.put(b"1", FILE)
    warehouse.faults([{"on": "volume_remove", "do": "drop_before_response"}])
    connection.volume.remove(FILE)
    assert len(stored(warehouse, "volume_remove")) == 4


@pytest.mark.parametrize(
    "path",
    [
        "",
        "files/a",
        "/tmp/a",
        "/Volumes/main/default/files",
        "/Volumes/main/default/files/",
        "/Volumes/main/default/files//a",
        "/Volumes/main/default/files/../files/a",
        "/Volumes/main/default/files/./a",
        "/Volumes/main/default/files/a\nb",
        "dbfs:/Volumes/main/default/files/a",
    ],
)
def test_paths_that_are_none_are_refused_before_anything_is_sent(
    warehouse: LocalWarehouse, connection: Connection, path: str
) -> None:
    before = len(warehouse.requests())
    for call in (
        lambda: connection.volume.put(b"", path),
        lambda: connection.volume.get(path),
        lambda: connection.volume.remove(path),
    ):
        with pytest.raises(seakernel.ProgrammingError, match="is not of the form"):
            call()
    assert len(warehouse.requests()) == before


def test_what_cannot_be_read_is_refused_before_anything_is_sent(
    warehouse: LocalWarehouse, connection: Connection, tmp_path: Path
) -> None:
    before = len(warehouse.requests())
    with pytest.raises(FileNotFoundError):
        connection.volume.put(tmp_path / "missing", FILE)
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(seakernel.ProgrammingError, match="not a file with a length"):
            connection.volume.put(path, FILE)
    with pytest.raises(seakernel.ProgrammingError, match="neither a path"):
        connection.volume.put(5, FILE)  # type: ignore[arg-type]
    assert len(warehouse.requests()) == before


def test_a_text_file_is_refused(connection: Connection) -> None:
    with pytest.raises(seakernel.ProgrammingError, match="open it with mode `rb`"):
        connection.volume.put(io.StringIO("text"), FILE)  # type: ignore[arg-type]
    with pytest.raises(seakernel.ProgrammingError):
        connection.volume.get(FILE)


def test_the_store_gets_the_links_headers_and_nothing_of_the_session(
    warehouse: LocalWarehouse, connection: Connection
) -> None:
    warehouse.switches(volume_headers={"x-own": "a canary"}, volume_headers_form="map")
    connection.volume.put(b"1", FILE)
    warehouse.switches(volume_headers={"x-own": "a canary"})
    connection.volume.get(FILE)
    connection.volume.remove(FILE)
    requests = [request for request in warehouse.requests() if request["path"].startswith("/warehouse-volumes")]
    assert [request["status"] for request in requests] == [201, 200, 204]
    for request in requests:
        assert request["authorization"] is False
        assert "x-own" in request["headers"]
        assert set(request["headers"]) <= {"x-own", "accept", "host", "content-length", "content-type"}
    # What the local file is called stays here.
    assert all("__input_stream__" in statement for statement in statements(warehouse, "PUT"))


@pytest.mark.parametrize(
    "fault",
    [
        {"status": {"code": 503}},
        {"status": {"code": 503, "retry_after": 0}},
        {"status": {"code": 408}},
        {"status": {"code": 502}},
        {"status": {"code": 504}},
        "drop_before_response",
        {"truncate": {"bytes": 1_000_000}},
    ],
)
@pytest.mark.parametrize("kind", ["bytes", "path", "file"])
def test_an_upload_that_fails_is_repeated_whole(
    warehouse: LocalWarehouse, connection: Connection, tmp_path: Path, fault: Any, kind: str
) -> None:
    (tmp_path / "in").write_bytes(CONTENT)
    warehouse.faults([{"on": "volume_put", "do": fault, "times": 2}])
    source: Any = {"bytes": CONTENT, "path": tmp_path / "in", "file": io.BytesIO(CONTENT)}[kind]
    assert connection.volume.put(source, FILE) == len(CONTENT)
    assert len(stored(warehouse, "volume_put")) == 3
    # One statement: links may be used again.
    assert len(statements(warehouse, "PUT")) == 1
    assert connection.volume.get(FILE) == CONTENT


@pytest.mark.parametrize("kind", ["bytes", "path", "file"])
@pytest.mark.parametrize("fault", [{"truncate": {"bytes": 1_000_000}}, {"status": {"code": 503}}, "drop_after_headers"])
def test_a_broken_download_goes_on(
    warehouse: LocalWarehouse, connection: Connection, tmp_path: Path, kind: str, fault: Any
) -> None:
    connection.volume.put(CONTENT, FILE)
    warehouse.faults([{"on": "volume_get", "do": fault, "times": 2}])
    if kind == "bytes":
        assert connection.volume.get(FILE) == CONTENT
    elif kind == "path":
        assert connection.volume.get(FILE, tmp_path / "out") == len(CONTENT)
        assert (tmp_path / "out").read_bytes() == CONTENT
    else:
        sink = io.BytesIO()
        assert connection.volume.get(FILE, sink) == len(CONTENT)
        assert sink.getvalue() == CONTENT
    ranges = [request["range"] for request in stored(warehouse, "volume_get")]
    if isinstance(fault, dict) and "truncate" in fault:
        assert ranges == [None, "bytes=1000000-", "bytes=2000000-"]
    else:
        assert ranges == [None] * 3


def test_a_long_transfer_leaves_time_to_go_on(warehouse: LocalWarehouse) -> None:
    """The time for failures is not the time that a file takes."""
    warehouse.faults([{"on": "volume_get", "do": {"truncate": {"bytes": 2_000_000}}}])
    retry: Any = {"min_wait_s": 0.01, "max_elapsed_s": 1}
    warehouse.switches(store_bytes_per_second=1_500_000)
    with warehouse.connect(retry=retry) as connection:
        connection.volume.put(CONTENT, FILE)
        assert connection.volume.get(FILE) == CONTENT
    assert [request["range"] for request in stored(warehouse, "volume_get")] == [None, "bytes=2000000-"]


def test_a_file_that_has_changed_is_fetched_anew(warehouse: LocalWarehouse, connection: Connection) -> None:
    other = random.Random(8).randbytes(1_500_000)
    connection.volume.put(CONTENT, FILE)
    warehouse.faults([{"on": "volume_get", "do": {"truncate": {"bytes": 2_000_000}}}])

    def replace() -> None:
        with warehouse.connect() as another:
            another.volume.put(other, FILE, overwrite=True)

    class Sink(io.BytesIO):
        """Has the file replaced while its first bytes arrive."""

        replacer: threading.Thread | None = None

        def write(self, content: Any) -> int:
            if self.replacer is None:
                self.replacer = threading.Thread(target=replace)
                self.replacer.start()
                self.replacer.join()
            return super().write(content)

    sink = Sink()
    assert connection.volume.get(FILE, sink) == len(other)
    assert sink.getvalue() == other
    assert [request["range"] for request in stored(warehouse, "volume_get")] == [None, "bytes=2000000-"]


def test_a_store_without_ranges_sends_the_whole_again(warehouse: LocalWarehouse, connection: Connection) -> None:
    warehouse.switches(ignore_range=True)
    connection.volume.put(CONTENT, FILE)
    warehouse.faults([{"on": "volume_get", "do": {"truncate": {"bytes": 1_000_000}}}])
    assert connection.volume.get(FILE) == CONTENT

    class OneWay(io.BytesIO):
        def tell(self) -> int:
            raise OSError("a pipe has no position")

    warehouse.faults([{"on": "volume_get", "do": {"truncate": {"bytes": 1_000_000}}}])
    with pytest.raises(seakernel.ProgrammingError, match="cannot be rewound"):
        connection.volume.get(FILE, OneWay())


def test_a_part_never_looks_like_the_file(warehouse: LocalWarehouse, connection: Connection, tmp_path: Path) -> None:
    connection.volume.put(CONTENT, FILE)
    warehouse.faults([{"on": "volume_get", "do": {"truncate": {"bytes": 0}}, "times": "always"}])
    with pytest.raises(seakernel.OperationalError) as raised:
        connection.volume.get(FILE, tmp_path / "out")
    assert raised.value.attempts == 4
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("cloud", ["aws", "azure", "gcp"])
def test_an_expired_link_is_renewed(warehouse: LocalWarehouse, connection: Connection, cloud: str) -> None:
    warehouse.switches(cloud=cloud)
    warehouse.faults([{"on": on, "do": "expire"} for on in ("volume_put", "volume_get", "volume_remove")])
    # Of a large file the client could still be writing when the refusal comes, and see a broken connection only.
    assert connection.volume.put(CONTENT[:1000], FILE) == 1000
    assert connection.volume.get(FILE) == CONTENT[:1000]
    connection.volume.remove(FILE)
    for word, operation in (("PUT", "volume_put"), ("GET", "volume_get"), ("REMOVE", "volume_remove")):
        assert len(statements(warehouse, word)) == 2
        assert len(stored(warehouse, operation)) == 2


def test_a_download_goes_on_with_a_renewed_link(warehouse: LocalWarehouse, connection: Connection) -> None:
    connection.volume.put(CONTENT, FILE)
    warehouse.faults(
        [
            {"on": "volume_get", "do": {"truncate": {"bytes": 1_000_000}}, "times": 1},
            {"on": "volume_get", "do": "expire", "times": 1},
        ]
    )
    assert connection.volume.get(FILE) == CONTENT
    assert [request["range"] for request in stored(warehouse, "volume_get")] == [
        None,
        "bytes=1000000-",
        "bytes=1000000-",
    ]


def test_a_link_that_is_refused_again_is_an_error(warehouse: LocalWarehouse, connection: Connection) -> None:
    warehouse.switches(link_lifetime_seconds=0)
    with pytest.raises(seakernel.OperationalError) as raised:
        connection.volume.put(b"1", FILE)
    error = raised.value
    assert (error.kind, error.http_status, error.error_code) == ("LinkExpired", 403, "AccessDenied")
    assert error.retryable is False
    assert "warehouse-volumes/main/default/files" in str(error)
    assert "?" not in str(error)
    assert pickle.loads(pickle.dumps(error)).http_status == 403
    assert len(stored(warehouse, "volume_put")) == 2


@pytest.mark.parametrize("operation", ["volume_put", "volume_get", "volume_remove"])
def test_redirects_are_refused(warehouse: LocalWarehouse, connection: Connection, operation: str) -> None:
    if operation != "volume_put":
        connection.volume.put(b"1", FILE)
    with LocalWarehouse() as elsewhere:
        location = f"{elsewhere.server_hostname}/?X-Amz-Signature=canary"
        warehouse.faults([{"on": operation, "do": {"redirect": {"location": location}}, "times": "always"}])
        call: Any = {
            "volume_put": lambda: connection.volume.put(b"1", FILE),
            "volume_get": lambda: connection.volume.get(FILE),
            "volume_remove": lambda: connection.volume.remove(FILE),
        }[operation]
        with pytest.raises(seakernel.OperationalError, match="HTTP 307") as raised:
            call()
        assert raised.value.kind == "Protocol"
        assert elsewhere.requests() == []


def test_the_stores_refusal_is_told_without_its_words(warehouse: LocalWarehouse, connection: Connection) -> None:
    fault = {"status": {"code": 400, "body": "<Error><Code>EntityTooLarge</Code><Message>a canary</Message></Error>"}}
    warehouse.faults([{"on": "volume_put", "do": fault}])
    with pytest.raises(seakernel.ProgrammingError, match="EntityTooLarge") as raised:
        connection.volume.put(b"1", FILE)
    assert (raised.value.http_status, raised.value.attempts) == (400, 1)


@pytest.mark.parametrize("rows", [0, 2])
def test_an_answer_without_exactly_one_row_is_refused(
    warehouse: LocalWarehouse, connection: Connection, rows: int
) -> None:
    warehouse.switches(volume_rows=rows)
    with pytest.raises(seakernel.OperationalError, match="has not exactly one row") as raised:
        connection.volume.put(b"1", FILE)
    assert (raised.value.kind, raised.value.retryable) == ("Protocol", False)
    assert stored(warehouse, "volume_put") == []


def test_a_statement_that_transfers_nothing_is_refused(connection: Connection) -> None:
    session = connection._session
    assert session is not None
    with pytest.raises(seakernel.ProgrammingError, match="none that transfers a file") as raised:
        session.volume_operation("SELECT 1")
    assert raised.value.statement_id is not None
    operation = session.volume_operation(f"REMOVE '{FILES}/a'")
    assert (operation.operation, operation.local_file) == ("REMOVE", None)
    with pytest.raises(seakernel.ProgrammingError, match="asks for REMOVE, not for PUT"):
        operation.put(b"1")
    with pytest.raises(seakernel.InterfaceError, match="transferred before"):
        operation.remove()


def test_progress(connection: Connection) -> None:
    seen: list[tuple[int, int | None]] = []
    connection.volume.put(CONTENT, FILE, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    seen.clear()
    connection.volume.get(FILE, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (len(CONTENT), len(CONTENT))


@pytest.mark.parametrize("operation", ["put", "get"])
def test_what_a_callback_raises_ends_the_transfer(
    warehouse: LocalWarehouse, connection: Connection, operation: str
) -> None:
    warehouse.faults([{"on": f"volume_{operation}", "do": {"slow": {"bytes_per_second": 1_000_000}}}])
    # More than the system's buffers hold.
    content = CONTENT * 10
    if operation == "get":
        connection.volume.put(content, FILE)

    def stop(done: int, total: int | None) -> None:
        assert total in (None, len(content))
        assert done < len(content)
        raise KeyError("enough")

    calls: dict[str, Any] = {
        "put": lambda: connection.volume.put(content, FILE, progress=stop),
        "get": lambda: connection.volume.get(FILE, progress=stop),
    }
    with pytest.raises(KeyError, match="enough"):
        calls[operation]()
    if operation == "put":
        with pytest.raises(seakernel.ProgrammingError, match="no such file"):
            connection.volume.get(FILE)


def test_what_a_file_object_raises_is_raised(connection: Connection) -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() > 1_000_000:
                raise ZeroDivisionError("disk")
            return super().read(size)

        def write(self, content: Any) -> int:
            raise ZeroDivisionError("full")

    with pytest.raises(ZeroDivisionError, match="disk"):
        connection.volume.put(Broken(CONTENT), FILE)
    with pytest.raises(seakernel.ProgrammingError, match="no such file"):
        connection.volume.get(FILE)
    connection.volume.put(CONTENT, FILE)
    with pytest.raises(ZeroDivisionError, match="full"):
        connection.volume.get(FILE, Broken())


def test_a_source_that_shrinks_is_an_error(connection: Connection) -> None:
    class Shrinking(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return b"" if self.tell() > 1_000_000 else super().read(size)

    with pytest.raises(seakernel.ProgrammingError, match="bytes fewer"):
        connection.volume.put(Shrinking(CONTENT), FILE)
    assert connection.volume.list(FILES) in ([], [(f"{FILES}/a folder/", "a folder/", 0, None)])


def test_volumes_come_and_go_with_their_files(connection: Connection) -> None:
    with connection.cursor() as cursor:
        cursor.execute("CREATE VOLUME other COMMENT 'mine'")
        connection.volume.put(b"1", "/Volumes/main/default/other/a")
        assert cursor.execute("SHOW VOLUMES IN main.default").fetchall() == [("default", "files"), ("default", "other")]
        known = "SELECT volume_name, volume_type, comment FROM information_schema.volumes ORDER BY 1"
        assert cursor.execute(known).fetchall() == [("files", "MANAGED", None), ("other", "MANAGED", "mine")]
        with pytest.raises(seakernel.Error, match="VOLUME_ALREADY_EXISTS"):
            cursor.execute("CREATE VOLUME other")
        cursor.execute("DROP VOLUME other")
        with pytest.raises(seakernel.ProgrammingError, match="UC_VOLUME_NOT_FOUND"):
            connection.volume.get("/Volumes/main/default/other/a")
        cursor.execute("CREATE VOLUME IF NOT EXISTS other")
        assert connection.volume.list("/Volumes/main/default/other/") == []


def test_the_files_are_gone_when_the_warehouse_is_closed() -> None:
    with LocalWarehouse() as warehouse, warehouse.connect() as connection:
        connection.cursor().execute("CREATE VOLUME files")
        connection.volume.put(b"1", FILE)
        folder = warehouse._volume_folder
        assert (folder / "main" / "default" / "files").exists()
    assert not folder.exists()


def test_a_full_warehouse_refuses() -> None:
    with LocalWarehouse(volume_bytes=1_000_000) as warehouse, warehouse.connect() as connection:
        connection.cursor().execute("CREATE VOLUME files")
        connection.volume.put(b"1" * 900_000, FILE)
        with pytest.raises(seakernel.ProgrammingError, match="EntityTooLarge"):
            connection.volume.put(b"1" * 900_000, f"{FILES}/b")


def test_closed(connection: Connection) -> None:
    volume = connection.volume
    connection.close()
    with pytest.raises(seakernel.InterfaceError):
        volume.put(b"", FILE)
    with pytest.raises(seakernel.InterfaceError):
        _ = connection.volume


@pytest.fixture
def threads() -> Iterator[list[threading.Thread]]:
    started: list[threading.Thread] = []
    yield started
    for thread in started:
        thread.join()


def test_threads_share_it(connection: Connection, threads: list[threading.Thread]) -> None:
    results: dict[int, bytes] = {}

    def transfer(number: int) -> None:
        content = bytes([number]) * (300_000 + number)
        connection.volume.put(content, f"{FILES}/{number}")
        results[number] = connection.volume.get(f"{FILES}/{number}")

    threads += [threading.Thread(target=transfer, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {number: bytes([number]) * (300_000 + number) for number in range(8)}
