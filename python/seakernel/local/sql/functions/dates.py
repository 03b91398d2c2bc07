"""Dates and timestamps. A TIMESTAMP is read on the session's clock, which DuckDB's casts to TIMESTAMP follow."""

from __future__ import annotations

import datetime  # noqa: TC003 - the engine reads the annotations of Python functions
from typing import TYPE_CHECKING

from seakernel.local.sql import java_dates, syntax, types
from seakernel.local.sql.errors import failure, raised, unsupported
from seakernel.local.sql.python_functions import python_function
from seakernel.local.sql.registry import alias, raw, scalar, simple, wrong_type
from seakernel.local.sql.typed import Typed, inherit
from seakernel.local.sql.types import text_literal

if TYPE_CHECKING:
    from collections.abc import Callable

    from seakernel.local.sql.expressions import ExpressionTranslator
    from seakernel.local.sql.syntax import Call
    from seakernel.local.sql.typed import Scope

_UNIT_MICROS = {
    "WEEK": 604_800_000_000,
    "DAY": 86_400_000_000,
    "DAYOFYEAR": 86_400_000_000,
    "HOUR": 3_600_000_000,
    "MINUTE": 60_000_000,
    "SECOND": 1_000_000,
    "MILLISECOND": 1000,
    "MICROSECOND": 1,
}
_UNIT_MONTHS = {"YEAR": 12, "QUARTER": 3, "MONTH": 1}
_DEFAULT_PATTERN = "yyyy-MM-dd HH:mm:ss"


def _date(translator: ExpressionTranslator, value: Typed) -> str:
    return translator.caster.implicit(value, types.DATE).sql


def _timestamp(translator: ExpressionTranslator, value: Typed) -> Typed:
    if value.type.kind == "TIMESTAMP_NTZ":
        return value
    return translator.caster.implicit(value, types.TIMESTAMP)


def local(translator: ExpressionTranslator, value: Typed) -> str:
    """The value as DuckDB's naive TIMESTAMP, on the session's clock."""
    return f"CAST({_timestamp(translator, value).sql} AS TIMESTAMP)"


# Fields --------------------------------------------------------------------------------------------------------------


def _field(names: tuple[str, ...], template: str, *, of_date: bool) -> None:
    @scalar(*names)
    def field(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
        sql = _date(translator, arguments[0]) if of_date else local(translator, arguments[0])
        return Typed(f"CAST({template.format(sql)} AS INTEGER)", types.INT)


_field(("year",), "year({0})", of_date=True)
_field(("quarter",), "quarter({0})", of_date=True)
_field(("month",), "month({0})", of_date=True)
_field(("day", "dayofmonth"), "day({0})", of_date=True)
_field(("dayofyear",), "dayofyear({0})", of_date=True)
_field(("dayofweek",), "dayofweek({0}) + 1", of_date=True)
_field(("weekday",), "isodow({0}) - 1", of_date=True)
_field(("weekofyear",), "weekofyear({0})", of_date=True)
_field(("hour",), "hour({0})", of_date=False)
_field(("minute",), "minute({0})", of_date=False)
_field(("second",), "second({0})", of_date=False)

_EXTRACT = {
    "year": ("year", "y", "years", "yr", "yrs"),
    "quarter": ("quarter", "qtr"),
    "month": ("month", "mon", "mons", "months"),
    "weekofyear": ("week", "w", "weeks"),
    "day": ("day", "d", "days"),
    "dayofweek": ("dayofweek", "dow"),
    "dayofyear": ("doy",),
    "hour": ("hour", "h", "hours", "hr", "hrs"),
    "minute": ("minute", "m", "min", "mins", "minutes"),
}


@raw("extract", "date_part", "datepart", least=2, most=2)
def extract(translator: ExpressionTranslator, call: Call, scope: Scope) -> Typed:
    """One field of a date, timestamp or interval."""
    unit = translator.expression(call.arguments[0], scope)
    if not isinstance(unit.constant, str):
        raise unsupported("extract of a field that is not a constant")
    name = unit.constant.lower()
    value = translator.expression(call.arguments[1], scope)
    if value.type.is_interval:
        return inherit(_interval_field(name, value), [value])
    for function, spellings in _EXTRACT.items():
        if name in spellings:
            return translator.call(function, [value])
    if name in ("dayofweek_iso", "dow_iso"):
        return inherit(Typed(f"CAST(isodow({_date(translator, value)}) AS INTEGER)", types.INT), [value])
    if name == "yearofweek":
        return inherit(Typed(f"CAST(isoyear({_date(translator, value)}) AS INTEGER)", types.INT), [value])
    if name in ("second", "s", "sec", "seconds", "secs"):
        micros = f"CAST(epoch_us({local(translator, value)}) % 60000000 AS DECIMAL(20,0))"
        return inherit(
            Typed(f"CAST({micros} * CAST(0.000001 AS DECIMAL(7,6)) AS DECIMAL(8,6))", types.decimal(8, 6)), [value]
        )
    raise failure("INVALID_EXTRACT_FIELD", "42601", f"Cannot extract `{unit.constant}` from the source.")


def _interval_field(name: str, value: Typed) -> Typed:
    if value.type.kind == "INTERVAL_YM" and name in ("year", "years", "y"):
        return Typed(f"CAST(datepart('year', {value.sql}) AS INTEGER)", types.INT)
    if value.type.kind == "INTERVAL_YM" and name in ("month", "months", "mon"):
        return Typed(f"CAST(datepart('month', {value.sql}) AS TINYINT)", types.TINYINT)
    if value.type.kind == "INTERVAL_DT" and name in ("day", "days", "d"):
        return Typed(f"CAST(datepart('day', {value.sql}) AS INTEGER)", types.INT)
    if value.type.kind == "INTERVAL_DT" and name in ("hour", "hours", "minute", "minutes"):
        return Typed(f"CAST(datepart('{name.removesuffix('s')}', {value.sql}) AS TINYINT)", types.TINYINT)
    raise unsupported(f"extract of {name} from an interval")


@scalar("dayname")
def dayname(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """The day of the week in three letters."""
    return Typed(f"left(dayname({_date(translator, arguments[0])}), 3)", types.STRING)


@scalar("monthname")
def monthname(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """The month in three letters."""
    return Typed(f"left(monthname({_date(translator, arguments[0])}), 3)", types.STRING)


# Arithmetic ----------------------------------------------------------------------------------------------------------


def _unit(node: syntax.Expression, name: str) -> str:
    if isinstance(node, syntax.Name) and len(node.parts) == 1:
        unit = node.parts[0].upper()
        if unit in _UNIT_MICROS or unit in _UNIT_MONTHS:
            return unit
    raise failure(
        "INVALID_PARAMETER_VALUE.DATETIME_UNIT",
        "22023",
        f"The value of parameter(s) `unit` in `{name}` is invalid: expects one of the units without quotes YEAR, QUARTER, MONTH, WEEK, DAY, DAYOFYEAR, HOUR, MINUTE, SECOND, MILLISECOND, MICROSECOND.",
    )


def _shifted_days(name: str, sign: str) -> Callable[[ExpressionTranslator, list[Typed]], Typed]:
    def shift(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
        days = arguments[1]
        if days.type.is_string:
            days = translator.caster.cast(days, types.INT)
        if not days.type.is_integral and days.type.kind != "VOID":
            raise wrong_type(name, days, '("INT" or "SMALLINT" or "TINYINT")')
        return Typed(
            f"({_date(translator, arguments[0])} {sign} {translator.caster.cast(days, types.INT).sql})", types.DATE
        )

    return shift


scalar("date_sub", least=2)(_shifted_days("date_sub", "-"))


@raw("date_add", "dateadd", "timestampadd", least=2, most=3)
def date_add(translator: ExpressionTranslator, call: Call, scope: Scope) -> Typed:
    """A date some days later, or a timestamp some units later."""
    name = call.name[-1].lower()
    if len(call.arguments) == 2 and name != "timestampadd":
        arguments = translator.expressions(call.arguments, scope)
        return inherit(_shifted_days(name, "+")(translator, arguments), arguments)
    if len(call.arguments) != 3:
        raise failure(
            "WRONG_NUM_ARGS.WITHOUT_SUGGESTION",
            "42605",
            f"The `{name}` requires 3 parameters but the actual number is {len(call.arguments)}.",
        )
    unit = _unit(call.arguments[0], name)
    amount, moment = translator.expressions(call.arguments[1:], scope)
    moment = _timestamp(translator, moment)
    number = translator.caster.implicit(
        amount, types.INT if unit in _UNIT_MONTHS or unit in ("DAY", "WEEK", "DAYOFYEAR") else types.BIGINT
    ).sql
    if unit in _UNIT_MONTHS:
        step = f"to_months(CAST({number} * {_UNIT_MONTHS[unit]} AS INTEGER))"
    elif unit in ("DAY", "WEEK", "DAYOFYEAR"):
        step = f"to_days(CAST({number} * {7 if unit == 'WEEK' else 1} AS INTEGER))"
    else:
        step = f"to_microseconds({number} * {_UNIT_MICROS[unit]})"
    return inherit(Typed(f"({moment.sql} + {step})", moment.type), [amount, moment])


@python_function("TIMESTAMP", "TIMESTAMP", returns="BIGINT")
def whole_months(start: datetime.datetime, end: datetime.datetime) -> int:
    """Whole months from one moment to another, toward zero."""
    months = (end.year - start.year) * 12 + end.month - start.month
    left = (start.day, start.hour, start.minute, start.second, start.microsecond)
    right = (end.day, end.hour, end.minute, end.second, end.microsecond)
    if months > 0 and right < left:
        return months - 1
    if months < 0 and right > left:
        return months + 1
    return months


@raw("datediff", "date_diff", "timestampdiff", least=2, most=3)
def datediff(translator: ExpressionTranslator, call: Call, scope: Scope) -> Typed:
    """Days from the second date to the first, or whole units from the second argument to the third."""
    name = call.name[-1].lower()
    if len(call.arguments) == 2 and name != "timestampdiff":
        arguments = translator.expressions(call.arguments, scope)
        end, start = (_date(translator, value) for value in arguments)
        return inherit(Typed(f"CAST({end} - {start} AS INTEGER)", types.INT), arguments)
    if len(call.arguments) != 3:
        raise failure(
            "WRONG_NUM_ARGS.WITHOUT_SUGGESTION",
            "42605",
            f"The `{name}` requires 3 parameters but the actual number is {len(call.arguments)}.",
        )
    unit = _unit(call.arguments[0], name)
    values = translator.expressions(call.arguments[1:], scope)
    first, last = (local(translator, value) for value in values)
    if unit in _UNIT_MONTHS:
        sql = f"({translator.python.call('whole_months', [first, last])} // {_UNIT_MONTHS[unit]})"
    else:
        sql = f"((epoch_us({last}) - epoch_us({first})) // {_UNIT_MICROS[unit]})"
    return inherit(Typed(sql, types.BIGINT), values)


@scalar("add_months", least=2)
def add_months(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """The date some months later, at the latest the last day of that month."""
    months = translator.caster.implicit(arguments[1], types.INT).sql
    return Typed(f"CAST({_date(translator, arguments[0])} + to_months({months}) AS DATE)", types.DATE)


@scalar("last_day")
def last_day(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """The last day of the month."""
    return Typed(f"last_day({_date(translator, arguments[0])})", types.DATE)


@scalar("next_day", least=2)
def next_day(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """The first later day that is the named day of the week."""
    return Typed(
        translator.python.call(
            "next_day_of", [_date(translator, arguments[0]), translator.caster.implicit(arguments[1], types.STRING).sql]
        ),
        types.DATE,
    )


@scalar("months_between", least=2, most=3)
def months_between(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """Months between two moments, with a fraction of 31-day months."""
    rounding = translator.caster.implicit(arguments[2], types.BOOLEAN).sql if len(arguments) > 2 else "true"
    return Typed(
        translator.python.call(
            "months_apart", [local(translator, arguments[0]), local(translator, arguments[1]), rounding]
        ),
        types.DOUBLE,
    )


# Truncation ----------------------------------------------------------------------------------------------------------

_DATE_UNITS = {
    "year": "year",
    "yyyy": "year",
    "yy": "year",
    "quarter": "quarter",
    "month": "month",
    "mon": "month",
    "mm": "month",
    "week": "week",
}
_TIME_UNITS = {
    **_DATE_UNITS,
    "day": "day",
    "dd": "day",
    "hour": "hour",
    "minute": "minute",
    "second": "second",
    "millisecond": "millisecond",
    "microsecond": "microsecond",
}


@scalar("trunc", least=2)
def trunc(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """The first day of the year, quarter, month or week."""
    unit = arguments[1].constant
    if not isinstance(unit, str):
        raise unsupported("trunc to a unit that is not a constant")
    if unit.lower() not in _DATE_UNITS:
        return Typed("CAST(NULL AS DATE)", types.DATE)
    return Typed(
        f"CAST(date_trunc('{_DATE_UNITS[unit.lower()]}', {_date(translator, arguments[0])}) AS DATE)", types.DATE
    )


@scalar("date_trunc", least=2)
def date_trunc(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """The start of the unit that a moment falls in."""
    unit = arguments[0].constant
    if not isinstance(unit, str):
        raise unsupported("date_trunc to a unit that is not a constant")
    if unit.lower() not in _TIME_UNITS:
        return Typed("CAST(NULL AS TIMESTAMPTZ)", types.TIMESTAMP)
    return Typed(
        f"CAST(date_trunc('{_TIME_UNITS[unit.lower()]}', {local(translator, arguments[1])}) AS TIMESTAMPTZ)",
        types.TIMESTAMP,
    )


# Text ----------------------------------------------------------------------------------------------------------------


def _pattern(translator: ExpressionTranslator, value: Typed) -> tuple[str, bool]:
    """The pattern's SQL, and whether it names an offset from UTC."""
    if not isinstance(value.constant, str):
        raise unsupported("A datetime pattern that is not a constant")
    java_dates.check_pattern(value.constant)
    return text_literal(value.constant), java_dates.has_offset(value.constant)


@scalar("date_format", least=2)
def date_format(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """A moment as text by a pattern."""
    pattern, zoned = _pattern(translator, arguments[1])
    moment = _timestamp(translator, arguments[0])
    naive = f"CAST({moment.sql} AS TIMESTAMP)"
    if zoned and moment.type.kind == "TIMESTAMP_NTZ":
        raise unsupported("An offset in the pattern of a TIMESTAMP_NTZ")
    offset = f"CAST((epoch_us({naive}) - epoch_us({moment.sql})) // 1000000 AS BIGINT)" if zoned else "0"
    return Typed(translator.python.call("format_datetime", [naive, offset, pattern]), types.STRING)


def _parsed(translator: ExpressionTranslator, text: Typed, pattern: Typed, *, is_try: bool) -> str:
    """Text by a pattern as TIMESTAMPTZ."""
    literal, zoned = _pattern(translator, pattern)
    java_dates.parser(str(pattern.constant))
    sql = translator.python.call(
        "parse_datetime", [translator.caster.implicit(text, types.STRING).sql, literal, "true" if is_try else "false"]
    )
    return f"timezone('UTC', {sql})" if zoned else f"CAST({sql} AS TIMESTAMPTZ)"


def _conversion(names: tuple[str, ...], kind: types.DataType, *, is_try: bool) -> None:
    @scalar(*names, least=1, most=2)
    def convert(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
        value = arguments[0]
        if len(arguments) == 1 or not value.type.is_string:
            if kind.kind == "DATE" and value.type.is_numeric:
                raise wrong_type(names[0], value, '("STRING" or "DATE" or "TIMESTAMP")')
            return translator.caster.cast(value, kind, is_try=is_try)
        parsed = _parsed(translator, value, arguments[1], is_try=is_try)
        return Typed(parsed if kind.kind == "TIMESTAMP" else f"CAST({parsed} AS {kind.engine})", kind)


_conversion(("to_date",), types.DATE, is_try=False)
_conversion(("try_to_date",), types.DATE, is_try=True)
_conversion(("to_timestamp", "to_timestamp_ltz"), types.TIMESTAMP, is_try=False)
_conversion(("try_to_timestamp",), types.TIMESTAMP, is_try=True)
_conversion(("to_timestamp_ntz",), types.TIMESTAMP_NTZ, is_try=False)


def _seconds(sql: str) -> str:
    return f"CAST(floor(epoch_us({sql}) / 1000000.0::DOUBLE) AS BIGINT)"


@scalar("unix_timestamp", "to_unix_timestamp", least=0, most=2)
def unix_timestamp(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """Seconds since 1970."""
    if not arguments:
        return Typed(f"CAST({translator.environment.now_micros // 1_000_000} AS BIGINT)", types.BIGINT)
    value = arguments[0]
    if value.type.is_string:
        pattern = arguments[1] if len(arguments) > 1 else Typed("", types.STRING, constant=_DEFAULT_PATTERN)
        return Typed(_seconds(_parsed(translator, value, pattern, is_try=False)), types.BIGINT)
    # Unlike unix_seconds this rounds towards zero.
    return Typed(f"(epoch_us({translator.caster.implicit(value, types.TIMESTAMP).sql}) // 1000000)", types.BIGINT)


@scalar("from_unixtime", least=1, most=2)
def from_unixtime(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """Seconds since 1970 as text on the session's clock."""
    seconds = translator.caster.implicit(arguments[0], types.BIGINT)
    moment = Typed(f"make_timestamptz({seconds.sql} * 1000000)", types.TIMESTAMP)
    pattern = arguments[1] if len(arguments) > 1 else Typed("", types.STRING, constant=_DEFAULT_PATTERN)
    return date_format(translator, [moment, pattern])


for _name, _factor in (("timestamp_seconds", 1_000_000), ("timestamp_millis", 1000), ("timestamp_micros", 1)):
    simple(_name, f"make_timestamptz({{0}} * {_factor})", [types.BIGINT], types.TIMESTAMP)


@scalar("timestamp_seconds")
def timestamp_seconds(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """The time some seconds, perhaps with a fraction, after 1970."""
    value = arguments[0]
    if value.type.is_fractional:
        seconds = translator.caster.cast(value, types.DOUBLE).sql
        return Typed(f"make_timestamptz(CAST(trunc({seconds} * 1000000) AS BIGINT))", types.TIMESTAMP)
    if value.type.kind == "DECIMAL":
        if value.type.scale > 6 or value.type.precision - value.type.scale > 13:
            raise unsupported("timestamp_seconds of a DECIMAL with more than 6 digits behind the point")
        micros = f"CAST(CAST({value.sql} AS DECIMAL(19,6)) * CAST(1000000 AS DECIMAL(7,0)) AS BIGINT)"
        return Typed(f"make_timestamptz({micros})", types.TIMESTAMP)
    value = translator.caster.implicit(value, types.BIGINT)
    return Typed(f"make_timestamptz({value.sql} * 1000000)", types.TIMESTAMP)


simple("unix_seconds", "CAST(floor(epoch_us({0}) / 1000000.0::DOUBLE) AS BIGINT)", [types.TIMESTAMP], types.BIGINT)
simple("unix_millis", "CAST(floor(epoch_us({0}) / 1000.0::DOUBLE) AS BIGINT)", [types.TIMESTAMP], types.BIGINT)
simple("unix_micros", "epoch_us({0})", [types.TIMESTAMP], types.BIGINT)
simple("unix_date", "CAST({0} - DATE '1970-01-01' AS INTEGER)", [types.DATE], types.INT)
simple("date_from_unix_date", "(DATE '1970-01-01' + {0})", [types.INT], types.DATE)
simple("make_date", "make_date({0}, {1}, {2})", [types.INT, types.INT, types.INT], types.DATE)


@scalar("make_timestamp", "make_timestamp_ntz", least=6, most=6)
def make_timestamp(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """A timestamp of its fields."""
    raise unsupported("make_timestamp here")


_BAD_SECOND = raised(
    "INVALID_FRACTION_OF_SECOND",
    "22023",
    "Valid range for seconds is [0, 60] (inclusive). Use `try_make_timestamp` instead.",
)


def _make(name: str, kind: types.DataType) -> None:
    @scalar(name, least=1, most=7 if kind.kind == "TIMESTAMP" else 6)
    def make(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
        if len(arguments) < 6:
            raise unsupported(f"{name} of a date and a time")
        fields = [translator.caster.implicit(value, types.INT).sql for value in arguments[:5]]
        seconds = translator.caster.implicit(arguments[5], types.DOUBLE).sql
        exact = f"(CASE WHEN {seconds} > 60 AND {seconds} < 61 THEN error({_BAD_SECOND}) ELSE {seconds} END)"
        naive = f"make_timestamp({', '.join(fields)}, CAST({exact} AS DOUBLE))"
        if len(arguments) == 7:
            return Typed(f"timezone({translator.caster.implicit(arguments[6], types.STRING).sql}, {naive})", kind)
        return Typed(f"CAST({naive} AS {kind.engine})", kind)


_make("make_timestamp", types.TIMESTAMP)
_make("make_timestamp_ltz", types.TIMESTAMP)
_make("make_timestamp_ntz", types.TIMESTAMP_NTZ)


# Zones ---------------------------------------------------------------------------------------------------------------


@scalar("from_utc_timestamp", least=2)
def from_utc_timestamp(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """What the clock of a zone shows when that of UTC shows the given time."""
    moment = translator.caster.implicit(arguments[0], types.TIMESTAMP).sql
    zone = translator.caster.implicit(arguments[1], types.STRING).sql
    return Typed(f"make_timestamptz(epoch_us(timezone({zone}, {moment})))", types.TIMESTAMP)


@scalar("to_utc_timestamp", least=2)
def to_utc_timestamp(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """What the clock of UTC shows when that of a zone shows the given time."""
    moment = translator.caster.implicit(arguments[0], types.TIMESTAMP).sql
    zone = translator.caster.implicit(arguments[1], types.STRING).sql
    return Typed(f"timezone({zone}, make_timestamp(epoch_us({moment})))", types.TIMESTAMP)


@scalar("convert_timezone", least=2, most=3)
def convert_timezone(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """A local time of one zone as that of another."""
    if len(arguments) == 2:
        arguments = [Typed("current_setting('TimeZone')", types.STRING), *arguments]
    source, target = (translator.caster.implicit(value, types.STRING).sql for value in arguments[:2])
    moment = translator.caster.implicit(arguments[2], types.TIMESTAMP_NTZ).sql
    return Typed(f"timezone({target}, timezone({source}, {moment}))", types.TIMESTAMP_NTZ)


alias("day", "day")
