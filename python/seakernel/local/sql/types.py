"""Databricks data types: what they are called, what DuckDB stores them as, and which is the wider of two."""

from __future__ import annotations

from dataclasses import dataclass, field

INTEGRAL = ("TINYINT", "SMALLINT", "INT", "BIGINT")
FRACTIONAL = ("FLOAT", "DOUBLE")
DAY_TIME_UNITS = ("DAY", "HOUR", "MINUTE", "SECOND")
INTEGER_DIGITS = {"TINYINT": 3, "SMALLINT": 5, "INT": 10, "BIGINT": 20}
INTEGER_BITS = {"TINYINT": 8, "SMALLINT": 16, "INT": 32, "BIGINT": 64}

_ENGINE_NAMES = {
    "BOOLEAN": "BOOLEAN",
    "TINYINT": "TINYINT",
    "SMALLINT": "SMALLINT",
    "INT": "INTEGER",
    "BIGINT": "BIGINT",
    "FLOAT": "FLOAT",
    "DOUBLE": "DOUBLE",
    "STRING": "VARCHAR",
    "CHAR": "VARCHAR",
    "VARCHAR": "VARCHAR",
    "BINARY": "BLOB",
    "DATE": "DATE",
    "TIMESTAMP": "TIMESTAMPTZ",
    "TIMESTAMP_NTZ": "TIMESTAMP",
    "INTERVAL_YM": "INTERVAL",
    "INTERVAL_DT": "INTERVAL",
    # A variant is kept as compact JSON text with sorted keys, which is also what goes over the wire.
    "VARIANT": "VARCHAR",
    "VOID": '"NULL"',
}


@dataclass(frozen=True)
class Field:
    """A field of a STRUCT."""

    name: str
    type: DataType


@dataclass(frozen=True)
class DataType:
    """A Databricks type. `kind` is its SQL name; intervals are `INTERVAL_YM` and `INTERVAL_DT`."""

    kind: str
    precision: int = 0
    scale: int = 0
    length: int = 0
    element: DataType | None = None
    key: DataType | None = None
    fields: tuple[Field, ...] = field(default=())
    units: tuple[str, str] = ("", "")

    @property
    def item(self) -> DataType:
        """The element type of an ARRAY, or the value type of a MAP."""
        return self.element or VOID

    @property
    def map_key(self) -> DataType:
        """The key type of a MAP."""
        return self.key or VOID

    @property
    def text(self) -> str:
        """The type as result manifests spell it: `ARRAY<STRUCT<a: INT>>`."""
        if self.kind == "DECIMAL":
            return f"DECIMAL({self.precision},{self.scale})"
        if self.kind in ("CHAR", "VARCHAR"):
            return f"{self.kind}({self.length})"
        if self.kind == "ARRAY":
            return f"ARRAY<{self.item.text}>"
        if self.kind == "MAP":
            return f"MAP<{self.map_key.text}, {self.item.text}>"
        if self.kind == "STRUCT":
            return "STRUCT<" + ", ".join(f"{_field_name(part.name)}: {part.type.text}" for part in self.fields) + ">"
        if self.kind.startswith("INTERVAL"):
            start, end = self.units
            return f"INTERVAL {start}" if start == end else f"INTERVAL {start} TO {end}"
        return self.kind

    @property
    def simple(self) -> str:
        """The type as `typeof` and DESCRIBE spell it: `array<struct<a:int>>`."""
        if self.kind == "ARRAY":
            return f"array<{self.item.simple}>"
        if self.kind == "MAP":
            return f"map<{self.map_key.simple},{self.item.simple}>"
        if self.kind == "STRUCT":
            return "struct<" + ",".join(f"{_field_name(part.name)}:{part.type.simple}" for part in self.fields) + ">"
        return self.text.lower()

    @property
    def engine(self) -> str:
        """The DuckDB type that holds the values."""
        if self.kind == "DECIMAL":
            return f"DECIMAL({self.precision},{self.scale})"
        if self.kind == "ARRAY":
            return f"{self.item.engine}[]"
        if self.kind == "MAP":
            return f"MAP({self.map_key.engine}, {self.item.engine})"
        if self.kind == "STRUCT":
            return "STRUCT(" + ", ".join(f"{quoted(part.name)} {part.type.engine}" for part in self.fields) + ")"
        return _ENGINE_NAMES[self.kind]

    @property
    def is_numeric(self) -> bool:
        """Whether arithmetic works on it without a cast."""
        return self.kind in INTEGRAL or self.kind in FRACTIONAL or self.kind == "DECIMAL"

    @property
    def is_integral(self) -> bool:
        """Whether it is TINYINT to BIGINT."""
        return self.kind in INTEGRAL

    @property
    def is_fractional(self) -> bool:
        """Whether it is FLOAT or DOUBLE."""
        return self.kind in FRACTIONAL

    @property
    def is_string(self) -> bool:
        """Whether it is text."""
        return self.kind in ("STRING", "CHAR", "VARCHAR")

    @property
    def is_interval(self) -> bool:
        """Whether it is one of the two interval kinds."""
        return self.kind.startswith("INTERVAL")

    @property
    def is_datetime(self) -> bool:
        """Whether it is a date or one of the two timestamps."""
        return self.kind in ("DATE", "TIMESTAMP", "TIMESTAMP_NTZ")

    @property
    def is_nested(self) -> bool:
        """Whether it holds other values."""
        return self.kind in ("ARRAY", "MAP", "STRUCT")

    def contains(self, *kinds: str) -> bool:
        """Whether the type or a type within it is one of `kinds`."""
        if self.kind in kinds:
            return True
        inner = [part for part in (self.element, self.key) if part] + [part.type for part in self.fields]
        return any(part.contains(*kinds) for part in inner)


def quoted(name: str) -> str:
    """The name as a DuckDB identifier."""
    return '"' + name.replace('"', '""') + '"'


def text_literal(text: str) -> str:
    """The text as a DuckDB string literal; a NUL cannot stand in one, so it is spelled as a function call."""
    parts = ["'" + part.replace("'", "''") + "'" for part in text.split("\0")]
    return parts[0] if len(parts) == 1 else "(" + " || chr(0) || ".join(parts) + ")"


def _field_name(name: str) -> str:
    plain = name.replace("_", "").isalnum() and name.isascii() and not name.isdigit()
    return name if plain else "`" + name.replace("`", "``") + "`"


VOID = DataType("VOID")
BOOLEAN = DataType("BOOLEAN")
TINYINT = DataType("TINYINT")
SMALLINT = DataType("SMALLINT")
INT = DataType("INT")
BIGINT = DataType("BIGINT")
FLOAT = DataType("FLOAT")
DOUBLE = DataType("DOUBLE")
STRING = DataType("STRING")
BINARY = DataType("BINARY")
DATE = DataType("DATE")
TIMESTAMP = DataType("TIMESTAMP")
TIMESTAMP_NTZ = DataType("TIMESTAMP_NTZ")
VARIANT = DataType("VARIANT")
DAY_TO_SECOND = DataType("INTERVAL_DT", units=("DAY", "SECOND"))
YEAR_TO_MONTH = DataType("INTERVAL_YM", units=("YEAR", "MONTH"))


def decimal(precision: int, scale: int) -> DataType:
    """DECIMAL, with what exceeds 38 digits cut off (Spark's `bounded`)."""
    return DataType("DECIMAL", precision=min(precision, 38), scale=min(scale, 38))


def adjusted_decimal(precision: int, scale: int) -> DataType:
    """DECIMAL of an arithmetic result: beyond 38 digits the scale gives way first, down to 6 (Spark's `adjustPrecisionScale`)."""
    if precision <= 38:
        return decimal(precision, scale)
    whole = precision - scale
    return decimal(38, max(38 - whole, min(scale, 6)))


def array_of(element: DataType) -> DataType:
    """ARRAY of `element`."""
    return DataType("ARRAY", element=element)


def map_of(key: DataType, value: DataType) -> DataType:
    """MAP from `key` to `value`."""
    return DataType("MAP", key=key, element=value)


def struct_of(fields: list[tuple[str, DataType]]) -> DataType:
    """STRUCT with the named fields."""
    return DataType("STRUCT", fields=tuple(Field(name, kind) for name, kind in fields))


def decimal_for(kind: DataType) -> DataType:
    """The DECIMAL that holds every value of an integer type."""
    return kind if kind.kind == "DECIMAL" else decimal(INTEGER_DIGITS[kind.kind], 0)


def wider_decimal(left: DataType, right: DataType) -> DataType:
    """The DECIMAL that holds the values of both, as far as 38 digits allow."""
    scale = max(left.scale, right.scale)
    whole = max(left.precision - left.scale, right.precision - right.scale)
    return decimal(whole + scale, scale)


def _wider_number(left: DataType, right: DataType) -> DataType:
    if left.is_fractional or right.is_fractional:
        # FLOAT with anything but FLOAT is DOUBLE: a FLOAT would lose digits of the other side.
        return DOUBLE
    if left.kind == "DECIMAL" or right.kind == "DECIMAL":
        return wider_decimal(decimal_for(left), decimal_for(right))
    return left if INTEGRAL.index(left.kind) >= INTEGRAL.index(right.kind) else right


def _with_string(other: DataType) -> DataType | None:
    if other.is_integral:
        return BIGINT
    if other.is_numeric:
        return DOUBLE
    if other.is_string:
        return STRING
    if other.kind in ("BOOLEAN", "BINARY", "DATE", "TIMESTAMP", "TIMESTAMP_NTZ") or other.is_interval:
        return other
    return None


def _wider_nested(left: DataType, right: DataType) -> DataType | None:
    if left.kind == "ARRAY":
        item = common_type(left.item, right.item)
        return array_of(item) if item else None
    if left.kind == "MAP":
        key, value = common_type(left.map_key, right.map_key), common_type(left.item, right.item)
        return map_of(key, value) if key and value else None
    if len(left.fields) != len(right.fields):
        return None
    fields = []
    for one, other in zip(left.fields, right.fields, strict=True):
        kind = common_type(one.type, other.type)
        if kind is None or one.name.lower() != other.name.lower():
            return None
        fields.append((one.name, kind))
    return struct_of(fields)


def common_type(left: DataType, right: DataType) -> DataType | None:
    """The least common type under ANSI rules, or None where there is none.

    Text beside a number becomes BIGINT or DOUBLE, beside a date a date: so a bad text is an error and not a wrong answer.
    """
    if left == right:
        return STRING if left.is_string else left
    if left.kind == "VOID":
        return right
    if right.kind == "VOID":
        return left
    if left.is_string:
        return _with_string(right)
    if right.is_string:
        return _with_string(left)
    if left.is_numeric and right.is_numeric:
        return _wider_number(left, right)
    if left.is_datetime and right.is_datetime:
        kinds = {left.kind, right.kind}
        return TIMESTAMP if "TIMESTAMP" in kinds else TIMESTAMP_NTZ
    if left.kind == right.kind and left.is_nested:
        return _wider_nested(left, right)
    if left.kind == right.kind and left.is_interval:
        order = ("YEAR", "MONTH") if left.kind == "INTERVAL_YM" else DAY_TIME_UNITS
        places = [order.index(unit) for unit in (*left.units, *right.units)]
        return DataType(left.kind, units=(order[min(places)], order[max(places)]))
    return None
