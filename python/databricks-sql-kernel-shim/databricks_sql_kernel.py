"""The stand-in of seakernel under the name of databricks-sql-kernel."""

from seakernel.compat import databricks_sql_kernel as _stand_in
from seakernel.compat.databricks_sql_kernel import *  # noqa: F403

__all__ = _stand_in.__all__
__version__ = _stand_in.__version__
