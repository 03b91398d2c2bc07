"""What the classes of the original have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from typing_extensions import Self


class Sealed:
    """What the original's classes are: neither made nor extended by others, not pickled, without further attributes."""

    __slots__ = ()

    def __new__(cls, *_arguments: object, **_keywords: object) -> Self:
        raise TypeError(f"cannot create '{cls.__module__}.{cls.__name__}' instances")

    def __init_subclass__(cls) -> None:
        if cls.__base__ is not Sealed:
            base = cls.__base__
            name = "object" if base is None else f"{base.__module__}.{base.__name__}"
            raise TypeError(f"type '{name}' is not an acceptable base type")

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(f"cannot pickle '{type(self).__module__}.{type(self).__name__}' object")
