"""Text as Java and Spark write it: numbers, padding, formats, intervals, edit distance."""

from __future__ import annotations

import itertools
import re
import urllib.parse
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal

from seakernel.local.sql.errors import failure, unsupported
from seakernel.local.sql.python_functions import python_function
from seakernel.local.sql.types import DAY_TIME_UNITS

_UNIT_MICROS = {"DAY": 86_400_000_000, "HOUR": 3_600_000_000, "MINUTE": 60_000_000, "SECOND": 1_000_000}
_INTERVAL_UNITS = {"WEEK": 604_800_000_000, **_UNIT_MICROS, "MILLISECOND": 1000, "MICROSECOND": 1}


@python_function("VARCHAR", returns="VARCHAR")
def java_number(text: str) -> str:
    """Turns DuckDB's shortest text of a FLOAT or DOUBLE into Java's: `1.0E10`, `Infinity`."""
    lowered = text.lower()
    if "inf" in lowered:
        return "-Infinity" if lowered.startswith("-") else "Infinity"
    if "nan" in lowered:
        return "NaN"
    sign, digits_tuple, exponent = Decimal(text).normalize().as_tuple()
    digits = "".join(map(str, digits_tuple))
    mark = "-" if sign else ""
    if digits == "0":
        return f"{mark}0.0"
    point = len(digits) + int(exponent)
    if -3 < point <= 7:
        if point <= 0:
            return f"{mark}0.{'0' * -point}{digits}"
        whole = digits[:point].ljust(point, "0")
        return f"{mark}{whole}.{digits[point:] or '0'}"
    return f"{mark}{digits[0]}.{digits[1:] or '0'}E{point - 1}"


@python_function("BIGINT", "VARCHAR", returns="VARCHAR")
def interval_text(amount: int, kind: str) -> str:
    """The text of an interval of `amount` months or microseconds."""
    units = kind.removeprefix("INTERVAL ").split(" TO ")
    start, end = units[0], units[-1]
    mark = "-" if amount < 0 else ""
    amount = abs(amount)
    if start in ("YEAR", "MONTH"):
        body = {"YEAR": str(amount // 12), "MONTH": str(amount)}.get(
            start if start == end else "", f"{amount // 12}-{amount % 12}"
        )
        return f"INTERVAL '{mark}{body}' {kind.removeprefix('INTERVAL ')}"
    parts = []
    for unit in DAY_TIME_UNITS[DAY_TIME_UNITS.index(start) : DAY_TIME_UNITS.index(end) + 1]:
        size = _UNIT_MICROS[unit]
        value, amount = divmod(amount, size)
        text = str(value) if unit == start else f"{value:02d}"
        if unit == "SECOND" and amount:
            text += f".{amount:06d}".rstrip("0")
        parts.append(text)
    body = parts[0] + " " + ":".join(parts[1:]) if start == "DAY" and len(parts) > 1 else ":".join(parts)
    return f"INTERVAL '{mark}{body}' {kind.removeprefix('INTERVAL ')}"


def months_and_micros(text: str) -> tuple[int, int]:
    """Reads `1 day 2 hours` and the like."""
    cleaned = re.sub(r"^\s*interval\b", "", text.strip(), flags=re.IGNORECASE)
    months = micros = 0
    offset = 0
    pattern = re.compile(r"\s*([+-]?)\s*(\d+)(\.\d+)?\s+([a-zA-Z]+)\s*")
    while offset < len(cleaned):
        found = pattern.match(cleaned, offset)
        unit = found[4].upper().removesuffix("S") if found else ""
        if (
            not found
            or (unit not in _INTERVAL_UNITS and unit not in ("YEAR", "MONTH"))
            or (found[3] and unit != "SECOND")
        ):
            raise failure(
                "INVALID_INTERVAL_FORMAT",
                "22006",
                f"Error parsing '{text}' to interval. Please ensure that the value provided is in a valid format for defining an interval.",
            )
        sign = -1 if found[1] == "-" else 1
        if unit in ("YEAR", "MONTH"):
            months += sign * int(found[2]) * (12 if unit == "YEAR" else 1)
        else:
            micros += sign * int(Decimal(found[2] + (found[3] or "")) * _INTERVAL_UNITS[unit])
        offset = found.end()
    return months, micros


@python_function("VARCHAR", returns="VARCHAR")
def url_encoded(text: str) -> str:
    """The text as in an HTML form: a space becomes a plus sign."""
    return urllib.parse.quote_plus(text, safe="*").replace("~", "%7E")


@python_function("VARCHAR", returns="VARCHAR")
def url_decoded(text: str) -> str:
    """The text that `url_encoded` would have made this of."""
    found = try_url_decoded(text)
    if found is None:
        raise failure(
            "CANNOT_DECODE_URL",
            "22546",
            f"The provided URL cannot be decoded: {text}. Please ensure that the URL is properly formatted and try again.",
        )
    return found


@python_function("VARCHAR", returns="VARCHAR")
def try_url_decoded(text: str) -> str | None:
    """As `url_decoded`, but NULL for a text that is none."""
    if re.search(r"%(?![0-9A-Fa-f]{2})", text):
        return None
    return urllib.parse.unquote_plus(text)


def interval_units(text: str) -> list[str]:
    """The units that the text of an interval names, such as DAY and HOUR in `1 day 2 hours`."""
    words = re.findall(r"[a-z]+", re.sub(r"^\s*interval\b", "", text.strip(), flags=re.IGNORECASE), re.IGNORECASE)
    units = [word.upper().removesuffix("S") for word in words]
    return [unit for unit in units if unit in _INTERVAL_UNITS or unit in ("YEAR", "MONTH")] or ["SECOND"]


def unit_text(text: str, start: str, end: str) -> tuple[int, int]:
    """Reads the text of a literal over units, such as `1-2` YEAR TO MONTH or `1 02:03:04.5` DAY TO SECOND."""
    problem = failure(
        "INVALID_INTERVAL_FORMAT",
        "22006",
        f"Error parsing '{text}' to interval, {start} TO {end}. Please ensure that the value provided is in a valid format for defining an interval.",
    )
    cleaned = text.strip()
    sign = -1 if cleaned.startswith("-") else 1
    cleaned = cleaned.lstrip("+-")
    if start in ("YEAR", "MONTH"):
        if start == end:
            if not cleaned.isdigit():
                raise problem
            return sign * int(cleaned) * (12 if start == "YEAR" else 1), 0
        found = re.fullmatch(r"(\d+)-(\d{1,2})", cleaned)
        if not found or int(found[2]) > 11:
            raise problem
        return sign * (int(found[1]) * 12 + int(found[2])), 0
    units = DAY_TIME_UNITS[DAY_TIME_UNITS.index(start) : DAY_TIME_UNITS.index(end) + 1]
    pattern = r"(\d+)"
    for before, unit in itertools.pairwise(units):
        pattern += (r"\s+" if before == "DAY" else ":") + r"(\d{1,2})"
        del unit
    if end == "SECOND":
        pattern += r"(\.\d{1,9})?"
    found = re.fullmatch(pattern, cleaned)
    if not found:
        raise problem
    micros = sum(int(found[place + 1]) * _UNIT_MICROS[unit] for place, unit in enumerate(units))
    for place, unit in enumerate(units[1:], start=2):
        if int(found[place]) > (23 if unit == "HOUR" else 59):
            raise problem
    if end == "SECOND" and found[len(units) + 1]:
        micros += int(Decimal("0" + found[len(units) + 1]) * 1_000_000)
    return 0, sign * micros


@python_function("VARCHAR", "VARCHAR", returns="INTERVAL")
def interval_from_text(text: str, kind: str) -> object:
    """Reads text as an interval of the given type."""
    import datetime

    units = kind.removeprefix("INTERVAL ").split(" TO ")
    found = re.fullmatch(r"\s*(?:interval\s*)?'?([^']*)'?\s*(?:[a-z ]+)?", text, flags=re.IGNORECASE)
    if units[0] in ("YEAR", "MONTH") or not found:
        raise failure(
            "UNSUPPORTED_FEATURE.LOCAL_WAREHOUSE",
            "0A000",
            "The cast of text to a year-month interval is not in the local warehouse.",
        )
    return datetime.timedelta(microseconds=unit_text(found[1], units[0], units[-1])[1])


@python_function("VARCHAR", returns="VARCHAR")
def initcap(text: str) -> str:
    """The first letter of each word in upper case, the others in lower case; words are parted by blanks."""
    return " ".join(word[:1].title() + word[1:].lower() for word in text.split(" "))


@python_function("VARCHAR", returns="VARCHAR")
def upper_text(text: str) -> str:
    """Upper case with the special cases of Unicode, as Java has it."""
    return text.upper()


@python_function("VARCHAR", returns="VARCHAR")
def lower_text(text: str) -> str:
    """Lower case with the special cases of Unicode, as Java has it."""
    return text.lower()


@python_function("VARCHAR", returns="VARCHAR")
def reverse_text(text: str) -> str:
    """The code points in reverse order."""
    return text[::-1]


@python_function("VARCHAR", "BIGINT", "BIGINT", returns="VARCHAR")
def substring_text(text: str, position: int, length: int) -> str:
    """Spark's substring: positions from 1, 0 read as 1, negative ones from the end."""
    start = position - 1 if position > 0 else (len(text) + position if position < 0 else 0)
    end = start + length
    return text[max(start, 0) : max(end, 0)]


@python_function("VARCHAR", "VARCHAR", "INTEGER", returns="VARCHAR")
def substring_index(text: str, delimiter: str, count: int) -> str:
    """What stands before the `count`th delimiter, from the right for a negative count."""
    if not delimiter or count == 0:
        return ""
    parts = text.split(delimiter)
    return delimiter.join(parts[:count] if count > 0 else parts[count:])


@python_function("VARCHAR", "VARCHAR", "INTEGER", returns="INTEGER")
def locate_text(part: str, text: str, position: int) -> int:
    """The position of `part` in `text` from `position` on, counted from 1, or 0."""
    return text.find(part, position - 1) + 1 if position > 0 else 0


@python_function("VARCHAR", "VARCHAR", "VARCHAR", "VARCHAR", "VARCHAR", returns="VARCHAR", takes_nulls=True)
def mask_text(
    text: str | None, upper: str | None, lower: str | None, digit: str | None, other: str | None
) -> str | None:
    """Replaces each character by the one for its class; a NULL replacement keeps the class."""
    if text is None:
        return None

    def replace(character: str) -> str:
        chosen = (
            upper if character.isupper() else lower if character.islower() else digit if character.isdigit() else other
        )
        return character if chosen is None else chosen

    return "".join(map(replace, text))


@python_function("VARCHAR", "VARCHAR", "VARCHAR", returns="VARCHAR")
def translate_text(text: str, source: str, target: str) -> str:
    """Replaces each character of `source` by the one at its place in `target`, or drops it."""
    table: dict[int, str | None] = {}
    for place, character in enumerate(source):
        table.setdefault(ord(character), target[place] if place < len(target) else None)
    return text.translate(table)


@python_function("VARCHAR", "VARCHAR", returns="INTEGER")
def levenshtein_distance(left: str, right: str) -> int:
    """The number of single-character edits between two texts."""
    previous = list(range(len(right) + 1))
    for row, one in enumerate(left, start=1):
        current = [row]
        for column, other in enumerate(right, start=1):
            current.append(min(previous[column] + 1, current[-1] + 1, previous[column - 1] + (one != other)))
        previous = current
    return previous[-1]


@python_function("VARCHAR", returns="VARCHAR")
def soundex_code(text: str) -> str:
    """Spark's soundex; a text that does not start with a Latin letter is its own code."""
    codes = "01230127022455012623017202"
    if not text or not ("A" <= text[0].upper() <= "Z"):
        return text
    first = text[0].upper()
    result = first
    last = codes[ord(first) - 65]
    for character in text[1:]:
        upper = character.upper()
        if not "A" <= upper <= "Z":
            last = "0"
            continue
        code = codes[ord(upper) - 65]
        if code == "7":
            continue
        if code not in ("0", last):
            result += code
            if len(result) == 4:
                break
        last = code
    return result.ljust(4, "0")


@python_function("VARCHAR", "INTEGER", returns="VARCHAR")
def format_grouped(number: str, places: int) -> str:
    """format_number with a count of decimal places: thousands grouped, halves rounded to even as DecimalFormat does."""
    if number.lower() in ("nan", "inf", "-inf"):
        return {"nan": "NaN", "inf": "∞", "-inf": "-∞"}[number.lower()]
    value = Decimal(number).quantize(Decimal(1).scaleb(-places), rounding=ROUND_HALF_EVEN)
    return f"{value:,.{places}f}"


@python_function("VARCHAR", "INTEGER", "INTEGER", returns="VARCHAR")
def convert_base(text: str, source: int, target: int) -> str | None:
    """conv: a number from one base to another, as an unsigned 64-bit number unless the target base is negative."""
    digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    if not (2 <= abs(source) <= 36 and 2 <= abs(target) <= 36) or not text.strip():
        return None
    cleaned = text.strip().upper()
    negative = cleaned.startswith("-")
    value = 0
    for character in cleaned.lstrip("-"):
        place = digits.find(character)
        if not 0 <= place < abs(source):
            break
        value = value * abs(source) + place
    if value >= 1 << 64:
        raise failure("ARITHMETIC_OVERFLOW", "22003", "Overflow in function conv().")
    if negative:
        value = -value
    if target > 0:
        value %= 1 << 64
        sign = ""
    else:
        value = (value + (1 << 63)) % (1 << 64) - (1 << 63)
        sign = "-" if value < 0 else ""
        value = abs(value)
    out = ""
    while True:
        value, rest = divmod(value, abs(target))
        out = digits[rest] + out
        if value == 0:
            return sign + out


@python_function("DOUBLE", "INTEGER", returns="DOUBLE")
def round_double(value: float, places: int) -> float:
    """Rounds half up on the shortest decimal text of the number, as Spark does."""
    return _rounded(value, places, ROUND_HALF_UP)


@python_function("DOUBLE", "INTEGER", returns="DOUBLE")
def bround_double(value: float, places: int) -> float:
    """Rounds half to even on the shortest decimal text of the number."""
    return _rounded(value, places, ROUND_HALF_EVEN)


def _rounded(value: float, places: int, rounding: str) -> float:
    if value != value or value in (float("inf"), float("-inf")):  # noqa: PLR0124
        return value
    if places > 308:
        return value
    import decimal

    with decimal.localcontext() as context:
        context.prec = 700
        return float(Decimal(repr(value)).quantize(Decimal(1).scaleb(-places), rounding=rounding))


@python_function("VARCHAR", "VARCHAR[]", returns="VARCHAR")
def format_printf(pattern: str, arguments: list[str | None]) -> str:
    """format_string for %s, %d, %x and %f with flags, width and precision; arguments come as text with a type mark."""
    values = iter(arguments)
    if re.search(r"%\d+\$|%<", pattern.replace("%%", "")):
        raise unsupported("format_string with numbered arguments")

    def one(found: re.Match[str]) -> str:
        flags, width, precision, conversion = found[1], found[2], found[3], found[4]
        if conversion == "%":
            return "%"
        if conversion == "n":
            return "\n"
        try:
            marked = next(values)
        except StopIteration:
            raise failure("INTERNAL_ERROR", "XX000", f"Format specifier '{found[0]}' has no argument.") from None
        return _printf(flags, width, precision, conversion, marked)

    return re.sub(r"%([-#+ 0,(]*)(\d*)(\.\d+)?([a-zA-Z%])", one, pattern)


def _printf(flags: str, width: str, precision: str | None, conversion: str, marked: str | None) -> str:
    mark, text = (marked[0], marked[1:]) if marked else ("s", "null")
    number = mark in "if" and marked is not None
    if conversion in "sS":
        body = text[: int(precision[1:])] if precision else text
        body = body.upper() if conversion == "S" else body
    elif marked is None:
        body = "null"
    elif conversion in "dxXo" and mark == "i":
        value = int(text)
        body = {"d": f"{value:,d}" if "," in flags else str(value)}.get(conversion) or format(
            value % (1 << 64 if value < 0 else 1 << 70), conversion
        )
    elif conversion == "f" and mark == "f":
        exact = Decimal(text).quantize(
            Decimal(1).scaleb(-int(precision[1:] if precision else 6)), rounding=ROUND_HALF_UP
        )
        body = f"{exact:,f}" if "," in flags else f"{exact:f}"
    else:
        raise failure(
            "UNSUPPORTED_FEATURE.LOCAL_WAREHOUSE",
            "0A000",
            f"The format %{conversion} of this type is not in the local warehouse.",
        )
    if number and conversion in "df" and not body.startswith("-"):
        body = ("+" if "+" in flags else " " if " " in flags else "") + body
    if "(" in flags or "#" in flags:
        raise failure(
            "UNSUPPORTED_FEATURE.LOCAL_WAREHOUSE", "0A000", "The format flags ( and # are not in the local warehouse."
        )
    size = int(width or 0)
    if "-" in flags:
        return body.ljust(size)
    if "0" in flags and conversion != "s":
        sign = body[0] if body[:1] in "+- " and body else ""
        return sign + body[len(sign) :].rjust(size - len(sign), "0")
    return body.rjust(size)
