"""Stand-ins for other packages, so that programs written for those run on this kernel.

Example:
    >>> import seakernel.compat
    >>> module = seakernel.compat.install()
    >>> import databricks_sql_kernel
    >>> databricks_sql_kernel is module
    True
    >>> seakernel.compat.uninstall()
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["install", "uninstall"]

_NAME = "databricks_sql_kernel"


def install(force: bool = False) -> ModuleType:
    """Lets `import databricks_sql_kernel` find the stand-in of this package, in this process.

    Call it before `databricks.sql` opens its first connection with `use_kernel=True`: whoever has imported the original by
    then keeps it. The kernel then logs under `databricks.sql.kernel`, as the original does. Safe to call twice.

    Args:
        force: Whether to replace an original that is imported already.

    Returns:
        The stand-in, `seakernel.compat.databricks_sql_kernel`.

    Raises:
        RuntimeError: the original is imported already.

    Example:
        >>> import seakernel.compat
        >>> _ = seakernel.compat.install()
        >>> import databricks_sql_kernel
        >>> databricks_sql_kernel.__name__
        'seakernel.compat.databricks_sql_kernel'
        >>> seakernel.compat.uninstall()
    """
    from seakernel.compat import databricks_sql_kernel as stand_in

    present = sys.modules.get(_NAME)
    if present is not None and present is not stand_in and not force:
        origin = getattr(present, "__file__", None) or "an unknown place"
        raise RuntimeError(
            f"`{_NAME}` is imported already, from {origin}; call `install()` before whatever imports it, or "
            "`install(force=True)` to replace it for later imports"
        )
    sys.modules[_NAME] = stand_in
    stand_in.init_logging()
    return stand_in


def uninstall() -> None:
    """Takes back what `install` did: later imports find the original again. Who has imported the stand-in keeps it.

    Example:
        >>> import sys
        >>> import seakernel.compat
        >>> _ = seakernel.compat.install()
        >>> seakernel.compat.uninstall()
        >>> "databricks_sql_kernel" in sys.modules
        False
    """
    from seakernel.compat import _log
    from seakernel.compat import databricks_sql_kernel as stand_in

    if sys.modules.get(_NAME) is stand_in:
        del sys.modules[_NAME]
    _log.unbridge()
