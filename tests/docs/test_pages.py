"""Every code block of the pages runs, from the top of each page to its end, and prints what the page says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import seakernel
from seakernel import exceptions, types

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
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


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: page.stem)
def test_the_code_of_a_page_runs(page: Path, tmp_path: Path) -> None:
    steps = []
    for language, code, printed in blocks(page):
        assert language in {"python", "sh"}, f"unknown language {language}"
        lines = [line for line in code.splitlines() if not (language == "sh" and is_run_elsewhere(line))]
        if lines:
            steps.append((language, "\n".join(lines) + "\n", printed))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DATABRICKS_")}
    environment |= {"HOME": str(tmp_path), "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore:pandas only supports", "-c", DRIVER],
        check=False,
        input=json.dumps(steps),
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_fences_are_in_pairs() -> None:
    for page in PAGES:
        assert len(re.findall(r"^```", page.read_text(), re.MULTILINE)) % 2 == 0, page


def test_the_site_has_every_page_once() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text().partition("\nnav:\n")[2]
    listed = re.findall(r"^  - [^:\n]+: (.+)$", navigation, re.MULTILINE)
    assert listed[0] == "index.md"
    assert sorted(listed) == sorted(page.name for page in (ROOT / "docs").iterdir())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", page.read_text()):
        linked = page.parent / target if target else page
        assert linked.exists(), target
        if anchor and not anchor.startswith("seakernel."):
            headings = re.findall(r"^#+ (.+)$", linked.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


def test_the_api_page_has_every_public_name() -> None:
    page = (ROOT / "docs" / "api.md").read_text()
    shown = set(re.findall(r"^::: seakernel\.([\w.]+)$", page, re.MULTILINE))
    assert {"exceptions", "types", "aio", "local.LocalWarehouse", "pytest_plugin"} <= shown
    # A module is shown with all that is documented in it.
    shown |= {name for module in (exceptions, types) for name in module.__all__ if vars(module)[name].__doc__}
    shown |= set(re.findall(r"`(\w+)`", page))
    assert set(seakernel.__all__) <= shown
