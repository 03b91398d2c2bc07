"""The kernel's log under the original's logger names."""

from __future__ import annotations

import copy
import logging

_OURS = "seakernel"
_ORIGINAL = "databricks.sql.kernel"


class _Renaming(logging.Handler):
    """Hands each record on to the logger of the original's name, whose handlers and filters apply."""

    def emit(self, record: logging.LogRecord) -> None:
        renamed = copy.copy(record)
        renamed.name = _ORIGINAL + record.name[len(_OURS) :]
        logging.getLogger(renamed.name).handle(renamed)


def bridge() -> bool:
    """Sends what our kernel logs to `databricks.sql.kernel`, at the level set there.

    Returns:
        Whether this call did it; False where it was done before.
    """
    ours = logging.getLogger(_OURS)
    if any(isinstance(handler, _Renaming) for handler in ours.handlers):
        return False
    # The level is that of the original's logger, unless ours has one of its own.
    ours.parent = logging.getLogger(_ORIGINAL)
    ours.propagate = False
    ours.addHandler(_Renaming())
    return True
