"""Runs the command line in a process of its own, as users do."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from warehouse_environment import environment_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from seakernel.local import LocalWarehouse


@pytest.fixture
def seakernel_command(warehouse: LocalWarehouse, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """Runs `python -m seakernel`; its environment leads to `warehouse` unless another is given."""

    def run(*arguments: str, standard_input: bytes = b"", **options: Any) -> subprocess.CompletedProcess[bytes]:
        place = options.pop("to", warehouse)
        return subprocess.run(
            [sys.executable, "-m", "seakernel", *arguments],
            check=False,
            capture_output=True,
            input=standard_input,
            timeout=60,
            cwd=tmp_path,
            env={**environment_of(place), "HOME": str(tmp_path), **options.pop("environment", {})},
        )

    return run
