"""Text functions; positions count from 1."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seakernel.local.sql import types
from seakernel.local.sql.errors import failure, unsupported
from seakernel.local.sql.registry import alias, python, scalar, simple, wrong_type
from seakernel.local.sql.typed import Typed
from seakernel.local.sql.types import text_literal

if TYPE_CHECKING:
    from seakernel.local.sql.expressions import ExpressionTranslator

S, I, B = types.STRING, types.INT, types.BOOLEAN  # noqa: E741


def _text(translator: ExpressionTranslator, value: Typed) -> Typed:
    return translator.caster.implicit(value, S)


@scalar("concat", least=0, most=255)
def concat(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """Texts, binaries or arrays in a row; NULL if one is NULL."""
    if not arguments:
        return Typed("''", S, constant="")
    if any(value.type.kind == "ARRAY" for value in arguments):
        values, kind = translator.common(arguments, "concat")
        joined = " || ".join(f"CAST({value.sql} AS {kind.engine})" for value in values)
        missing = " OR ".join(f"{value.sql} IS NULL" for value in values)
        return Typed(f"(CASE WHEN {missing} THEN NULL ELSE {joined} END)", kind)
    if all(value.type.kind == "BINARY" for value in arguments):
        return Typed("(" + " || ".join(value.sql for value in arguments) + ")", types.BINARY)
    texts = [
        translator.caster.cast(value, S) if not value.type.is_nested else _text(translator, value)
        for value in arguments
    ]
    return Typed("(" + " || ".join(value.sql for value in texts) + ")", S)


@scalar("concat_ws", least=1, most=255)
def concat_ws(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """Texts and arrays of text, NULLs left out, with a separator between."""
    separator = _text(translator, arguments[0])
    lists = []
    for value in arguments[1:]:
        if value.type.kind == "ARRAY":
            lists.append(f"coalesce({translator.caster.cast(value, types.array_of(S)).sql}, CAST([] AS VARCHAR[]))")
        else:
            lists.append(f"[{_text(translator, value).sql}]")
    joined = " || ".join(lists) if lists else "CAST([] AS VARCHAR[])"
    return Typed(
        f"(CASE WHEN {separator.sql} IS NOT NULL THEN array_to_string(list_filter({joined}, lambda part: part IS NOT NULL), {separator.sql}) END)",
        S,
    )


def _ascii_or(name: str, function: str) -> None:
    @scalar(*([name, "ucase"] if name == "upper" else [name, "lcase"]))
    def cased(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
        value = _text(translator, arguments[0])
        if value.volatile:
            return Typed(translator.python.call(function, [value.sql]), S)
        # Beyond ASCII Java has rules of its own, such as ß to SS.
        return Typed(
            f"(CASE WHEN strlen({value.sql}) = length({value.sql}) THEN {name}({value.sql}) ELSE {translator.python.call(function, [value.sql])} END)",
            S,
        )


_ascii_or("upper", "upper_text")
_ascii_or("lower", "lower_text")


@scalar("length", "char_length", "character_length", "len")
def length(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """Characters of a text, or bytes of a binary."""
    if arguments[0].type.kind == "BINARY":
        return Typed(f"CAST(octet_length({arguments[0].sql}) AS INTEGER)", I)
    return Typed(f"CAST(length({_text(translator, arguments[0]).sql}) AS INTEGER)", I)


@scalar("octet_length", "bit_length")
def octet_length(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """Bytes."""
    raise unsupported("octet_length here")


def _bytes(name: str, factor: int) -> None:
    @scalar(name)
    def size(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
        value = arguments[0]
        sql = f"octet_length({value.sql})" if value.type.kind == "BINARY" else f"strlen({_text(translator, value).sql})"
        return Typed(f"CAST({sql} * {factor} AS INTEGER)", I)


_bytes("octet_length", 1)
_bytes("bit_length", 8)


@scalar("substring", "substr", least=2, most=3)
def substring(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """A part of a text."""
    if arguments[0].type.kind == "BINARY":
        raise unsupported("substring of BINARY")
    text = _text(translator, arguments[0])
    position = translator.caster.implicit(arguments[1], I)
    length = translator.caster.implicit(arguments[2], I).sql if len(arguments) > 2 else "2147483647"
    constant = position.constant
    if (
        isinstance(constant, int)
        and constant > 0
        and (len(arguments) < 3 or (isinstance(arguments[2].constant, int) and arguments[2].constant >= 0))
    ):
        return Typed(
            f"substring({text.sql}, {constant}, {length})"
            if len(arguments) > 2
            else f"substring({text.sql}, {constant})",
            S,
        )
    return Typed(translator.python.call("substring_text", [text.sql, position.sql, length]), S)


simple("left", "(CASE WHEN {1} <= 0 AND {0} IS NOT NULL THEN '' ELSE left({0}, {1}) END)", [S, I], S)
simple("right", "(CASE WHEN {1} <= 0 AND {0} IS NOT NULL THEN '' ELSE right({0}, {1}) END)", [S, I], S)
simple("ascii", "CAST(CASE WHEN {0} = '' THEN 0 ELSE unicode({0}) END AS INTEGER)", [S], I)
simple("chr", "(CASE WHEN {0} < 0 THEN '' ELSE chr(CAST({0} % 256 AS INTEGER)) END)", [types.BIGINT], S)
alias("chr", "char")
simple("space", "(CASE WHEN {0} <= 0 THEN '' ELSE repeat(' ', {0}) END)", [I], S)
simple("repeat", "(CASE WHEN {1} <= 0 AND {0} IS NOT NULL THEN '' ELSE repeat({0}, {1}) END)", [S, I], S)
simple("instr", "CAST(instr({0}, {1}) AS INTEGER)", [S, S], I)
simple("startswith", "starts_with({0}, {1})", [S, S], B)
simple("endswith", "ends_with({0}, {1})", [S, S], B)
simple("md5", "md5({0})", [types.BINARY], S)
python("url_encode", "url_encoded", [S], S)
python("url_decode", "url_decoded", [S], S)
python("try_url_decode", "try_url_decoded", [S], S)
python("initcap", "initcap", [S], S)
python("substring_index", "substring_index", [S, S, I], S)
python("translate", "translate_text", [S, S, S], S)
python("soundex", "soundex_code", [S], S)
python("rlike", "regexp_found", [S, S], B)
alias("rlike", "regexp", "regexp_like")
python("regexp_substr", "regexp_first", [S, S], S)
python("regexp_count", "regexp_matches_count", [S, S], I)


@scalar("regexp_instr", least=2, most=3)
def regexp_instr(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """Where a pattern is first found."""
    if len(arguments) > 2:
        raise unsupported("regexp_instr with a third argument")
    return Typed(translator.python.call("regexp_position", [_text(translator, value).sql for value in arguments]), I)


@scalar("contains", least=2)
def contains(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """Whether a text holds another."""
    one, other = (_text(translator, value) for value in arguments)
    return Typed(f"contains({one.sql}, {other.sql})", B)


@scalar("levenshtein", least=2, most=3)
def levenshtein(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """The edit distance, or -1 beyond a threshold."""
    one, other = (_text(translator, value).sql for value in arguments[:2])
    distance = translator.python.call("levenshtein_distance", [one, other])
    if len(arguments) == 3:
        limit = translator.caster.implicit(arguments[2], I).sql
        return Typed(f"(CASE WHEN {distance} <= {limit} THEN {distance} ELSE -1 END)", I)
    return Typed(distance, I)


@scalar("locate", "position", "charindex", least=2, most=3)
def locate(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """Where a text holds another, from a position on."""
    part, text = (_text(translator, value).sql for value in arguments[:2])
    start = translator.caster.implicit(arguments[2], I).sql if len(arguments) > 2 else "1"
    return Typed(translator.python.call("locate_text", [part, text, start]), I)


def _trim(name: str, function: str) -> None:
    @scalar(name, least=1, most=2)
    def trimmed(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
        if len(arguments) == 1:
            # Blanks only: tabs and line ends stay.
            return Typed(f"{function}({_text(translator, arguments[0]).sql}, ' ')", S)
        characters, text = (_text(translator, value).sql for value in arguments)
        return Typed(f"(CASE WHEN {characters} = '' THEN {text} ELSE {function}({text}, {characters}) END)", S)


_trim("trim", "trim")
_trim("ltrim", "ltrim")
_trim("rtrim", "rtrim")


@scalar("btrim", least=1, most=2)
def btrim(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """Trim with its arguments the other way round."""
    return translator.call("trim", list(reversed(arguments)))


def _pad(name: str) -> None:
    @scalar(name, least=2, most=3)
    def padded(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
        if arguments[0].type.kind == "BINARY":
            raise unsupported(f"{name} of BINARY")
        text, size = _text(translator, arguments[0]).sql, translator.caster.implicit(arguments[1], I).sql
        fill = _text(translator, arguments[2]).sql if len(arguments) > 2 else "' '"
        return Typed(
            f"(CASE WHEN {fill} = '' THEN left({text}, greatest({size}, 0)) ELSE {name}({text}, greatest({size}, 0), {fill}) END)",
            S,
        )


_pad("lpad")
_pad("rpad")


@scalar("replace", least=2, most=3)
def replace(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """Every occurrence of a text replaced."""
    texts = [_text(translator, value).sql for value in arguments]
    target = texts[2] if len(texts) > 2 else "''"
    return Typed(f"(CASE WHEN {texts[1]} = '' THEN {texts[0]} ELSE replace({texts[0]}, {texts[1]}, {target}) END)", S)


@scalar("reverse")
def reverse(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """A text or an array back to front."""
    if arguments[0].type.kind == "ARRAY":
        return Typed(f"list_reverse({arguments[0].sql})", arguments[0].type)
    return Typed(translator.python.call("reverse_text", [_text(translator, arguments[0]).sql]), S)


@scalar("split", least=2, most=3)
def split(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """The parts of a text between matches of a pattern."""
    text, pattern = (_text(translator, value).sql for value in arguments[:2])
    limit = translator.caster.implicit(arguments[2], I).sql if len(arguments) > 2 else "-1"
    return Typed(translator.python.call("split_by", [text, pattern, limit]), types.array_of(S))


@scalar("split_part", least=3)
def split_part(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """One part of a text between delimiters, from the end for a negative number."""
    text, delimiter = (_text(translator, value).sql for value in arguments[:2])
    place = translator.caster.implicit(arguments[2], I)
    problem = "error('[INVALID_INDEX_OF_ZERO] The index 0 is invalid. An index shall be either < 0 or > 0 (the first element has index 1). SQLSTATE: 22003')"
    return Typed(
        f"(CASE WHEN {place.sql} = 0 THEN CAST({problem} AS VARCHAR) WHEN {delimiter} = '' THEN CASE WHEN {place.sql} IN (1, -1) THEN {text} ELSE '' END ELSE split_part({text}, {delimiter}, {place.sql}) END)",
        S,
    )


@scalar("regexp_extract", least=2, most=3)
def regexp_extract(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """A group of the first match."""
    text, pattern = (_text(translator, value).sql for value in arguments[:2])
    group = translator.caster.implicit(arguments[2], I).sql if len(arguments) > 2 else "1"
    return Typed(translator.python.call("regexp_group", [text, pattern, group]), S)


@scalar("regexp_extract_all", least=2, most=3)
def regexp_extract_all(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """A group of every match."""
    text, pattern = (_text(translator, value).sql for value in arguments[:2])
    group = translator.caster.implicit(arguments[2], I).sql if len(arguments) > 2 else "1"
    return Typed(translator.python.call("regexp_groups", [text, pattern, group]), types.array_of(S))


@scalar("regexp_replace", least=3, most=4)
def regexp_replace(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """Every match replaced."""
    texts = [_text(translator, value).sql for value in arguments[:3]]
    position = translator.caster.implicit(arguments[3], I).sql if len(arguments) > 3 else "1"
    return Typed(translator.python.call("regexp_replaced", [*texts, position]), S)


@scalar("like", "ilike", least=2, most=3)
def like(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """LIKE as a function."""
    raise unsupported("like as a function")


@scalar("overlay", least=3, most=4)
def overlay(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """A part of a text replaced by another."""
    text, part = (_text(translator, value).sql for value in arguments[:2])
    position = translator.caster.implicit(arguments[2], I).sql
    size = translator.caster.implicit(arguments[3], I).sql if len(arguments) > 3 else f"CAST(length({part}) AS INTEGER)"
    before = f"substring({text}, 1, {position} - 1)"
    return Typed(f"({before} || {part} || substring({text}, {position} + {size}))", S)


@scalar("format_number", least=2)
def format_number(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """A number with its thousands grouped."""
    value = arguments[0]
    if value.type.is_string:
        value = translator.caster.cast(value, types.DOUBLE)
    if not isinstance(arguments[1].constant, int):
        raise unsupported("format_number with a pattern, or with places that are not a constant")
    if not value.type.is_numeric:
        raise wrong_type("format_number", value, "numeric")
    if arguments[1].constant < 0:
        return Typed("CAST(NULL AS VARCHAR)", S)
    return Typed(
        translator.python.call("format_grouped", [f"CAST({value.sql} AS VARCHAR)", str(arguments[1].constant)]), S
    )


@scalar("format_string", "printf", least=1, most=255)
def format_string(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """printf; each value travels as text with a mark of its type."""
    pattern = _text(translator, arguments[0])
    values = []
    for value in arguments[1:]:
        if value.type.is_integral:
            mark, text = "i", f"CAST({value.sql} AS VARCHAR)"
        elif value.type.is_fractional or value.type.kind == "DECIMAL":
            mark, text = "f", translator.caster.text(value)
        elif value.type.is_string or value.type.kind in ("BOOLEAN", "VOID"):
            mark, text = "s", translator.caster.text(value)
        else:
            raise unsupported(f"format_string of {value.type.text}")
        values.append(f"('{mark}' || {text})")
    listed = f"[{', '.join(values)}]" if values else "CAST([] AS VARCHAR[])"
    return Typed(translator.python.call("format_printf", [pattern.sql, listed]), S)


@scalar("mask", least=1, most=5)
def mask(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """Letters and digits replaced by X, x and n."""
    given = [_text(translator, value).sql for value in arguments[1:]]
    defaults = ["'X'", "'x'", "'n'", "CAST(NULL AS VARCHAR)"]
    return Typed(
        translator.python.call("mask_text", [_text(translator, arguments[0]).sql, *given, *defaults[len(given) :]]), S
    )


@scalar("elt", least=2, most=255)
def elt(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """The argument with the given number."""
    place = translator.caster.implicit(arguments[0], I)
    values = [_text(translator, value) for value in arguments[1:]]
    arms = " ".join(f"WHEN {number} THEN {value.sql}" for number, value in enumerate(values, start=1))
    problem = f"'[INVALID_ARRAY_INDEX] The index ' || CAST({place.sql} AS VARCHAR) || ' is out of bounds. The array has {len(values)} elements. SQLSTATE: 22003'"
    return Typed(
        f"(CASE {place.sql} {arms} ELSE CASE WHEN {place.sql} IS NOT NULL THEN CAST(error({problem}) AS VARCHAR) END END)",
        S,
    )


@scalar("find_in_set", least=2)
def find_in_set(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """The place of a text in a comma-separated list, or 0."""
    text, listed = (_text(translator, value).sql for value in arguments)
    return Typed(
        f"(CASE WHEN contains({text}, ',') THEN 0 ELSE CAST(coalesce(list_position(string_split({listed}, ','), {text}), 0) AS INTEGER) END + CASE WHEN {text} IS NULL OR {listed} IS NULL THEN NULL ELSE 0 END)",
        I,
    )


_UNUSED = (failure, text_literal)
