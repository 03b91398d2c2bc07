"""CAST as ANSI mode defines it, and the implicit casts.

DuckDB rounds where Spark truncates, and reads texts that Spark refuses (`'1.5'` as an integer, `'1_000'` as a number), so
every cast from text is guarded by the syntax that Spark accepts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from seakernel.local.sql import types
from seakernel.local.sql.errors import failure, raised, unsupported
from seakernel.local.sql.typed import Typed, inherit
from seakernel.local.sql.types import DataType, quoted, text_literal

if TYPE_CHECKING:
    from seakernel.local.sql.python_functions import PythonFunctions

_INTEGER = r"\s*[+-]?[0-9]+\s*"
_NUMBER = r"\s*[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?\s*"
_DOUBLE = r"(?i)\s*[+-]?(([0-9]+(\.[0-9]*)?|\.[0-9]+)(e[+-]?[0-9]+)?[fd]?|inf|infinity|nan)\s*"
_TRUE = "('t', 'true', 'y', 'yes', '1')"
_FALSE = "('f', 'false', 'n', 'no', '0')"
_DATE_PART = r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}"
_TIME_PART = r"[0-9]{1,2}:[0-9]{1,2}(:[0-9]{1,2}(\.[0-9]*)?)?"
_ZONE = r"(Z|UTC|GMT|[+-][0-9]{1,2}(:[0-9]{2})?|[A-Z][A-Za-z]+/[A-Za-z_/+-]+[0-9]*)"
_CAST_FUNCTIONS_NEED_ANSI = ("BOOLEAN", "DATE", "TIMESTAMP", "TIMESTAMP_NTZ", "BINARY")


class Caster:
    """Translates casts. `python` provides the functions that SQL cannot express."""

    def __init__(self, python: PythonFunctions) -> None:
        self.python = python

    def cast(self, value: Typed, to: DataType, *, is_try: bool = False) -> Typed:
        """`CAST(value AS to)`, or TRY_CAST.

        Raises:
            SqlError: DATATYPE_MISMATCH.CAST_WITHOUT_SUGGESTION where Spark has no such cast.
        """
        if to.kind in ("CHAR", "VARCHAR"):
            to = types.STRING
        if value.type == to:
            return value
        result = Typed(self._sql(value, to, is_try=is_try), to, simple=False)
        if value.is_constant and (
            value.constant is None
            or (to.is_integral and isinstance(value.constant, int) and not isinstance(value.constant, bool))
        ):
            result.constant = value.constant
        if (
            value.is_constant
            and to.is_string
            and isinstance(value.constant, (int, str))
            and not isinstance(value.constant, bool)
        ):
            result.constant = str(value.constant)
        return inherit(result, [value])

    def implicit(self, value: Typed, to: DataType) -> Typed:
        """The cast that a function or operator applies to its argument on its own, where ANSI mode allows it."""
        kind = value.type
        if kind == to or kind.kind == "VOID" or (kind.is_string and to.is_string):
            return self.cast(value, to)
        allowed = (
            (kind.is_numeric and to.is_numeric)
            or (kind.is_string and (to.is_numeric or to.kind in _CAST_FUNCTIONS_NEED_ANSI or to.is_interval))
            or (to.is_string and not kind.is_nested and kind.kind not in ("BINARY", "VARIANT"))
            or (kind.is_datetime and to.is_datetime)
            or (kind.is_interval and to.kind == kind.kind)
            or (kind.is_nested and types.common_type(kind, to) == to)
        )
        if kind.kind == "BINARY" and to.is_string:
            # Some functions take bytes as they are, some read them as UTF-8.
            raise unsupported("BINARY where STRING is expected")
        if not allowed:
            raise failure(
                "DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE",
                "42K09",
                f'Cannot resolve the expression due to data type mismatch: the input requires the "{to.text}" type, however it has the type "{kind.text}".',
            )
        return self.cast(value, to)

    def _sql(self, value: Typed, to: DataType, *, is_try: bool) -> str:
        kind, sql = value.type, value.sql
        if kind.kind == "VOID":
            # Not always a NULL: raise_error has this type too.
            return f"CAST({sql} AS {to.engine})"
        if kind.is_string and to.is_string:
            return sql
        if kind.is_string:
            return self._from_text(value, to, is_try=is_try)
        if to.is_string:
            return self.text(value)
        plain = f"{'TRY_CAST' if is_try else 'CAST'}({sql} AS {to.engine})"
        if kind.is_numeric and to.is_numeric:
            return self._number(value, to, is_try=is_try)
        if kind.kind == "BOOLEAN" and to.is_numeric:
            return plain
        if kind.is_numeric and to.kind == "BOOLEAN":
            return f"({sql} <> 0)"
        if kind.is_datetime and to.is_datetime:
            return plain
        if kind.kind == "TIMESTAMP" and to.is_numeric:
            return self._epoch(value, to, is_try=is_try)
        if kind.is_numeric and to.kind == "TIMESTAMP":
            return self._from_epoch(value)
        if kind.is_interval and kind.kind == to.kind:
            return self._interval(value, to)
        if kind.is_interval and to.is_integral and kind.units[0] == kind.units[1]:
            raise unsupported("The cast of an interval to a number")
        if kind.is_nested and kind.kind == to.kind:
            return self._nested(value, to, is_try=is_try)
        if kind.kind == "VARIANT":
            return self.python.from_variant(sql, to, is_try=is_try)
        if to.kind == "VARIANT":
            return self.python.to_variant(self, value)
        if kind.kind == "BINARY" and is_try:
            raise unsupported("try_cast of BINARY")
        raise failure(
            "DATATYPE_MISMATCH.CAST_WITHOUT_SUGGESTION",
            "42K09",
            f'Cannot resolve the cast due to data type mismatch: cannot cast "{kind.text}" to "{to.text}".',
        )

    # Numbers -----------------------------------------------------------------------------------------------------

    def _number(self, value: Typed, to: DataType, *, is_try: bool) -> str:
        function = "TRY_CAST" if is_try else "CAST"
        kind, sql = value.type, value.sql
        if to.is_integral and not kind.is_integral:
            # Spark drops the fraction, DuckDB would round it.
            sql = f"trunc({sql})"
            if kind.is_fractional and not is_try:
                sql = f"CAST({sql} AS DOUBLE)"
        if kind.is_fractional and to.kind == "DECIMAL":
            # By way of the shortest text, as Java does: 1.005 is 1.01 and not 1.00.
            sql = f"CAST({sql} AS VARCHAR)"
        return f"{function}({sql} AS {to.engine})"

    def _epoch(self, value: Typed, to: DataType, *, is_try: bool) -> str:
        function = "TRY_CAST" if is_try else "CAST"
        micros = f"epoch_us({value.sql})"
        if to.is_integral:
            return f"{function}(CAST(floor({micros} / 1000000.0::DOUBLE) AS BIGINT) AS {to.engine})"
        if to.is_fractional:
            return f"CAST({micros} / 1000000.0::DOUBLE AS {to.engine})"
        raise unsupported("The cast of a TIMESTAMP to DECIMAL")

    def _from_epoch(self, value: Typed) -> str:
        if value.type.is_integral:
            return f"make_timestamptz(CAST({value.sql} AS BIGINT) * 1000000)"
        return f"make_timestamptz(CAST(trunc({value.sql} * 1000000) AS BIGINT))"

    # From text ---------------------------------------------------------------------------------------------------

    def _from_text(self, value: Typed, to: DataType, *, is_try: bool) -> str:
        sql = value.sql
        if to.kind == "BINARY":
            return f"encode({sql})"
        if to.kind == "VARIANT":
            return self.python.to_variant(self, value)
        if to.is_nested:
            raise failure(
                "DATATYPE_MISMATCH.CAST_WITHOUT_SUGGESTION",
                "42K09",
                f'Cannot resolve the cast due to data type mismatch: cannot cast "STRING" to "{to.text}".',
            )
        if to.is_interval:
            return (
                self.python.call("interval_from_text", [sql, text_literal(to.text)]) if not is_try else self._no_try(to)
            )
        function = "TRY_CAST" if is_try else "CAST"
        trimmed = f"trim({sql}, ' \t\n\r\f\v')"
        if to.kind == "BOOLEAN":
            arms = f"WHEN lower({trimmed}) IN {_TRUE} THEN true WHEN lower({trimmed}) IN {_FALSE} THEN false"
        elif to.is_integral:
            arms = f"WHEN regexp_full_match({sql}, '{_INTEGER}') THEN {function}({trimmed} AS {to.engine})"
        elif to.kind == "DECIMAL":
            arms = f"WHEN regexp_full_match({sql}, '{_NUMBER}') THEN {function}({trimmed} AS {to.engine})"
        elif to.is_fractional:
            bare = f"regexp_replace({trimmed}, '^([^iInN]*)[fFdD]$', '\\1')"
            arms = f"WHEN regexp_full_match({sql}, '{_DOUBLE}') THEN CAST({bare} AS {to.engine})"
        elif to.kind == "DATE":
            arms = self._date_arms(sql, trimmed, function)
        else:
            arms = self._timestamp_arms(trimmed, function, to)
        if is_try:
            return f"CASE {arms} END"
        problem = _malformed(sql, to)
        return f"CASE {arms} WHEN {sql} IS NOT NULL THEN {problem} END"

    def _no_try(self, to: DataType) -> str:
        raise unsupported(f"try_cast to {to.text}")

    def _date_arms(self, sql: str, trimmed: str, function: str) -> str:
        return (
            f"WHEN regexp_full_match({trimmed}, '{_DATE_PART}([ T].*)?') THEN {function}(regexp_extract({sql}, '{_DATE_PART}') AS DATE) "
            f"WHEN regexp_full_match({trimmed}, '[0-9]{{4}}') THEN {function}({trimmed} || '-01-01' AS DATE) "
            f"WHEN regexp_full_match({trimmed}, '[0-9]{{4}}-[0-9]{{1,2}}') THEN {function}({trimmed} || '-01' AS DATE)"
        )

    def _timestamp_arms(self, trimmed: str, function: str, to: DataType) -> str:
        zoned = f"{_DATE_PART}[ T]{_TIME_PART} ?{_ZONE}"
        # DuckDB wants two digits in an offset.
        arms = f"WHEN regexp_full_match({trimmed}, '{_DATE_PART}([ T]({_TIME_PART})?)?') THEN {function}({trimmed} AS {to.engine}) "
        if to.kind == "TIMESTAMP":
            single = f"regexp_replace({trimmed}, '([+-])([0-9])(:[0-9]{{2}})?$', '\\10\\2\\3')"
            fixed = f"CASE WHEN regexp_full_match({trimmed}, '.*:.*[+-][0-9](:[0-9]{{2}})?') THEN {single} ELSE {trimmed} END"
            arms += f"WHEN regexp_full_match({trimmed}, '{zoned}') THEN {function}({fixed} AS TIMESTAMPTZ) "
        else:
            local = f"regexp_extract({trimmed}, '{_DATE_PART}[ T]{_TIME_PART}')"
            arms += f"WHEN regexp_full_match({trimmed}, '{zoned}') THEN {function}({local} AS TIMESTAMP) "
        return (
            arms
            + f"WHEN regexp_full_match({trimmed}, '[0-9]{{4}}') THEN {function}({trimmed} || '-01-01' AS {to.engine}) "
            + f"WHEN regexp_full_match({trimmed}, '[0-9]{{4}}-[0-9]{{1,2}}') THEN {function}({trimmed} || '-01' AS {to.engine})"
        )

    # To text -----------------------------------------------------------------------------------------------------

    def text(self, value: Typed) -> str:
        """The value as STRING, NULL for NULL."""
        kind, sql = value.type, value.sql
        if kind.is_string or kind.kind == "VOID":
            return f"CAST({sql} AS VARCHAR)"
        if kind.kind == "DECIMAL" and kind.precision == kind.scale:
            # DuckDB leaves out the zero before the point.
            return f"regexp_replace(CAST({sql} AS VARCHAR), '^(-?)[.]', '\\10.')"
        if kind.is_integral or kind.kind in ("BOOLEAN", "DECIMAL", "TIMESTAMP_NTZ", "DATE"):
            return f"CAST({sql} AS VARCHAR)"
        if kind.kind == "TIMESTAMP":
            return f"CAST(CAST({sql} AS TIMESTAMP) AS VARCHAR)"
        if kind.is_fractional:
            return self.python.call("java_number", [f"CAST({sql} AS VARCHAR)"])
        if kind.kind == "BINARY":
            return f"decode({sql})"
        if kind.kind == "VARIANT":
            return self.python.from_variant(sql, types.STRING, is_try=False)
        if kind.is_interval:
            return self.python.interval_text(sql, kind)
        return self._nested_text(value)

    def _item_text(self, sql: str, kind: DataType) -> str:
        return f"coalesce({self.text(Typed(sql, kind))}, 'null')"

    def _nested_text(self, value: Typed) -> str:
        kind, sql = value.type, value.sql
        if kind.kind == "ARRAY":
            items = f"list_transform({sql}, lambda item: {self._item_text('item', kind.item)})"
            return f"('[' || array_to_string({items}, ', ') || ']')"
        if kind.kind == "MAP":
            pair = (
                f"{self._item_text('pair.key', kind.map_key)} || ' -> ' || {self._item_text('pair.value', kind.item)}"
            )
            return f"('{{' || array_to_string(list_transform(map_entries({sql}), lambda pair: {pair}), ', ') || '}}')"
        parts = [
            self._item_text(f"struct_extract({sql}, {text_literal(part.name)})", part.type) for part in kind.fields
        ]
        joined = " || ', ' || ".join(parts) if parts else "''"
        return f"CASE WHEN {sql} IS NOT NULL THEN '{{' || {joined} || '}}' END"

    # Nested types ------------------------------------------------------------------------------------------------

    def _nested(self, value: Typed, to: DataType, *, is_try: bool) -> str:
        kind, sql = value.type, value.sql
        if kind.kind == "ARRAY":
            inner = self._sql_or_same(Typed("item", kind.item), to.item, is_try=is_try)
            return f"CAST({sql} AS {to.engine})" if inner == "item" else f"list_transform({sql}, lambda item: {inner})"
        if kind.kind == "MAP":
            key = self._sql_or_same(Typed("pair.key", kind.map_key), to.map_key, is_try=is_try)
            item = self._sql_or_same(Typed("pair.value", kind.item), to.item, is_try=is_try)
            pairs = f"list_transform(map_entries({sql}), lambda pair: {{'key': {key}, 'value': {item}}})"
            return f"CASE WHEN {sql} IS NOT NULL THEN map_from_entries({pairs}) END"
        if len(kind.fields) != len(to.fields):
            raise failure(
                "DATATYPE_MISMATCH.CAST_WITHOUT_SUGGESTION",
                "42K09",
                f'Cannot resolve the cast due to data type mismatch: cannot cast "{kind.text}" to "{to.text}".',
            )
        parts = [
            f"{quoted(target.name)} := {self._sql_or_same(Typed(f'struct_extract({sql}, {text_literal(part.name)})', part.type), target.type, is_try=is_try)}"
            for part, target in zip(kind.fields, to.fields, strict=True)
        ]
        return f"CASE WHEN {sql} IS NOT NULL THEN struct_pack({', '.join(parts)}) END"

    def _sql_or_same(self, value: Typed, to: DataType, *, is_try: bool) -> str:
        if to.kind in ("CHAR", "VARCHAR"):
            to = types.STRING
        return value.sql if value.type == to else self._sql(value, to, is_try=is_try)

    def _interval(self, value: Typed, to: DataType) -> str:
        order = ("YEAR", "MONTH") if to.kind == "INTERVAL_YM" else types.DAY_TIME_UNITS
        if order.index(to.units[1]) < order.index(value.type.units[1]):
            raise unsupported("The cast of an interval to a coarser one")
        return value.sql


def _malformed(sql: str, to: DataType) -> str:
    message = raised(
        "CAST_INVALID_INPUT",
        "22018",
        f'The value \0 of the type "STRING" cannot be cast to "{to.text}" because it is malformed. '
        "Correct the value as per the syntax, or change its target type. Use `try_cast` to tolerate malformed input and return NULL instead.",
    )
    before, after = message[1:-1].split("\0")
    return f"CAST(error('{before}''' || {sql} || '''{after}') AS {to.engine})"
