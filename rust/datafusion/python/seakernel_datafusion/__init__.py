"""Tables, queries and catalogs of a SQL warehouse for DataFusion.

Made by `table`, `query` and `catalog` of `seakernel.Connection`.
"""

from seakernel_datafusion._seakernel_datafusion import Catalog, Table

__all__ = ["Catalog", "Table"]
