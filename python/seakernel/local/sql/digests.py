"""Checksums, digests and encodings that DuckDB lacks or does differently."""

from __future__ import annotations

import base64
import hashlib
import zlib

from seakernel.local.sql.errors import failure
from seakernel.local.sql.python_functions import python_function


@python_function("BLOB", returns="BIGINT")
def crc32_of(data: bytes) -> int:
    """The CRC-32 checksum."""
    return zlib.crc32(data)


@python_function("BLOB", "INTEGER", returns="VARCHAR")
def sha2_of(data: bytes, bits: int) -> str | None:
    """The SHA-2 digest of 224, 256, 384 or 512 bits in hexadecimal digits; 0 means 256, another length is NULL."""
    name = {0: "sha256", 224: "sha224", 256: "sha256", 384: "sha384", 512: "sha512"}.get(bits)
    return hashlib.new(name, data).hexdigest() if name else None


@python_function("VARCHAR", returns="BLOB")
def unbase64_of(text: str) -> bytes:
    """Decodes base 64."""
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise failure(
            "CONVERSION_INVALID_INPUT",
            "22018",
            f"The value '{text}' (STRING) cannot be converted to BINARY because it is malformed.",
        ) from None


@python_function("VARCHAR", returns="BLOB")
def unhex_of(text: str) -> bytes | None:
    """Decodes hexadecimal digits; NULL if they are none."""
    try:
        return bytes.fromhex("0" * (len(text) % 2) + text) if " " not in text else None
    except ValueError:
        return None
