"""What workers of the engines import by name: sign-ins, some of which end the worker's process."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

# In these variables; none of the package's own.
TOKEN = "ENGINES_TOKEN"
GRAVES = "ENGINES_GRAVES"


def options() -> dict[str, Any]:
    return {"server_hostname": os.environ["DATABRICKS_HOST"], "access_token": os.environ[TOKEN]}


def dies_once() -> dict[str, Any]:
    """Kills the first process that asks, whichever it is."""
    try:
        Path(os.environ[GRAVES], "dead").touch(exist_ok=False)
    except FileExistsError:
        return options()
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError
