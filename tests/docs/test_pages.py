"""Every code block of the pages runs, from the top of each page to its end, and prints what the page says."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from page_code import ROOT, blocks, run

import seakernel
from seakernel import exceptions, types

if TYPE_CHECKING:
    from pathlib import Path

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# Run in the environment of the engines, by tests/engines.
OF_ENGINES = ["distributed"]


@pytest.mark.parametrize(
    "page", [page for page in PAGES if blocks(page) and page.stem not in OF_ENGINES], ids=lambda page: page.stem
)
def test_the_code_of_a_page_runs(page: Path, tmp_path: Path) -> None:
    done = run(page, tmp_path, ["-W", "error", "-W", "ignore:pandas only supports"], timeout=110)
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
