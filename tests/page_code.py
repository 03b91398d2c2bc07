"""The code of a page: its blocks, run from the top to the end in a process of their own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parents[1]
# Text right after a block is what the block prints.
BLOCK = re.compile(
    r"^```(?P<language>\w+)\n(?P<code>.*?)^```\n(?:\n```text\n(?P<printed>.*?)^```$)?", re.DOTALL | re.MULTILINE
)
# Blocks that are data to read.
NO_CODE = {"text", "ini", "toml", "yaml", "json"}
DRIVER = """
import contextlib, io, json, pathlib, subprocess, sys, traceback
page = {"__name__": "__main__"}
for number, (language, code, printed) in enumerate(json.load(sys.stdin), 1):
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        if language == "python":
            exec(compile(code, f"block {number}", "exec"), page)
        else:
            done = subprocess.run(["bash", "-e", "-c", code], stdin=subprocess.DEVNULL, capture_output=True, text=True)
            assert done.returncode == 0, (code, done.stderr)
            output.write(done.stdout)
    if printed is not None and output.getvalue() != printed:
        sys.exit(f"block {number} of the page prints\\n{output.getvalue()}instead of\\n{printed}")
"""


def blocks(page: Path) -> list[tuple[str, str, str | None]]:
    found = [(block["language"], block["code"], block["printed"]) for block in BLOCK.finditer(page.read_text())]
    return [(language, code, printed) for language, code, printed in found if language not in NO_CODE]


def is_run_elsewhere(line: str) -> bool:
    """Commands that make the package or install it: the targets exist, and the package has that name."""
    if make := re.match(r"make (\w+)", line):
        return re.search(rf"^{make[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE) is not None
    return re.match(r"pip install '?seakernel(\[[\w,]+\])?'?$", line) is not None


def run(
    page: Path, directory: Path, warnings: Sequence[str], timeout: float, *, before: str = ""
) -> subprocess.CompletedProcess[str]:
    """Runs the blocks of a page in `directory`, with these options of the interpreter for warnings and `before` as code before them."""
    steps = []
    for language, code, printed in blocks(page):
        assert language in {"python", "sh"}, f"unknown language {language}"
        lines = [line for line in code.splitlines() if not (language == "sh" and is_run_elsewhere(line))]
        if lines:
            steps.append((language, "\n".join(lines) + "\n", printed))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DATABRICKS_")}
    environment |= {"HOME": str(directory), "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run(
        [sys.executable, *warnings, "-c", before + DRIVER],
        check=False,
        input=json.dumps(steps),
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout,
    )
