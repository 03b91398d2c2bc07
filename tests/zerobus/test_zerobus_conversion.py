"""Random batches of all types that travel, read back by the standard runtime of Protobuf and held against the values."""

from __future__ import annotations

import itertools
import json
import os
import struct
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seakernel.zerobus import ZerobusWrapper

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

pytest.importorskip("google.protobuf")
pytest.importorskip("seakernel_zerobus._seakernel_zerobus")

# More of them are found by `SEAKERNEL_ZEROBUS_EXAMPLES=10000`, and others each time.
EXAMPLES = os.environ.get("SEAKERNEL_ZEROBUS_EXAMPLES")


class UnsendableError(Exception):
    """A value without a place in a record: its row fails."""


def numbers(bits: int, *, signed: bool = True) -> st.SearchStrategy[int]:
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    return st.one_of(st.integers(low, high), st.sampled_from([low, high, 0, *([-1] if signed else [])]))


def within(low: int, high: int) -> Callable[[int], int]:
    def check(value: int) -> int:
        if not low <= value <= high:
            raise UnsendableError
        return value

    return check


INT64 = within(-(1 << 63), (1 << 63) - 1)
INT32 = within(-(1 << 31), (1 << 31) - 1)


def validity(values: Sequence[Any]) -> pa.Buffer | None:
    return pa.array([value is not None for value in values], pa.bool_()).buffers()[1]


class Kind:
    """A type of columns: its values, their arrays, and what a message should say of them."""

    type: pa.DataType
    values: st.SearchStrategy[Any]
    # Rows before and behind those that are meant.
    around: tuple[int, int] = (0, 0)
    # What a message says where nothing was written.
    default: Any = None

    def array(self, values: Sequence[Any]) -> pa.Array:
        before, behind = self.around
        filler = next((value for value in values if value is not None), None)
        made = self.whole([filler] * before + list(values) + [None] * behind)
        return made.slice(before, len(values))

    def whole(self, values: Sequence[Any]) -> pa.Array:
        raise NotImplementedError

    def wanted(self, value: Any, drop: bool) -> Any:
        raise NotImplementedError

    def absent(self) -> Any:
        """Where null is a value like others in a message."""
        return None

    def found(self, value: Any) -> Any:
        return repr(value) if isinstance(value, float) else value


class Plain(Kind):
    def __init__(
        self,
        data_type: pa.DataType,
        values: st.SearchStrategy[Any],
        wanted: Any = None,
        *,
        code: str = "",
        default: Any = 0,
    ) -> None:
        self.type, self.values, self._wanted, self._code = data_type, values, wanted, code
        self.default = default

    def whole(self, values: Sequence[Any]) -> pa.Array:
        if isinstance(self.type, pa.BaseExtensionType):
            return pa.ExtensionArray.from_storage(self.type, pa.array(values, self.type.storage_type))
        if not self._code:
            return pa.array(values, self.type)
        # The bits themselves: pyarrow's own way in has opinions about dates and decimals.
        if self._code.isdigit():
            data = b"".join((value or 0).to_bytes(int(self._code), "little", signed=True) for value in values)
        else:
            data = struct.pack(f"<{len(values)}{self._code}", *(0 if value is None else value for value in values))
        return pa.Array.from_buffers(self.type, len(values), [validity(values), pa.py_buffer(data)])

    def wanted(self, value: Any, drop: bool) -> Any:
        return self.found(self._wanted(value) if self._wanted else value)


def decimal(width: int, precision: int, scale: int) -> Plain:
    made = getattr(pa, f"decimal{width}")(precision, scale)

    def text(value: int) -> str:
        digits = str(abs(value))
        if scale > 0:
            digits = digits.rjust(scale + 1, "0")
            digits = f"{digits[:-scale]}.{digits[-scale:]}"
        elif value:
            digits += "0" * -scale
        return f"-{digits}" if value < 0 else digits

    most = 10**precision - 1
    values = st.one_of(st.integers(-most, most), st.sampled_from([most, -most, 0, 1, -1]))
    return Plain(made, values, text, code=str(width // 8), default="")


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
).map(json.dumps)

# The rows of the table of types that stand alone, with what a message should say.
PLAIN: list[Callable[[], Plain]] = [
    lambda: Plain(pa.bool_(), st.booleans(), default=False),
    lambda: Plain(pa.int8(), numbers(8)),
    lambda: Plain(pa.int16(), numbers(16)),
    lambda: Plain(pa.int32(), numbers(32)),
    lambda: Plain(pa.int64(), numbers(64)),
    lambda: Plain(pa.uint8(), numbers(8, signed=False)),
    lambda: Plain(pa.uint16(), numbers(16, signed=False)),
    lambda: Plain(pa.uint32(), numbers(32, signed=False)),
    lambda: Plain(pa.uint64(), numbers(64, signed=False), INT64),
    lambda: Plain(pa.float16(), st.floats(width=16), code="e", default="0.0"),
    lambda: Plain(pa.float32(), st.floats(width=32), code="f", default="0.0"),
    lambda: Plain(pa.float64(), st.floats(), code="d", default="0.0"),
    lambda: Plain(pa.string(), TEXT, default=""),
    lambda: Plain(pa.large_string(), TEXT, default=""),
    lambda: Plain(pa.string_view(), TEXT, default=""),
    lambda: Plain(pa.binary(), st.binary(max_size=20), default=b""),
    lambda: Plain(pa.large_binary(), st.binary(max_size=20), default=b""),
    lambda: Plain(pa.binary_view(), st.binary(max_size=20), default=b""),
    lambda: Plain(pa.binary(3), st.binary(min_size=3, max_size=3), default=b""),
    lambda: Plain(pa.date32(), numbers(32), code="i"),
    lambda: Plain(pa.date64(), numbers(64), lambda value: INT32(value // 86_400_000), code="q"),
    *(
        (lambda unit=unit, zone=zone, wanted=wanted: Plain(pa.timestamp(unit, zone), numbers(64), wanted, code="q"))
        for zone in (None, "UTC", "+02:00")
        for unit, wanted in {
            "s": lambda value: INT64(value * 1_000_000),
            "ms": lambda value: INT64(value * 1000),
            "us": INT64,
            "ns": lambda value: value // 1000,
        }.items()
    ),
    lambda: decimal(32, 9, 2),
    lambda: decimal(64, 18, 18),
    lambda: decimal(128, 38, 0),
    lambda: decimal(128, 38, 10),
    lambda: decimal(128, 5, -3),
    lambda: decimal(256, 76, 38),
    lambda: Plain(pa.json_(pa.string()), JSON, default=""),
    lambda: Plain(pa.json_(pa.large_string()), JSON, default=""),
]
KEYS: list[Callable[[], Plain]] = [*PLAIN[:9], *PLAIN[12:15]]


class Shared(Kind):
    """Dictionaries and runs, of values that have null among them or not."""

    def __init__(self, inner: Plain, *, runs: bool, null_inside: bool) -> None:
        self.inner, self.values, self.default = inner, inner.values, inner.default
        self._null_inside = null_inside
        of_runs = pa.run_end_encoded(pa.int32(), inner.type)
        self.type = of_runs if runs else pa.dictionary(pa.int16(), inner.type)
        self._runs = runs
        # Runs must be of something.
        self.around = (1, 1)

    def whole(self, values: Sequence[Any]) -> pa.Array:
        if self._runs:
            ends = [i + 1 for i in range(len(values)) if i + 1 == len(values) or repr(values[i]) != repr(values[i + 1])]
            runs = self.inner.array([values[end - 1] for end in ends])
            return pa.RunEndEncodedArray.from_arrays(pa.array(ends, pa.int32()), runs)
        listed: dict[str, Any] = {repr(value): value for value in values if value is not None or self._null_inside}
        places = {name: place for place, name in enumerate(listed)}
        keys = pa.array([places.get(repr(value)) for value in values], pa.int16())
        return pa.DictionaryArray.from_arrays(keys, self.inner.array(list(listed.values())))

    def wanted(self, value: Any, drop: bool) -> Any:
        return self.inner.wanted(value, drop)

    def found(self, value: Any) -> Any:
        return self.inner.found(value)


class Nothing(Kind):
    """A column of nulls, which is in no message."""

    type = pa.null()
    values = st.none()

    def whole(self, values: Sequence[Any]) -> pa.Array:
        return pa.nulls(len(values))


def spread(values: Sequence[Any], skipped: int) -> tuple[list[int], list[Any]]:
    """Offsets and elements; nulls have some, too, and so has what lies before the first."""
    some = next((value for value in values if value), [])
    elements: list[Any] = list(some[:1]) * skipped
    offsets = [len(elements)]
    for value in values:
        elements += some if value is None else value
        offsets.append(len(elements))
    return offsets, elements


class Listed(Kind):
    def __init__(self, inner: Kind, form: str, *, nullable: bool, skipped: int) -> None:
        self.inner, self._form, self._skipped = inner, form, skipped
        self._size = 2 if form == "fixed" else None
        item = pa.field("item", inner.type, nullable)
        self._nullable = nullable
        self.default = []
        element = inner.values | st.none() if nullable else inner.values
        self.values = st.lists(element, min_size=self._size or 0, max_size=self._size or 3)
        makers = {"list": pa.list_, "large": pa.large_list, "view": pa.list_view, "large_view": pa.large_list_view}
        self.type = pa.list_(item, 2) if form == "fixed" else makers[form](item)

    def whole(self, values: Sequence[Any]) -> pa.Array:
        mask = pa.array([value is None for value in values], pa.bool_())
        if self._form == "fixed":
            filler = next((value for value in values if value is not None), [None, None])
            elements = [element for value in values for element in (filler if value is None else value)]
            return pa.FixedSizeListArray.from_arrays(self.inner.array(elements), type=self.type, mask=mask)
        offsets, elements = spread(values, self._skipped)
        inner = self.inner.array(elements)
        wide = pa.int64() if self._form.startswith("large") else pa.int32()
        if self._form.endswith("view"):
            # In another order than the rows.
            sizes = [end - start for start, end in itertools.pairwise(offsets)]
            form = pa.LargeListViewArray if wide == pa.int64() else pa.ListViewArray
            starts, lengths = pa.array(offsets[:-1], wide), pa.array(sizes, wide)
            return form.from_arrays(starts, lengths, inner, type=self.type, mask=mask)
        form = pa.LargeListArray if wide == pa.int64() else pa.ListArray
        return form.from_arrays(pa.array(offsets, wide), inner, type=self.type, mask=mask)

    def wanted(self, value: Any, drop: bool) -> Any:
        if None in value and not drop:
            raise UnsendableError
        return [self.inner.wanted(element, drop) for element in value if element is not None]

    def absent(self) -> Any:
        return []

    def found(self, value: Any) -> Any:
        return [self.inner.found(element) for element in value]


class Mapped(Kind):
    def __init__(self, key: Plain, inner: Kind, *, nullable: bool, skipped: int) -> None:
        self.key, self.inner, self._nullable, self._skipped = key, inner, nullable, skipped
        value = inner.values | st.none() if nullable else inner.values
        self.values = st.lists(st.tuples(key.values, value), max_size=3)
        self.type = pa.map_(key.type, pa.field("value", inner.type, nullable))
        self.default = {}

    def whole(self, values: Sequence[Any]) -> pa.Array:
        offsets, entries = spread(values, self._skipped)
        keys = self.key.array([key for key, _ in entries])
        items = self.inner.array([item for _, item in entries])
        mask = pa.array([value is None for value in values], pa.bool_())
        return pa.MapArray.from_arrays(pa.array(offsets, pa.int32()), keys, items, type=self.type, mask=mask)

    def wanted(self, value: Any, drop: bool) -> Any:
        # The last of equal keys counts, to whoever reads a message.
        return {
            self.key.wanted(key, drop): self.inner.default if item is None else self.inner.wanted(item, drop)
            for key, item in value
        }

    def absent(self) -> Any:
        return {}

    def found(self, value: Any) -> Any:
        return {self.key.found(key): self.inner.found(value[key]) for key in value}


class Struct(Kind):
    def __init__(self, children: Sequence[tuple[Kind, bool]]) -> None:
        self.children = [
            (f"f{place}", kind, nullable or isinstance(kind, Nothing))
            for place, (kind, nullable) in enumerate(children)
        ]
        self.fields = [pa.field(name, kind.type, nullable) for name, kind, nullable in self.children]
        self.type = pa.struct(self.fields)
        # A null where none may be is a rare mistake.
        self.values = st.tuples(
            *(st.one_of([kind.values] * (2 if nullable else 9) + [st.none()]) for _, kind, nullable in self.children)
        )

    @property
    def default(self) -> Any:  # type: ignore[override]
        return {name: kind.absent() for name, kind, _ in self.children if not isinstance(kind, Nothing)}

    @default.setter
    def default(self, value: Any) -> None: ...

    def arrays(self, values: Sequence[Any]) -> list[pa.Array]:
        # What is behind a null is nobody's business.
        filler = next((value for value in values if value is not None), (None,) * len(self.children))
        rows = [filler if value is None else value for value in values]
        return [kind.array([row[place] for row in rows]) for place, (_, kind, _) in enumerate(self.children)]

    def whole(self, values: Sequence[Any]) -> pa.Array:
        mask = pa.array([value is None for value in values], pa.bool_())
        return pa.StructArray.from_arrays(self.arrays(values), fields=self.fields, mask=mask)

    def wanted(self, value: Any, drop: bool) -> Any:
        said = {}
        for (name, kind, nullable), child in zip(self.children, value, strict=True):
            if child is None and not nullable:
                raise UnsendableError
            if not isinstance(kind, Nothing):
                said[name] = kind.absent() if child is None else kind.wanted(child, drop)
        return said

    def found(self, value: Any) -> Any:
        from google.protobuf.unknown_fields import UnknownFieldSet

        assert not len(UnknownFieldSet(value))
        said = {}
        for name, kind, _ in self.children:
            if not isinstance(kind, Nothing):
                there = isinstance(kind, (Listed, Mapped)) or value.HasField(name)
                said[name] = kind.found(getattr(value, name)) if there else None
        assert set(said) == {field.name for field in value.DESCRIPTOR.fields}
        return said


@st.composite
def kinds(draw: st.DrawFn, depth: int, *, single: bool = False) -> Kind:
    """A type; a single one is what lists and maps have in them."""
    around = draw(st.tuples(st.integers(0, 2), st.integers(0, 1)))
    forms = ["plain"] * 3 + ["shared"] + (["struct"] * 2 if depth else [])
    forms += [] if single else ["nothing", *(["list", "map"] * 2 if depth else [])]
    form = draw(st.sampled_from(forms))
    made: Kind
    if form == "plain":
        made = draw(st.sampled_from(PLAIN))()
    elif form == "shared":
        # Nothing shares JSON, and pyarrow has no runs of dates that are not whole days.
        plain = draw(st.sampled_from(PLAIN[:-2]).map(lambda made: made()).filter(lambda kind: kind.type != pa.date64()))
        plain.around = around
        return Shared(plain, runs=draw(st.booleans()), null_inside=draw(st.booleans()))
    elif form == "struct":
        made = Struct(draw(st.lists(st.tuples(kinds(depth - 1), st.booleans()), min_size=1, max_size=3)))
    elif form == "nothing":
        made = Nothing()
    elif form == "list":
        of = draw(st.sampled_from(["list", "large", "fixed", "view", "large_view"]))
        inner = draw(kinds(depth - 1, single=True))
        made = Listed(inner, of, nullable=draw(st.booleans()), skipped=draw(st.integers(0, 2)))
    else:
        inner = draw(kinds(depth - 1, single=True))
        key = draw(st.sampled_from(KEYS))()
        made = Mapped(key, inner, nullable=draw(st.booleans()), skipped=draw(st.integers(0, 2)))
    made.around = around
    return made


@st.composite
def batches(draw: st.DrawFn) -> tuple[Struct, list[Any], pa.RecordBatch]:
    """The columns, the rows, and a batch of them that is a part of another, as its columns may be."""
    depth = draw(st.sampled_from([0, 1, 2, 3, 5]))
    columns = Struct(draw(st.lists(st.tuples(kinds(depth), st.booleans()), min_size=1, max_size=4)))
    rows = draw(st.lists(columns.values, max_size=8))
    batch = pa.RecordBatch.from_arrays(columns.arrays(rows), schema=pa.schema(columns.fields))
    start = draw(st.integers(0, len(rows)))
    end = draw(st.integers(start, len(rows)))
    return columns, rows[start:end], batch.slice(start, end - start)


def records(data: bytes) -> list[bytes]:
    from google.protobuf.internal.decoder import _DecodeVarint

    found, at = [], 0
    while at < len(data):
        length, at = _DecodeVarint(data, at)
        found.append(data[at : at + length])
        at += length
    return found


def reader(descriptor: bytes) -> Any:
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="rows.proto", syntax="proto2")
    file.message_type.add().ParseFromString(descriptor)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(file.message_type[0].name))


def sendable(columns: Struct, value: Any, drop: bool) -> Any:
    try:
        return columns.wanted(value, drop)
    except UnsendableError:
        return None


@settings(
    max_examples=int(EXAMPLES or 200),
    derandomize=EXAMPLES is None,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
@pytest.mark.timeout(0 if EXAMPLES else 240)
@given(made=batches(), drop=st.booleans())
def test_f09_records_say_what_the_arrays_say(made: tuple[Struct, list[Any], pa.RecordBatch], drop: bool) -> None:
    columns, rows, batch = made
    batch.validate()
    wanted = {row: said for row, value in enumerate(rows) if (said := sendable(columns, value, drop)) is not None}
    with tempfile.TemporaryDirectory() as folder:
        options = {"debug_output_dir": folder, "debug_protobuf_enabled": True, "debug_rotation_rows": 0}
        elements = "drop" if drop else "error"
        place = ("https://nowhere.invalid", "orders")
        with ZerobusWrapper(*place, zerobus_writer_disabled=True, null_list_element=elements, **options) as wrapper:
            result = wrapper.send_batch_sync(batch)
        assert result.error is None
        assert result.get_failed_row_indices() == [row for row in range(len(rows)) if row not in wanted]
        assert (result.successful_rows or []) == list(wanted)
        files = sorted((Path(folder) / "zerobus/proto").glob("*"))
        assert len(files) == bool(wanted)
        if not wanted:
            return
        message = reader((Path(folder) / "zerobus/descriptors/orders.pb").read_bytes())
        found = [message.FromString(record) for record in records(files[0].read_bytes())]
    assert [columns.found(each) for each in found] == list(wanted.values())


def test_f10_slices_of_structs_in_structs_arrive(tmp_path: Path) -> None:
    inner = pa.array([{"b": {"c": number}} for number in range(8)])
    whole = pa.record_batch(
        {"a": inner, "pairs": pa.FixedSizeListArray.from_arrays(pa.concat_arrays([inner, inner]), 2)}
    )
    options = {"debug_output_dir": tmp_path, "debug_arrow_enabled": True, "zerobus_writer_disabled": True}
    with ZerobusWrapper("https://nowhere.invalid", "orders", **options) as wrapper:
        for given in (whole.slice(3, 2), pa.table(whole).slice(3, 2)):
            assert wrapper.send_batch_sync(given).successful_rows == [0, 1]
    [path] = (tmp_path / "zerobus/arrow").glob("*")
    kept = pa.ipc.open_stream(path.read_bytes()).read_all()
    assert kept.to_pylist() == whole.slice(3, 2).to_pylist() * 2


def test_f11_nulls_in_columns_that_have_none_fail_their_rows(tmp_path: Path) -> None:
    columns = {
        "number": pa.array([1, None, 3]),
        "list": pa.array([[1], None, []]),
        "map": pa.array([[("a", 1)], None, []], pa.map_(pa.string(), pa.int64())),
        "struct": pa.array([{"x": 1}, None, {"x": None}]),
    }
    for mode in ("proto", "arrow"):
        options = {"debug_output_dir": tmp_path, "debug_arrow_enabled": True, "zerobus_writer_disabled": True}
        with ZerobusWrapper("https://nowhere.invalid", "a.b.orders", ingest_mode=mode, **options) as wrapper:
            for name, values in columns.items():
                given = pa.record_batch([values], schema=pa.schema([pa.field(name, values.type, nullable=False)]))
                for rows in (given, pa.table(given)):
                    result = wrapper.send_batch_sync(rows)
                    assert (result.error, result.successful_rows) == (None, [0, 2])
                    [(row, text)] = result.failed_rows or []
                    assert (row, f"field='{name}', row=1, error=null" in text) == (1, True)
