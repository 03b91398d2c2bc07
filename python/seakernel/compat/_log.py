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
    """Sends what our kernel logs to `databricks.sql.kernel`, at the level set there, instead of to `seakernel`.

    Returns:
        Whether this call did it; False where it was done before.
    """
    ours, original = logging.getLogger(_OURS), logging.getLogger(_ORIGINAL)
    if _renaming in ours.handlers:
        return False
    # The level is that of the original's logger, unless ours has one of its own.
    ours.parent = original
    ours.propagate = False
    ours.addHandler(_renaming)
    # A library prints nothing by itself, which Python would do for warnings that no handler takes.
    original.addHandler(_silence)
    return True


def unbridge() -> None:
    """Takes back what `bridge` did."""
    ours = logging.getLogger(_OURS)
    ours.parent = logging.getLogger()
    ours.propagate = True
    ours.removeHandler(_renaming)
    logging.getLogger(_ORIGINAL).removeHandler(_silence)


_renaming = _Renaming()
_silence = logging.NullHandler()
