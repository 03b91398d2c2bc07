"""Digests, checksums and encodings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seakernel.local.sql import types
from seakernel.local.sql.errors import unsupported
from seakernel.local.sql.registry import alias, python, scalar, simple, wrong_type
from seakernel.local.sql.typed import Typed

if TYPE_CHECKING:
    from seakernel.local.sql.expressions import ExpressionTranslator

simple("md5", "md5({0})", [types.BINARY], types.STRING)
simple("sha1", "sha1({0})", [types.BINARY], types.STRING)
alias("sha1", "sha")
python("sha2", "sha2_of", [types.BINARY, types.INT], types.STRING)
python("crc32", "crc32_of", [types.BINARY], types.BIGINT)
simple("base64", "to_base64({0})", [types.BINARY], types.STRING)
python("unbase64", "unbase64_of", [types.STRING], types.BINARY)
python("unhex", "unhex_of", [types.STRING], types.BINARY)


@scalar("hex")
def hexadecimal(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """Hexadecimal digits of a number, a text or a binary."""
    value = arguments[0]
    if value.type.is_numeric:
        number = translator.caster.implicit(value, types.BIGINT)
        unsigned = f"(CASE WHEN {number.sql} < 0 THEN CAST({number.sql} AS HUGEINT) + 18446744073709551616 ELSE CAST({number.sql} AS HUGEINT) END)"
        return Typed(f"upper(to_hex(CAST({unsigned} AS UBIGINT)))", types.STRING)
    if value.type.kind == "BINARY":
        return Typed(f"hex({value.sql})", types.STRING)
    if value.type.is_string or value.type.kind == "VOID":
        return Typed(f"hex(encode({translator.caster.implicit(value, types.STRING).sql}))", types.STRING)
    raise wrong_type("hex", value, '("BIGINT" or "BINARY" or "STRING")')


@scalar("bin")
def binary_digits(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """Binary digits of a number."""
    number = translator.caster.implicit(arguments[0], types.BIGINT)
    unsigned = f"(CASE WHEN {number.sql} < 0 THEN CAST({number.sql} AS HUGEINT) + 18446744073709551616 ELSE CAST({number.sql} AS HUGEINT) END)"
    return Typed(f"to_binary(CAST({unsigned} AS UBIGINT))", types.STRING)


@scalar("encode", least=2)
def encode(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """Text as bytes."""
    if str(arguments[1].constant).lower() not in ("utf-8", "utf8"):
        raise unsupported("encode to another character set than UTF-8")
    return Typed(f"encode({translator.caster.implicit(arguments[0], types.STRING).sql})", types.BINARY)


@scalar("to_binary", least=1, most=2)
def to_binary(translator: ExpressionTranslator, arguments: list[Typed]) -> Typed:
    """Text as bytes, by hexadecimal digits, base 64 or UTF-8."""
    form = str(arguments[1].constant).lower() if len(arguments) > 1 else "hex"
    if form in ("utf-8", "utf8"):
        return Typed(f"encode({translator.caster.implicit(arguments[0], types.STRING).sql})", types.BINARY)
    if form == "base64":
        return translator.call("unbase64", arguments[:1])
    raise unsupported("to_binary from hexadecimal digits")
