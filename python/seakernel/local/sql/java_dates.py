"""Java date patterns (`yyyy-MM-dd`), letter by letter: a letter without a rule is refused."""

from __future__ import annotations

import datetime
import re
from functools import lru_cache

from seakernel.local.sql.errors import failure, unsupported
from seakernel.local.sql.python_functions import python_function

_MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_EPOCH = datetime.datetime(1970, 1, 1)  # noqa: DTZ001
_OFFSET_LETTERS = frozenset("XxZO")


@lru_cache(maxsize=512)
def pieces(pattern: str) -> tuple[tuple[str, int, str], ...]:
    """The pattern as pieces: a letter with its count, or no letter and a fixed text."""
    out: list[tuple[str, int, str]] = []
    for found in re.finditer(r"'((?:[^']|'')*)'|([A-Za-z])\2*|([^A-Za-z'])|(')", pattern, flags=re.DOTALL):
        if found[4]:
            raise failure(
                "INVALID_DATETIME_PATTERN.ILLEGAL_CHARACTER", "22007", f"Unrecognized datetime pattern: {pattern}."
            )
        if found[1] is not None:
            out.append(("", 0, found[1].replace("''", "'") or "'"))
        elif found[3]:
            if found[3] in "[]{}#":
                raise unsupported(f"The character {found[3]} in a datetime pattern")
            out.append(("", 0, found[3]))
        else:
            out.append((found[2], len(found[0]), found[0]))
    return tuple(out)


def has_offset(pattern: str) -> bool:
    """Whether the pattern names the offset from UTC."""
    return any(letter in _OFFSET_LETTERS for letter, _, _ in pieces(pattern) if letter)


def _refuse(letter: str, count: int) -> Exception:
    return unsupported(f"The datetime pattern letter {letter * count}")


def _offset_text(letter: str, count: int, seconds: int) -> str:
    if letter == "X" and seconds == 0 and count <= 3:
        return "Z"
    sign = "-" if seconds < 0 else "+"
    hours, minutes = divmod(abs(seconds) // 60, 60)
    if letter == "O" or (letter == "Z" and count > 3) or (letter in "Xx" and count > 3):
        raise _refuse(letter, count)
    if letter in "Xx" and count == 1:
        return f"{sign}{hours:02d}" + (f"{minutes:02d}" if minutes else "")
    colon = ":" if letter in "Xx" and count == 3 else ""
    return f"{sign}{hours:02d}{colon}{minutes:02d}"


def _formatted(letter: str, count: int, moment: datetime.datetime, offset: int) -> str:
    if letter == "y" and count > 6:
        raise _refuse(letter, count)
    if letter == "y":
        return f"{moment.year % 100:02d}" if count == 2 else str(moment.year).zfill(count)
    if letter in "ML":
        name = _MONTHS[moment.month - 1]
        return {1: str(moment.month), 2: f"{moment.month:02d}", 3: name[:3], 4: name}.get(count) or _raise(
            letter, count
        )
    if letter == "E" and count <= 4:
        name = _DAYS[moment.weekday()]
        return name if count == 4 else name[:3]
    if letter == "a" and count == 1:
        return "AM" if moment.hour < 12 else "PM"
    if letter == "S" and count <= 9:
        return f"{moment.microsecond:06d}".ljust(9, "0")[:count]
    if letter in "qQ":
        quarter = (moment.month + 2) // 3
        return {
            1: str(quarter),
            2: f"{quarter:02d}",
            3: f"Q{quarter}",
            4: ("1st", "2nd", "3rd", "4th")[quarter - 1] + " quarter",
        }.get(count) or _raise(letter, count)
    if letter == "G" and count <= 3:
        return "AD"
    if letter in _OFFSET_LETTERS:
        return _offset_text(letter, count, offset)
    number = {
        "d": moment.day,
        "D": moment.timetuple().tm_yday,
        "H": moment.hour,
        "k": moment.hour or 24,
        "h": moment.hour % 12 or 12,
        "K": moment.hour % 12,
        "m": moment.minute,
        "s": moment.second,
    }.get(letter)
    if number is None or count > (3 if letter == "D" else 2):
        raise _refuse(letter, count)
    return str(number).zfill(count)


def _raise(letter: str, count: int) -> str:
    raise _refuse(letter, count)


def check_pattern(pattern: str) -> None:
    """Refuses a pattern with a letter that has no rule, before any row is seen."""
    for letter, count, _ in pieces(pattern):
        if letter:
            _formatted(letter, count, _EPOCH, 0)


@python_function("TIMESTAMP", "BIGINT", "VARCHAR", returns="VARCHAR")
def format_datetime(moment: datetime.datetime, offset: int, pattern: str) -> str:
    """Writes a local time; `offset` is its distance from UTC in seconds."""
    return "".join(
        text if not letter else _formatted(letter, count, moment, offset) for letter, count, text in pieces(pattern)
    )


_NUMBER_LETTERS = {
    "d": "day",
    "H": "hour",
    "k": "hour24",
    "h": "hour12",
    "K": "hour11",
    "m": "minute",
    "s": "second",
    "D": "yearday",
}


@lru_cache(maxsize=512)
def parser(pattern: str) -> tuple[re.Pattern[str], tuple[str, ...]]:
    """A regular expression for texts in this pattern, with the meaning of each of its groups."""
    regex: list[str] = []
    meanings: list[str] = []
    for letter, count, text in pieces(pattern):
        if not letter:
            regex.append(re.escape(text))
            continue
        meaning, body = _parsed(letter, count)
        meanings.append(meaning)
        regex.append(f"({body})")
    if "yearday" in meanings and {"month", "monthname", "day"} & set(meanings):
        raise unsupported("A datetime pattern with both the day of the year and a month or day")
    return re.compile("".join(regex), re.IGNORECASE), tuple(meanings)


def _parsed(letter: str, count: int) -> tuple[str, str]:
    if letter == "y":
        return (
            ("year2", r"\d{2}")
            if count == 2
            else ("year", rf"\d{{{count},{max(count, 4)}}}" if count < 5 else _raise(letter, count))
        )
    if letter in "ML":
        if count <= 2:
            return "month", r"\d{2}" if count == 2 else r"\d{1,2}"
        names = [name[:3] if count == 3 else name for name in _MONTHS]
        return "monthname", "|".join(names) if count <= 4 else _raise(letter, count)
    if letter == "E" and count <= 4:
        return "", "|".join(name if count == 4 else name[:3] for name in _DAYS)
    if letter == "a" and count == 1:
        return "half", "AM|PM"
    if letter == "S" and count <= 9:
        return "fraction", rf"\d{{1,{count}}}"
    if letter == "X" and count <= 3:
        return "offset", r"Z|[+-]\d{2}(?::?\d{2})?" if count != 3 else r"Z|[+-]\d{2}:\d{2}"
    if letter in "xZ" and count <= 3:
        return "offset", r"[+-]\d{2}:?\d{2}" if letter == "Z" or count > 1 else r"[+-]\d{2}(?:\d{2})?"
    meaning = _NUMBER_LETTERS.get(letter)
    if meaning is None or count > (3 if letter == "D" else 2):
        raise _refuse(letter, count)
    return meaning, rf"\d{{{count}}}" if count > 1 else (r"\d{1,3}" if letter == "D" else r"\d{1,2}")


@python_function("VARCHAR", "VARCHAR", "BOOLEAN", returns="TIMESTAMP")
def parse_datetime(text: str, pattern: str, is_try: bool) -> datetime.datetime | None:
    """Reads a text by a pattern: a local time, or UTC if the pattern has an offset."""
    regex, meanings = parser(pattern)
    found = regex.fullmatch(text)
    moment = _moment(dict(zip(meanings, found.groups(), strict=True))) if found else None
    if moment is None and not is_try:
        raise failure(
            "CANNOT_PARSE_TIMESTAMP",
            "22007",
            f"Text '{text}' could not be parsed by the pattern '{pattern}'. Use `try_to_timestamp` to tolerate invalid input string and return NULL instead.",
        )
    return moment


def _moment(parts: dict[str, str]) -> datetime.datetime | None:
    number = {
        name: int(text) for name, text in parts.items() if name not in ("", "monthname", "half", "fraction", "offset")
    }
    year = number.get("year", 2000 + number["year2"] if "year2" in number else 1970)
    month = number.get("month", 1)
    if "monthname" in parts:
        month = next(
            place for place, name in enumerate(_MONTHS, 1) if name.lower().startswith(parts["monthname"].lower())
        )
    hour = number.get("hour", number.get("hour24", 0) % 24)
    if "hour12" in number or "hour11" in number:
        if "hour12" in number and not 1 <= number["hour12"] <= 12:
            return None
        hour = number.get("hour11", number.get("hour12", 0) % 12) + (
            12 if parts.get("half", "AM").upper() == "PM" else 0
        )
    micros = int(parts.get("fraction", "0").ljust(9, "0")[:6])
    try:
        moment = datetime.datetime(  # noqa: DTZ001 - the zone is applied later
            year, month, number.get("day", 1), hour, number.get("minute", 0), number.get("second", 0), micros
        )
        if "yearday" in number:
            moment = moment.replace(month=1, day=1) + datetime.timedelta(days=number["yearday"] - 1)
            if moment.year != year:
                return None
        offset = parts.get("offset")
        if offset and offset.upper() != "Z":
            digits = offset[1:].replace(":", "")
            shift = datetime.timedelta(hours=int(digits[:2]), minutes=int(digits[2:4] or 0))
            moment = moment - shift if offset[0] == "+" else moment + shift
    except (ValueError, OverflowError):
        return None
    return moment


@python_function("DATE", "VARCHAR", returns="DATE")
def next_day_of(day: datetime.date, name: str) -> datetime.date:
    """The first day after `day` that is the named day of the week."""
    cleaned = name.strip().lower()
    for place, full in enumerate(_DAYS):
        if cleaned in (full.lower(), full[:3].lower(), full[:2].lower()):
            return day + datetime.timedelta(days=(place - day.weekday() - 1) % 7 + 1)
    raise failure("ILLEGAL_DAY_OF_WEEK", "22009", f"Illegal input for day of week: {name}.")


@python_function("TIMESTAMP", "TIMESTAMP", "BOOLEAN", returns="DOUBLE")
def months_apart(end: datetime.datetime, start: datetime.datetime, round_off: bool) -> float:
    """months_between: whole months if both are the same or the last day of their month, else by months of 31 days."""
    months = (end.year - start.year) * 12 + end.month - start.month

    def is_last(moment: datetime.datetime) -> bool:
        return (moment + datetime.timedelta(days=1)).month != moment.month

    if end.day == start.day or (is_last(end) and is_last(start)):
        return float(months)

    def seconds(moment: datetime.datetime) -> int:
        return moment.hour * 3600 + moment.minute * 60 + moment.second

    apart = months + ((end.day - start.day) * 86400 + seconds(end) - seconds(start)) / (31 * 86400)
    return round(apart, 8) if round_off else apart
