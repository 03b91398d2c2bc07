"""Rows: tuples whose values also go by their column's name."""

from __future__ import annotations

from functools import lru_cache
from operator import itemgetter
from typing import TYPE_CHECKING, Any, ClassVar, SupportsIndex, overload

from seakernel.exceptions import ProgrammingError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Row"]


class Row(tuple[Any, ...]):
    """A row of a result: a tuple whose values can also be had by the names of their columns.

    `row.name` and `row["name"]` are the value of column `name`, `row[0]` and slices are those of every tuple, and so are
    `in`, which looks at values, equality, order, hash and unpacking. `case Row(name="a")` matches. A row can be copied and
    pickled.

    Names are taken as they are, letter case included. A name that several columns have is an error, never one of them at
    random: use an index. A column named `count` or `index` wins over the tuple's method of that name; one named like another
    attribute of this class, or `__like_this__`, is reached by `row["asDict"]`, as are names that are no identifiers. A name
    such as `sum(x)` works with `getattr` as well.

    Example:
        >>> from seakernel import Row
        >>> row = Row(id=1, name="a")
        >>> row, row.name, row["id"], row[-1], row == (1, "a")
        (Row(id=1, name='a'), 'a', 1, 'a', True)

    Attributes:
        __fields__: The names of the columns, as the server gave them; names may repeat.
        _fields: A name for each value that `getattr` takes, as named tuples have it: the column's name, or `_` and its
            position where that is not possible.
    """

    __slots__ = ()
    __fields__: ClassVar[tuple[str, ...]] = ()
    _fields: ClassVar[tuple[str, ...]] = ()
    # None marks a name that several columns have.
    _positions: ClassVar[dict[str, int | None]] = {}

    def __new__(cls, /, **values: Any) -> Row:  # noqa: PYI034 - of the class with these columns
        """Makes a row with a column for each keyword, as tests and placeholders need it."""
        return tuple.__new__(row_class(tuple(values)), values.values())

    def asDict(self, recursive: bool = False) -> dict[str, Any]:  # noqa: N802 - the connector's and Spark's name
        """Returns the values by name.

        Args:
            recursive: Whether rows within the values become dicts too. Those of a query hold none: a STRUCT is a dict.

        Raises:
            ProgrammingError: several columns have the same name.

        Example:
            >>> from seakernel import Row
            >>> Row(id=1, name="a").asDict()
            {'id': 1, 'name': 'a'}
        """
        if repeated := [name for name, position in self._positions.items() if position is None]:
            raise ProgrammingError(
                f"column name `{repeated[0]}` repeats, and a dict would lose values; name the columns apart with `AS`",
                kind="InvalidArgument",
            )
        return dict(zip(self.__fields__, map(_plain, self) if recursive else self, strict=True))

    def _asdict(self) -> dict[str, Any]:
        """Returns the values by the names in `_fields`, as every named tuple does."""
        return dict(zip(self._fields, self, strict=True))

    @overload
    def __getitem__(self, key: SupportsIndex | str, /) -> Any: ...
    @overload
    def __getitem__(self, key: slice, /) -> tuple[Any, ...]: ...
    def __getitem__(self, key: SupportsIndex | str | slice, /) -> Any:
        if isinstance(key, str):
            position = self._positions.get(key)
            if position is None:
                raise KeyError(self._why_not(key))
            return tuple.__getitem__(self, position)
        return tuple.__getitem__(self, key)

    # Called only where no such attribute was found.
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            # Libraries ask every object for those.
            raise AttributeError(name, name=name, obj=self)
        raise AttributeError(self._why_not(name), name=name, obj=self)

    def __repr__(self) -> str:
        return f"Row({', '.join(f'{name}={value!r}' for name, value in zip(self.__fields__, self, strict=True))})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (self.__fields__, tuple(self))

    def _why_not(self, name: str) -> str:
        if name in self._positions:
            places = [str(position) for position, field in enumerate(self.__fields__) if field == name]
            return f"columns {' and '.join(places)} are both named `{name}`; use an index"
        import difflib

        nearest = difflib.get_close_matches(name, self.__fields__, 1)
        return f"the row has no column `{name}`" + (f"; did you mean `{nearest[0]}`?" if nearest else "")


# Attributes of every row. A column may have the name of a tuple's method, and hides it.
_RESERVED = frozenset(dir(Row)) - {"count", "index"}


@lru_cache(maxsize=256)
def row_class(names: tuple[str, ...]) -> type[Row]:
    """Returns the class of rows with these columns; the extension makes rows of it in bulk."""
    positions: dict[str, int | None] = {}
    for position, name in enumerate(names):
        positions[name] = None if name in positions else position
    namespace: dict[str, Any] = {"__slots__": (), "__module__": __name__, "__fields__": names, "_positions": positions}
    fields = []
    for position, name in enumerate(names):
        is_attribute = name not in _RESERVED and not (name.startswith("__") and name.endswith("__"))
        if is_attribute:
            # The getter of a repeated name fails with AttributeError, and `__getattr__` says why.
            namespace[name] = property(itemgetter(position)) if positions[name] is not None else property()
        field = name
        if not is_attribute or positions[name] is None:
            field = f"_{position}"
            while field in positions:
                field += "_"
            namespace[field] = property(itemgetter(position))
        fields.append(field)
    return type("Row", (Row,), {**namespace, "_fields": tuple(fields)})


def _restored(names: tuple[str, ...], values: Sequence[Any]) -> Row:
    return tuple.__new__(row_class(names), values)


def _plain(value: Any) -> Any:
    if isinstance(value, Row):
        return value.asDict(recursive=True)
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value
