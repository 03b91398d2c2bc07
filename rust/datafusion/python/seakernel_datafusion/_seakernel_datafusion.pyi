"""The extension module; everything of it is re-exported by `seakernel_datafusion`."""

from collections.abc import Mapping, Sequence
from typing import Any, final

from seakernel import Session

__all__ = ["Catalog", "Table"]

@final
class Table:
    """A table or query of a warehouse, for `SessionContext.register_table` and `read_table` of DataFusion.

    Made by `Connection.table` and `Connection.query`. Its columns are those of the moment it was made. Each scan of a plan
    sends one statement, when it is executed; `EXPLAIN` shows it and sends nothing. It works as long as its connection is
    open.

    Example:
        >>> import datafusion
        >>> airlines = connection.table("samples.nycflights13.airlines")
        >>> context = datafusion.SessionContext()
        >>> context.register_table("airlines", airlines)
        >>> context.sql("SELECT name FROM airlines WHERE carrier = 'UA'").to_pydict()
        {'name': ['United Air Lines Inc.']}
    """

    def __new__(
        cls, session: Session, from_sql: str, parameters: Sequence[Any] | Mapping[str, Any] | None = None
    ) -> Table:
        """Asks the warehouse for the columns.

        Args:
            session: The session whose statements read it.
            from_sql: What stands behind FROM in them: the name of a table, or a query in parentheses.
            parameters: Values for the markers in it, as for `Session.statement`.

        Raises:
            ProgrammingError: there is no such table, or the SQL is wrong.
            ValueError: two columns have the same name, but for the case of letters.
        """

    def __datafusion_table_provider__(self, session: object) -> object:
        """Returns DataFusion's capsule of it; `session` is the `SessionContext` it is for.

        Raises:
            ImportError: datafusion is of another major version than this package was built for.
        """

    def __arrow_c_schema__(self) -> object:
        """Returns the Arrow schema. Every field is nullable."""

@final
class Catalog:
    """A catalog of a warehouse, for `SessionContext.register_catalog_provider` of DataFusion.

    Made by `Connection.catalog`. Nothing is listed before it is asked for: a table is looked up when a query names it.

    Example:
        >>> import datafusion
        >>> context = datafusion.SessionContext()
        >>> context.register_catalog_provider("samples", connection.catalog("samples"))
        >>> context.sql("SELECT count(*) AS flights FROM samples.nycflights13.flights").to_pydict()
        {'flights': [336776]}
    """

    def __new__(cls, session: Session, name: str | None = None) -> Catalog:
        """Takes the name of a catalog; without one, all catalogs are there, as schemas named `catalog.schema`.

        Sends nothing.
        """

    def __datafusion_catalog_provider__(self, session: object) -> object:
        """Returns DataFusion's capsule of it; `session` is the `SessionContext` it is for.

        Raises:
            ImportError: datafusion is of another major version than this package was built for.
        """
